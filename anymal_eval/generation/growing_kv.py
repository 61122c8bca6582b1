"""A KV cache with room for the next tokens: a step of decoding writes its keys and values in place.

The layers of transformers' own cache copy all keys and values into new tensors at every step, which on a CPU takes as
long as the step's matrix products. These grow by blocks and hand out views. The numbers are the same.

Shapes:  b rows · h heads · t positions · d width of a head
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import pad
from transformers.cache_utils import DynamicCache, DynamicLayer

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 64  # positions


class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]  # its __init_subclass__ has no types
    """Keys and values (b, h, t, d) of one layer, as views of larger tensors."""

    def __init__(self, most: int) -> None:
        """``most``: positions that no row will have more of; room beyond them is not made ahead."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._most = most
        self._whole: tuple[Tensor, Tensor] | None = None
        self._first = 0  # position of the larger tensors where the views start
        self._views: tuple[Tensor, Tensor] | None = None  # what ``keys`` and ``values`` are while nobody replaces them

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append the keys and values (b, h, n, d) of n positions, and return those of all."""
        del args, kwargs
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        whole = self._room(start, end, key_states, value_states)
        rows, own = len(key_states), slice(self._first + start, self._first + end)
        whole[0][:rows, ..., own, :] = key_states
        whole[1][:rows, ..., own, :] = value_states
        return self._view(whole, rows, end)

    def keep(self, order: Sequence[int], start: int) -> None:
        """As :func:`keep_rows`, in place."""
        end = self.get_seq_length()
        assert self._whole is not None  # noqa: S101
        kept = slice(self._first + start, self._first + end)
        for part in self._whole:
            move_rows(part, order, kept)
        self._first += start
        self._view(self._whole, len(order), end - start)

    def join(self, *parts: tuple[Tensor, Tensor]) -> None:
        """Take keys and values (b, h, t, d) of several layers, one below the other; the shorter are padded in front."""
        length = max(keys.shape[-2] for keys, _ in parts)
        room = max(length, min(length + BLOCK, self._most))
        self.lazy_initialization(*parts[0])
        keys, values = (
            torch.cat([pad(part, (0, 0, length - part.shape[-2], room - length)) for part in own])
            for own in zip(*parts, strict=True)
        )
        self._whole = keys, values
        self._view(self._whole, len(keys), length)

    def _view(self, whole: tuple[Tensor, Tensor], rows: int, end: int) -> tuple[Tensor, Tensor]:
        used = slice(self._first, self._first + end)
        self.keys, self.values = self._views = whole[0][:rows, ..., used, :], whole[1][:rows, ..., used, :]
        return self.keys, self.values

    def is_own(self) -> bool:
        """Whether it has keys and values that nobody replaced."""
        return self._views is not None and self.keys is self._views[0] and self.values is self._views[1]

    def _room(self, start: int, end: int, key_states: Tensor, value_states: Tensor) -> tuple[Tensor, Tensor]:
        """Tensors with at least ``end`` positions that hold the first ``start``."""
        if self.is_own() and self._whole is not None and self._whole[0].shape[-2] >= self._first + end:
            return self._whole
        room = max(end, min(end + BLOCK, self._most))
        self._whole = (_longer(self.keys, key_states, start, room), _longer(self.values, value_states, start, room))
        self._first = 0
        return self._whole


def _longer(before: Tensor | None, like: Tensor, start: int, room: int) -> Tensor:
    made = like.new_empty((*like.shape[:-2], room, like.shape[-1]))
    if before is not None and start:
        made[..., :start, :] = before
    return made


def keep_rows(cache: Any, order: Sequence[int], start: int) -> None:
    """Keep some rows of a cache, and of these the positions from ``start`` on.

    Args:
        cache: of transformers, whose layers keep every token; it is changed.
        order: for each place the row that it gets. Only a row from behind may move, so that none is overwritten.
        start: the first position that is kept.
    """
    for layer in cache.layers:
        if hasattr(layer, "keep") and layer.is_own():
            layer.keep(order, start)
        elif layer.get_seq_length():
            index = torch.tensor(order, device=layer.keys.device)
            layer.keys = layer.keys[..., start:, :].index_select(0, index)
            layer.values = layer.values[..., start:, :].index_select(0, index)


def join_rows(cache: Any, others: Sequence[Any], most: int) -> None:
    """Put the rows of other caches behind those of a cache; the shorter ones are padded on the left.

    Args:
        cache: of transformers, whose layers keep every token; its layers become growing ones.
        others: of the same model; they are used up, layer by layer, so that nothing is there twice as a whole.
        most: positions that the rows will have at most.
    """
    every = [cache, *others]
    for place, layer in enumerate(cache.layers):
        joint = GrowingLayer(most)
        if layer.get_seq_length():
            joint.join(*((each.layers[place].keys, each.layers[place].values) for each in every))
        for each in every:
            each.layers[place] = joint


def move_rows(part: Tensor, order: Sequence[int], kept: slice) -> None:
    """Move rows of keys or values (b, h, t, d), of these the positions that are kept, to the front."""
    for place, row in enumerate(order):
        if row != place:
            part[place, ..., kept, :] = part[row, ..., kept, :]


def growing(cache: Any, most: int) -> Any:
    """The same cache with layers that grow in place; it must have no other user.

    Args:
        cache: of transformers. Layers that keep every token are replaced, others stay.
        most: positions that its rows will have at most.
    """
    for place, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            own = GrowingLayer(most)
            vars(own).update(vars(layer))
            cache.layers[place] = own
    return cache


def empty(model: Any, most: int) -> Any:
    """The cache that ``generate`` would make for a causal model, with layers that grow in place."""
    return growing(DynamicCache(config=model.config.get_text_config(decoder=True)), most)
