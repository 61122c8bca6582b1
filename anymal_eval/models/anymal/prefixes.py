"""Prefix caching for the AnyMAL network.

Requests that share a system prompt and media prefill that prefix once and reuse its KV cache. Prompts are split between
tokens, after the last medium or, without media, where their texts part, so every row keeps the very tokens that it has
alone. The prefixes of a batch are prefilled together, padded on the left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anymal_eval.generation import (
    BatchedPrefix,
    PrefixKV,
    concatenated,
    forgetful_layers,
    padded_embeddings,
    prefill,
    shared_prefix_length,
)
from anymal_eval.models._prepared import PreparedRequest
from anymal_eval.models.anymal.media_inputs import MediaInput

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.anymal.conversation import Prompt
    from anymal_eval.anymal.model import AnyMAL

CACHED_BYTES = 256 << 20  # prefixes larger than this do not stay for the next batch
TEXT = "text"  # the key of a prefix without media, which serves one batch only


@dataclass(frozen=True, kw_only=True)
class PreparedPrompt(PreparedRequest):
    """A request with its media preprocessed and its text tokenised."""

    prompt: Prompt
    inputs: tuple[MediaInput, ...]


@dataclass(frozen=True, kw_only=True)
class PrefixSplit:
    """Prompts as prefixes and what follows them.

    Attributes:
        prefixes: by key, each prefix and the keys of its media.
        rows: for each prompt, the number of its prefix.
        suffixes: for each prompt, the ids after the prefix.
    """

    prefixes: Mapping[str, tuple[Prompt, tuple[str, ...]]]
    rows: list[int]
    suffixes: list[tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class ComputedPrefixes:
    """Prefixes that were prefilled together: their keys, their inputs as a batch, their KV cache."""

    keys: list[str]
    inputs: dict[str, Tensor]
    kv: PrefixKV


class PrefixBatches:
    """Batches of whole prompts with computed prefixes.

    The last prefixes stay on the device, because the next batch may be about the same media.

    Attributes:
        prefilled: how many rows were prefilled, for tests.
    """

    def __init__(self, network: AnyMAL, *, share: bool = True) -> None:
        self._network = network
        self._share = share and not forgetful_layers(network.llm.model)
        self._last: ComputedPrefixes | None = None
        self.prefilled = 0

    def clear(self) -> None:
        """Free the device's memory."""
        self._last = None

    def batch(
        self, items: Sequence[PreparedPrompt], tokens: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], BatchedPrefix | None]:
        """Whole prompts as a left-padded batch, and their computed prefixes if they share any.

        Args:
            items: b requests.
            tokens: modality tokens by key.
        """
        split = split_prefixes(items) if self._share else None
        if split is None:
            self.prefilled += len(items)
            prompts = [(item.prompt, tuple(one.key for one in item.inputs)) for item in items]
            return self._embedded(prompts, tokens), None
        computed = self._computed(split, tokens)
        places = [computed.keys.index(key) for key in split.prefixes]
        rows = [places[row] for row in split.rows]
        starts = {name: values[rows] for name, values in computed.inputs.items()}
        rests = padded_embeddings([self._network.llm.embed(ids) for ids in split.suffixes])
        return concatenated(starts, rests), BatchedPrefix(prefixes=(computed.kv,), rows=tuple(rows))

    def _computed(self, split: PrefixSplit, tokens: Mapping[str, Tensor]) -> ComputedPrefixes:
        if self._last is not None and split.prefixes.keys() <= set(self._last.keys):
            return self._last
        self._last = None  # freed before new ones are computed
        inputs = self._embedded(list(split.prefixes.values()), tokens)
        kv = prefill(self._network.llm.model, inputs)
        computed = ComputedPrefixes(keys=list(split.prefixes), inputs=inputs, kv=kv)
        self.prefilled += len(split.prefixes)
        if TEXT not in split.prefixes and kv.nbytes <= CACHED_BYTES:
            self._last = computed
        return computed

    def _embedded(
        self, prompts: Sequence[tuple[Prompt, tuple[str, ...]]], tokens: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        media = [[tokens[key] for key in keys] for _, keys in prompts]
        return self._network.rows([prompt for prompt, _ in prompts], media).inputs


def split_prefixes(items: Sequence[PreparedPrompt]) -> PrefixSplit | None:
    """Split every prompt where its shareable prefix ends; None if nothing is saved, or a row has no rest of its own."""
    from anymal_eval.anymal.conversation import Prompt

    texts = [item.prompt.pieces[0] for item in items if item.prefix_key is None]
    shared = min(shared_prefix_length(*texts), min(map(len, texts), default=1) - 1)
    prefixes: dict[str, tuple[Prompt, tuple[str, ...]]] = {}
    keys, suffixes = [], []
    for item in items:
        if item.prefix_key is None:
            ids = item.prompt.pieces[0]
            head, suffix = Prompt(pieces=(ids[:shared],)), ids[shared:]
        else:
            head, rest = item.prompt.split()
            suffix = rest.pieces[0]
        keys.append(item.prefix_key or TEXT)
        prefixes.setdefault(keys[-1], (head, tuple(one.key for one in item.inputs)))
        suffixes.append(suffix)
    empty = any(not head.text_tokens and not head.media for head, _ in prefixes.values())
    if len(prefixes) == len(items) or empty or not all(suffixes):
        return None
    order = list(prefixes)
    return PrefixSplit(prefixes=prefixes, rows=[order.index(key) for key in keys], suffixes=suffixes)
