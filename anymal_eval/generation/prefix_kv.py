"""Computed prefixes: keys and values of a prompt's first tokens, computed once for every row that has them.

Shapes:  b rows · h heads · t positions · d width of a head
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PrefixKV:
    """A computed beginning: for each layer its keys and values, (1, h, t, d) each."""

    layers: tuple[tuple[Tensor, Tensor], ...]

    @property
    def positions(self) -> int:
        """T."""
        return int(self.layers[0][0].shape[-2])

    @property
    def nbytes(self) -> int:
        """What it takes on the device."""
        return sum(keys.nbytes + values.nbytes for keys, values in self.layers)


@dataclass(frozen=True, kw_only=True)
class BatchedPrefix:
    """What is computed of b rows: for each, which of the beginnings it has. ``positions`` is the longest one's."""

    heads: tuple[PrefixKV, ...]
    rows: tuple[int, ...]
    positions: int

    def cache(self, times: int = 1) -> Any:
        """A cache of every row so many times (for its beams), padded on the left, that its user may write to."""
        import torch
        from transformers import cache_utils

        library: Any = cache_utils
        made = library.DynamicCache()
        chosen = torch.tensor(self.rows).repeat_interleave(times)
        for place in range(len(self.heads[0].layers)):
            layer = library.DynamicLayer()
            keys, values = (self._rows(place, part, chosen) for part in (0, 1))
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys, values
            made.layers.append(layer)
        return made

    def _rows(self, layer: int, part: int, chosen: Tensor) -> Tensor:
        """(b, h, t, d) keys or values."""
        import torch
        from torch.nn.functional import pad

        parts = [head.layers[layer][part] for head in self.heads]
        whole = torch.cat([pad(each, (0, 0, self.positions - each.shape[-2], 0)) for each in parts])
        return whole.index_select(0, chosen.to(whole.device))


def writable(cache: Any) -> Any:
    """A cache to write to. Dynamic layers put new tensors in the place of old ones, so that theirs need no copy."""
    import copy

    from transformers.cache_utils import DynamicLayer

    if any(type(layer) is not DynamicLayer for layer in cache.layers):
        return copy.deepcopy(cache)
    own = copy.copy(cache)
    own.layers = [copy.copy(layer) for layer in cache.layers]
    return own
