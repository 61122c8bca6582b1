"""Requests that begin alike begin once: their prefix is prefilled once and its cache serves all of them.

They are split at a token, right after the last medium (or, without media, where their texts part), so every row has the
very tokens it would have alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anymal_eval.models.anymal.media_inputs import Input
from anymal_eval.records import Request

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.anymal.conversation import Prompt
    from anymal_eval.anymal.model import AnyMAL
    from anymal_eval.anymal.prefix import Prefix
    from anymal_eval.anymal.splice import Batch

KEPT_PREFIXES = 256 << 20
TEXT = "text"  # the key of a prefix without media, which holds for one batch only

Timer = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class PreparedRequest:
    """A request with its media preprocessed and its text tokenised."""

    request: Request
    prompt: Prompt
    option_token_ids: tuple[tuple[int, ...], ...]
    inputs: tuple[Input, ...]
    prefix_key: str | None
    media_key: str | None
    prefix_tokens: int
    suffix_tokens: int
    nbytes: int


@dataclass(frozen=True, kw_only=True)
class PrefixSplit:
    """Rows as beginnings and what follows them.

    Attributes:
        keys: of each beginning.
        heads: its prompt, and the keys of its media.
        rows: for each request, which of them it begins with.
        option_token_ids: the ids that follow.
    """

    keys: list[str]
    heads: list[tuple[Prompt, tuple[str, ...]]]
    rows: list[int]
    option_token_ids: list[tuple[int, ...]]


class PrefixBatches:
    """Rows and their caches. The last prefix stays, because the next batch may be about the same medium.

    Attributes:
        prefilled: how many rows were prefilled, for tests of what is shared.
    """

    def __init__(self, network: AnyMAL, timer: Timer, *, share: bool = True) -> None:
        self._network, self._timer, self._share = network, timer, share
        self._kept: tuple[list[str], Prefix] | None = None
        self.prefilled = 0

    def forget(self) -> None:
        """Give the device's memory back."""
        self._kept = None

    def rows(self, items: Sequence[PreparedRequest], tokens: Mapping[str, Tensor]) -> tuple[Batch, Prefix | None]:
        """The whole rows, and what of them is computed: for ranking all of it, for generating what they share.

        Args:
            items: all ranked, or none.
            tokens: modality tokens by key.
        """
        from anymal_eval.anymal import prefix

        network = self._network
        ranked = bool(items[0].option_token_ids)
        split = beginnings(items) if self._share else None
        with self._timer("prefilling"):
            if split is None:
                media = [[tokens[item.key] for item in one.inputs] for one in items]
                batch = network.rows([one.prompt for one in items], media)
                self.prefilled += len(items)
                return batch, network.prefill(batch) if ranked else None
            computed, places = self._computed(split, tokens)
            suffixes = [network.llm.embed(tail) for tail in split.option_token_ids]
            shared, whole = prefix.extend(computed, [places[row] for row in split.rows], suffixes)
            return whole, prefix.resume(network.llm, shared, whole) if ranked else shared

    def _computed(self, split: PrefixSplit, tokens: Mapping[str, Tensor]) -> tuple[Prefix, list[int]]:
        """The beginnings prefilled, and in which row each of them is."""
        if self._kept is not None and set(split.keys) <= set(self._kept[0]):
            return self._kept[1], [self._kept[0].index(key) for key in split.keys]
        self._kept = None
        media = [[tokens[key] for key in keys] for _, keys in split.heads]
        computed = self._network.prefill(self._network.rows([head for head, _ in split.heads], media))
        self.prefilled += len(split.heads)
        if TEXT not in split.keys and computed.nbytes <= KEPT_PREFIXES:
            self._kept = (split.keys, computed)
        return computed, list(range(len(split.keys)))


def beginnings(items: Sequence[PreparedRequest]) -> PrefixSplit | None:
    """Cut every row where what it may share ends; None where nothing would be saved, or a row has no end of its own."""
    from anymal_eval.anymal.conversation import Prompt

    texts = [item.prompt.pieces[0] for item in items if item.prefix_key is None]
    common = min(_common(texts), min(map(len, texts), default=1) - 1)
    keys: dict[str, int] = {}
    heads, rows, option_token_ids = [], [], []
    for item in items:
        if item.prefix_key is None:
            ids = item.prompt.pieces[0]
            head, tail = Prompt(pieces=(ids[:common],)), ids[common:]
        else:
            head, rest = item.prompt.split()
            tail = rest.pieces[0]
        key = item.prefix_key or TEXT
        if key not in keys:
            keys[key] = len(keys)
            heads.append((head, tuple(one.key for one in item.inputs)))
        rows.append(keys[key])
        option_token_ids.append(tail)
    empty = any(not head.text_tokens and not head.media for head, _ in heads)
    if len(heads) == len(items) or empty or not all(option_token_ids):
        return None
    return PrefixSplit(keys=list(keys), heads=heads, rows=rows, option_token_ids=option_token_ids)


def _common(texts: Sequence[tuple[int, ...]]) -> int:
    """How many ids all of them begin with."""
    if not texts:
        return 0
    low, high = min(texts), max(texts)  # in the order of the ids, these two differ earliest
    return next((at for at, (one, other) in enumerate(zip(low, high, strict=False)) if one != other), len(low))
