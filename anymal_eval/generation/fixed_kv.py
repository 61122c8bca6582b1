"""A KV cache of one fixed shape, which a compiled step of decoding reads and writes.

Compiled code is built for one shape. Rows are therefore padded to a power of two, and positions to a power of two or
one and a half of it, so that few shapes are compiled. A tensor says which position is written next.

Shapes:  b rows · r padded rows · h heads · t positions · l padded positions · d width of a head
"""

from __future__ import annotations

import weakref
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer

from anymal_eval.generation.growing_kv import GrowingLayer, move_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

LEAST_POSITIONS = 128
AHEAD = 32  # positions beyond the next one that a new cache has room for, so that it does not grow at once


def padded_rows(rows: int) -> int:
    """The rows of the cache of a batch.

    >>> [padded_rows(rows) for rows in (1, 2, 3, 5, 64)]
    [1, 2, 4, 8, 64]
    """
    return 1 << (rows - 1).bit_length()


def padded_positions(positions: int) -> int:
    """The positions of a cache that holds so many.

    >>> [padded_positions(positions) for positions in (1, 129, 193, 257, 400)]
    [128, 192, 256, 384, 512]
    """
    whole = max(LEAST_POSITIONS, 1 << (positions - 1).bit_length())
    return whole * 3 // 4 if whole > LEAST_POSITIONS and positions <= whole * 3 // 4 else whole


class FixedLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]  # its __init_subclass__ has no types
    """Keys and values (r, h, l, d) of one layer. A step writes one position and reads all; its mask hides the rest."""

    is_compileable = True
    is_sliding = False
    keys: Tensor
    values: Tensor

    def __init__(self, keys: Tensor, values: Tensor, place: Tensor) -> None:
        """``place`` (1,) holds the position that the next step writes; all layers share it."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys, self.values, self.place = keys, values, place
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: it is made whole."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the keys and values (r, h, 1, d) of one position, and return those of all."""
        del args, kwargs
        self.keys.index_copy_(2, self.place, key_states)
        self.values.index_copy_(2, self.place, value_states)
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many positions a mask covers, and the first of them."""
        del query_length
        return int(self.keys.shape[-2]), 0

    def get_seq_length(self) -> Any:
        """The position that is written next, as a tensor: a number would be compiled into the step."""
        return self.place[0]

    def get_max_length(self) -> int:
        """How many positions it has room for."""
        return int(self.keys.shape[-2])


class FixedKV:
    """The cache of r rows and l positions of one model, for one batch after the other.

    Attributes:
        cache: for the compiled step.
        mask: (r, 1, 1, l), which positions each row attends to.
    """

    def __init__(self, like: Any, rows: int, positions: int) -> None:
        """``like`` is a cache of the model's with some positions."""
        place = torch.zeros(1, dtype=torch.long, device=like.layers[0].keys.device)
        parts = [(_room(layer.keys, rows, positions), _room(layer.values, rows, positions)) for layer in like.layers]
        self.cache: Any = Cache(layers=[FixedLayer(keys, values, place) for keys, values in parts])
        self.mask = torch.zeros(rows, 1, 1, positions, dtype=torch.bool, device=place.device)
        for fixed in (place, self.mask, *chain.from_iterable(parts)):
            torch._dynamo.mark_static_address(fixed, guard=False)  # or a CUDA graph would copy it at every step
        self._place = place
        self._owner: weakref.ref[Any] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.cache.layers)

    @property
    def shape(self) -> tuple[int, int]:
        """(r, l)."""
        return self.mask.shape[0], self.mask.shape[-1]

    def take(self, cache: Any) -> None:
        """Copy the keys and values (b, h, t, d) of a cache; its layers become views of this one.

        A cache that used this one before, and still lives, gets its keys and values back.
        """
        before = self._owner() if self._owner is not None else None
        if before is not None and before is not cache:
            for layer in before.layers:
                layer.keys, layer.values = layer.keys.clone(), layer.values.clone()
        for place, (layer, own) in enumerate(zip(cache.layers, self.cache.layers, strict=True)):
            rows, _, length, _ = layer.keys.shape
            is_here = isinstance(layer, FixedView) and layer.fixed is self  # it moves to the front
            own.keys[:rows, :, :length] = layer.keys.clone() if is_here else layer.keys
            own.values[:rows, :, :length] = layer.values.clone() if is_here else layer.values
            cache.layers[place] = FixedView(self, own, rows, length)
        self._owner = weakref.ref(cache)

    def aim(self, view: FixedView, mask: Tensor | None) -> None:
        """Set the place that the next step writes, and the mask by that (b, t + 1) of the batch.

        A padded row attends to that place alone: with nothing to attend to it would compute NaN.
        """
        self._place.fill_(view.end)
        self.mask.zero_()
        seen = self.mask[:, 0, 0, view.first : view.end + 1]
        seen[view.rows :, -1] = True
        seen[: view.rows] = True if mask is None else mask.bool()


class FixedView(DynamicLayer):  # type: ignore[no-untyped-call]
    """The keys and values (b, h, t, d) of a batch in a layer of a fixed cache, until somebody replaces them.

    Attributes:
        fixed: the whole cache.
        rows, first, end: b, and the positions from the first to before the end, that are the batch's.
    """

    def __init__(self, fixed: FixedKV, layer: FixedLayer, rows: int, length: int) -> None:
        self.fixed, self._layer = fixed, layer
        self.rows, self.first, self.end = rows, 0, length
        self._replaced: dict[str, Any] = {}
        super().__init__()  # type: ignore[no-untyped-call]
        self._replaced.clear()
        self.dtype, self.device = layer.keys.dtype, layer.keys.device
        self.is_initialized = True

    def is_own(self) -> bool:
        """Whether nobody replaced them."""
        return not self._replaced

    def keep(self, order: Sequence[int], start: int) -> None:
        """As :func:`anymal_eval.generation.growing_kv.keep_rows`, in place: the shape stays, and what is compiled."""
        self.first += start
        for part in (self._layer.keys, self._layer.values):
            move_rows(part, order, slice(self.first, self.end))
        self.rows = len(order)

    @property
    def keys(self) -> Any:
        """As of transformers' layer."""
        return self._replaced.get("keys", self._seen(self._layer.keys))

    @keys.setter
    def keys(self, value: Any) -> None:
        self._replaced["keys"] = value

    @property
    def values(self) -> Any:
        """As of transformers' layer."""
        return self._replaced.get("values", self._seen(self._layer.values))

    @values.setter
    def values(self, value: Any) -> None:
        self._replaced["values"] = value

    def _seen(self, part: Any) -> Any:
        return part[: self.rows, :, self.first : self.end]


def is_copied(cache: Any) -> bool:
    """Whether every layer keeps every token, so that a fixed cache can take it."""
    return all(type(layer) in (DynamicLayer, GrowingLayer, FixedView) for layer in cache.layers)


def view_of(cache: Any) -> FixedView | None:
    """The first layer's view of a fixed cache; None where this cache is none, or was changed since."""
    first = cache.layers[0]
    is_view = all(
        isinstance(layer, FixedView) and layer.is_own() and layer.fixed is first.fixed for layer in cache.layers
    )
    return first if is_view else None


def _room(part: Tensor, rows: int, positions: int) -> Tensor:
    return part.new_zeros(rows, part.shape[1], positions, part.shape[3])
