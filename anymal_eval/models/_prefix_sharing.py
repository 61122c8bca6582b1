"""Prefix caching for chat models.

Requests that share a system prompt and media prefill that prefix once and reuse its KV cache.

A prefix ends with the last token of the last medium: system prompt, media, and the text between. Prompts are split
between tokens, so every request keeps the very tokens that it has alone. Requests without media share the text that
their prompts start with.

Every prefix is prefilled alone, so that its numbers depend neither on its neighbours nor on when it was cached.

Shapes:  b rows · t positions
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from anymal_eval.generation import (
    SEQUENCES,
    BatchedPrefix,
    BoundedCache,
    PrefixKV,
    concatenated,
    forgetful_layers,
    forward_parameters,
    left_padded,
    positions_of_whole_prompts,
    prefill,
    shared_prefix_length,
)
from anymal_eval.models._prepared import PreparedRequest
from anymal_eval.records import Request

CACHE_BYTES = 256 << 20  # of prefixes that stay on the device for the next batch; the last one stays in any case
LEAST_TEXT = 16  # tokens that requests without media must share: a shorter prefix costs as much as it saves
MEDIA, TEXT = "shared media", "shared text"  # batch keys of rows that share a prefix
# What a request may have beside a text that is generated about media. Each is tested before it is shared.
RANKING, BEAMS, NO_MEDIA = "ranking", "beam search", "requests without media"


@dataclass(frozen=True, kw_only=True)
class PreparedChat(PreparedRequest):
    """A request with the processor's output, as a batch of one.

    Attributes:
        inputs: by name; sequences (1, t).
        prefix_length: how many of its tokens other requests may share; 0 for none.
    """

    inputs: Mapping[str, Any]
    prefix_length: int = 0


class PrefixSharing:
    """The cached prefixes of one model.

    Attributes:
        tested: of what requests may have beside a text generated about media, whether it passed its self-test; a
            request that has another is not split.
        prefilled: how many were computed, for tests.
    """

    def __init__(self, model: Any, pad_id: int) -> None:
        self._model, self._pad_id = model, pad_id
        self._media_ids = media_token_ids(model.config)
        self._encodes_before_beams = "mm_encoder_outputs" in forward_parameters(model)
        self._cache: BoundedCache[PrefixKV] = BoundedCache(CACHE_BYTES, lambda prefix: prefix.nbytes)
        self.tested: dict[str, bool] = {}
        self.prefilled = 0

    def clear(self) -> None:
        """Free the device's memory."""
        self._cache.clear()

    def prefix_length(self, request: Request, ids: Sequence[int]) -> int:
        """How many of a request's tokens may be shared: up to the last token of its media; 0 for none.

        In beam search, classes that do not encode media before the beams are made give several media of a row to the
        wrong beams; a prefix computed once would not. Such a request is not split, so that sharing changes no answer.
        """
        if not request.media or (request.decoding.beams > 1 < len(request.media) and not self._encodes_before_beams):
            return 0
        last = max((place for place, token in enumerate(ids) if token in self._media_ids), default=-1)
        return last + 1 if last + 1 < len(ids) else 0

    def with_batch_keys(self, items: Sequence[PreparedChat]) -> list[PreparedChat]:
        """The same requests; those that share a prefix get the same ``batch_key``.

        A prefix that a single request of a batch has is not split off, but in a batch of one, whose successor may have
        it too. So how a batch is computed depends on the batch alone.
        """
        may = [all(self.tested.get(one) for one in kinds(item.request)) for item in items]
        count = Counter(item.prefix_key for item, shared in zip(items, may, strict=True) if shared)
        without_media = sum(not item.request.media and shared for item, shared in zip(items, may, strict=True))
        return [
            item
            if not shared
            else replace(item, batch_key=MEDIA)
            if item.prefix_key is not None and (count[item.prefix_key] > 1 or len(items) == 1)
            else replace(item, batch_key=TEXT)
            if not item.request.media and without_media > 1
            else item
            for item, shared in zip(items, may, strict=True)
        ]

    def batch(self, items: Sequence[PreparedChat]) -> tuple[dict[str, Any], BatchedPrefix] | None:
        """Whole prompts and their computed prefixes; None where they share nothing.

        Args:
            items: of one ``batch_key`` from :meth:`with_batch_keys`.

        Returns:
            ``input_ids`` and ``attention_mask``, (b, t): prefixes padded on the left, then the rest of the prompts,
            padded on the left too.
        """
        if items[0].batch_key == MEDIA:
            first = {str(item.prefix_key): item for item in items}
            prefixes = {key: self._cache.get(key, partial(self._prefill, item)) for key, item in first.items()}
            places = {key: place for place, key in enumerate(prefixes)}
            rows = [places[str(item.prefix_key)] for item in items]
            lengths = [item.prefix_length for item in items]
        elif items[0].batch_key == TEXT and (shared := _shared_text(items)) >= LEAST_TEXT:
            prefixes = {TEXT: self._prefill(replace(items[0], prefix_length=shared))}
            rows, lengths = [0] * len(items), [shared] * len(items)
        else:
            return None
        pairs = list(zip(items, lengths, strict=True))
        starts = left_padded([_between(item.inputs, 0, end) for item, end in pairs], self._pad_id, self._model)
        rests = left_padded([_between(item.inputs, end, None) for item, end in pairs], self._pad_id, self._model)
        return concatenated(starts, rests), BatchedPrefix(prefixes=tuple(prefixes.values()), rows=tuple(rows))

    def _prefill(self, item: PreparedChat) -> PrefixKV:
        inputs = {
            name: value[:, : item.prefix_length] if name in SEQUENCES else value for name, value in item.inputs.items()
        }
        self.prefilled += 1
        return prefill(self._model, left_padded([inputs], self._pad_id, self._model))


def kinds(request: Request) -> frozenset[str]:
    """What a request has beside a text that is generated about media."""
    ranked = bool(request.candidates)
    found = {RANKING: ranked, BEAMS: not ranked and request.decoding.beams > 1, NO_MEDIA: not request.media}
    return frozenset(name for name, has in found.items() if has)


def obstacle(model: Any) -> str | None:
    """Why a class cannot continue from a prefix's cache; None where it may be tried."""
    takes = forward_parameters(model)
    if model.config.is_encoder_decoder:
        return "an encoder reads the whole prompt"
    if "cross_attention_mask" in takes:
        return "its pictures come in by cross attention"
    if positions_of_whole_prompts(model):
        return "its positions are computed from the whole prompt"
    if takes & {"token_type_ids", "mm_token_type_ids"}:
        return "tokens of a picture look ahead"
    if kinds := forgetful_layers(model):
        return f"its cache has layers that do not keep every token ({', '.join(kinds)})"
    return None if media_token_ids(model.config) else "its configuration does not say which tokens are media"


def media_token_ids(config: Any) -> frozenset[int]:
    """The ids at whose positions media features are inserted."""
    names = [f"{medium}_token_{kind}" for medium in ("image", "audio", "video") for kind in ("id", "index")]
    found = [getattr(config, name, None) for name in names]
    return frozenset(value for value in found if isinstance(value, int))


def _between(inputs: Mapping[str, Any], start: int, end: int | None) -> dict[str, Any]:
    return {name: inputs[name][:, start:end] for name in ("input_ids", "attention_mask")}


def _shared_text(items: Sequence[PreparedChat]) -> int:
    """How many tokens all of them start with; every request keeps at least one token of its own."""
    if len(items) < 2:
        return 0
    ids = [item.inputs["input_ids"][0].tolist() for item in items]
    return min(shared_prefix_length(*ids), min(map(len, ids)) - 1)
