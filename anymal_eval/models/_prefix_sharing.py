"""Requests of a chat model that begin alike begin once: what they share is computed once and its cache serves them all.

A beginning ends at the last token of the last medium: system prompt, media, and the text between. Requests are split
there, at a token, so each has the very tokens that it has alone. Those without media share what text they begin with.

Every beginning is computed by itself, so that it is the same bits whatever stands beside it and whenever it was kept.

Shapes:  b rows · h heads · t positions · d width of a head
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from anymal_eval.generation.batches import SEQUENCES, joint_batch
from anymal_eval.generation.bounded_cache import BoundedCache
from anymal_eval.generation.prefix_kv import BatchedPrefix, PrefixKV
from anymal_eval.generation.token_ids import common
from anymal_eval.models._prepared import PreparedRequest
from anymal_eval.records import Request

if TYPE_CHECKING:
    pass

KEPT_BYTES = 256 << 20  # of beginnings that stay on the device for the next batch; the last one stays in any case
LEAST_TEXT = 16  # tokens that requests without media must share: a shorter beginning costs as much as it saves
MEDIA, TEXT = "begins with media", "begins with text"  # what ``alike`` says of rows that share


@dataclass(frozen=True, kw_only=True)
class PreparedChat(PreparedRequest):
    """What the processor made of a request, as for a batch of one; ``cut`` tokens of it may be shared (0: none)."""

    inputs: Mapping[str, Any]
    cut: int = 0


class PrefixSharing:
    """Beginnings of one model, computed when first needed.

    Attributes:
        prefilled: how many were computed, for tests of what is shared.
    """

    def __init__(self, model: Any, pad: int) -> None:
        self._model, self._pad = model, pad
        self._marks = media_tokens(model.config)
        self._last = {"logits_to_keep": 1} if "logits_to_keep" in _takes(model) else {}
        self._ahead = "mm_encoder_outputs" in _takes(model)
        self._kept: BoundedCache[PrefixKV] = BoundedCache(KEPT_BYTES, lambda head: head.nbytes)
        self.prefilled = 0

    def forget(self) -> None:
        """Give the device's memory back."""
        self._kept.clear()

    def cut(self, request: Request, ids: Sequence[int]) -> int:
        """How many of a request's tokens may be shared: up to the last medium's last; 0 where there is none.

        Classes that do not encode media ahead of the beams give several media of a row to the wrong ones, which a
        beginning computed once would not. Such a request is left whole, so that sharing changes no answer.
        """
        if not request.media or (request.decoding.beams > 1 < len(request.media) and not self._ahead):
            return 0
        last = max((place for place, token in enumerate(ids) if token in self._marks), default=-1)
        return last + 1 if last + 1 < len(ids) else 0

    def marked(self, items: Sequence[PreparedChat]) -> list[PreparedChat]:
        """The same requests, those that share said to be ``alike``.

        A beginning that only one request of a batch has is not split off, but for a batch of one, whose next may have
        it too: how a batch is computed depends on nothing but the batch.
        """
        times = Counter(item.prefix_key for item in items)
        bare = [item for item in items if not item.request.media]
        return [
            replace(item, alike=MEDIA)
            if item.prefix_key is not None and (times[item.prefix_key] > 1 or len(items) == 1)
            else replace(item, alike=TEXT)
            if not item.request.media and len(bare) > 1
            else item
            for item in items
        ]

    def begun(self, items: Sequence[PreparedChat]) -> tuple[dict[str, Any], BatchedPrefix] | None:
        """Whole rows and what is computed of them; None where they share nothing.

        Args:
            items: ``alike``, as :meth:`marked` left them.

        Returns:
            ``input_ids`` and ``attention_mask``, (b, t): beginnings padded on the left, then what follows them, padded
            on the left too. Positions count what is there, so no padding is noticed.
        """
        if items[0].alike == MEDIA:
            heads = {str(item.prefix_key): item for item in items}
            found = {key: self._kept.get(key, partial(self._prefill, item)) for key, item in heads.items()}
            places = {key: place for place, key in enumerate(found)}
            rows = [places[str(item.prefix_key)] for item in items]
            cuts = [item.cut for item in items]
        elif items[0].alike == TEXT and (shared := _shared_text(items)) >= LEAST_TEXT:
            found = {TEXT: self._prefill(replace(items[0], cut=shared))}
            rows, cuts = [0] * len(items), [shared] * len(items)
        else:
            return None
        past = BatchedPrefix(heads=tuple(found.values()), rows=tuple(rows), positions=max(cuts))
        parts = [
            joint_batch([_between(item.inputs, *ends) for item, ends in zip(items, spans, strict=True)], self._pad,
                        self._model)
            for spans in ([(0, cut) for cut in cuts], [(cut, None) for cut in cuts])
        ]  # fmt: skip
        import torch

        return {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}, past

    def _prefill(self, item: PreparedChat) -> PrefixKV:
        from transformers.cache_utils import DynamicCache

        given = {name: value[:, : item.cut] if name in SEQUENCES else value for name, value in item.inputs.items()}
        out = self._model(
            **joint_batch([given], self._pad, self._model),
            past_key_values=DynamicCache(config=self._model.config),
            use_cache=True,
            **self._last,
        )
        self.prefilled += 1
        return PrefixKV(layers=tuple((layer.keys, layer.values) for layer in out.past_key_values.layers))


def obstacle(model: Any) -> str | None:
    """Why a class cannot go on from a beginning's cache; None where it may be tried."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    takes = _takes(model)
    if model.config.is_encoder_decoder:
        return "an encoder reads the whole prompt"
    if "cross_attention_mask" in takes:
        return "its pictures come in by cross attention"
    if hasattr(getattr(model, "model", model), "get_rope_index"):
        return "its positions are computed from the whole prompt"
    if takes & {"token_type_ids", "mm_token_type_ids"}:
        return "tokens of a picture look ahead"
    kinds = {type(layer) for layer in DynamicCache(config=model.config).layers} - {DynamicLayer}
    if kinds:
        return f"its cache has layers that do not keep every token ({', '.join(sorted(k.__name__ for k in kinds))})"
    return None if media_tokens(model.config) else "its configuration does not say which tokens are media"


def media_tokens(config: Any) -> frozenset[int]:
    """The ids in whose places media stand."""
    names = [f"{medium}_token_{kind}" for medium in ("image", "audio", "video") for kind in ("id", "index")]
    found = [getattr(config, name, None) for name in names]
    return frozenset(value for value in found if isinstance(value, int))


def _takes(model: Any) -> frozenset[str]:
    return frozenset(inspect.signature(model.forward).parameters)


def _between(inputs: Mapping[str, Any], start: int, end: int | None) -> dict[str, Any]:
    return {name: inputs[name][:, start:end] for name in ("input_ids", "attention_mask")}


def _shared_text(items: Sequence[PreparedChat]) -> int:
    """How many tokens all of them begin with, one less than the shortest has at most."""
    if len(items) < 2:
        return 0
    ids = [item.inputs["input_ids"][0].tolist() for item in items]
    low, high = min(ids), max(ids)  # in the order of the ids, these two differ earliest
    return min(common(low, high), min(map(len, ids)) - 1)
