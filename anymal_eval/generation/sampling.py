"""Sampling whose draws depend on a seed and the request alone, not on the batch, the order or a restart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from anymal_eval.records import Decoding


class SamplingProcessor:
    """A logits processor after which the largest logit is a sample: the Gumbel-max method.

    Each row draws its noise from a generator of its own, on the CPU, so that a GPU samples the same tokens from the
    same logits. ``argmax(log p + g)`` with g from the standard Gumbel distribution is a sample from p.
    """

    def __init__(self, decoding: Decoding, names: Sequence[str] = ()) -> None:
        """Seed a generator for each of b rows.

        Args:
            decoding: its temperature, top_p and seed.
            names: the ids of the rows' requests.
        """
        self._temperature, self._top_p, self._seed = decoding.temperature, decoding.top_p, decoding.seed
        self._generators: dict[int, Generator] = {}  # by the row's number
        for row, name in enumerate(names):
            self.add(row, name)

    def add(self, row: int, name: str) -> None:
        """Seed the generator of a row, by its number, from the id of its request."""
        import torch

        digest = hashlib.sha256(f"{self._seed}\n{name}".encode()).digest()
        self._generators[row] = torch.Generator()
        self._generators[row].manual_seed(int.from_bytes(digest[:8]) >> 1)

    def forget(self, row: int) -> None:
        """Free the generator of a row that ended: there may be a million."""
        del self._generators[row]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(b, v) logits of all rows -> (b, v) whose largest entry is the sample."""
        del input_ids
        return self.of_rows(scores, list(self._generators))

    def of_rows(self, scores: Tensor, rows: Sequence[int]) -> Tensor:
        """The same for the logits of some rows, by their numbers; the others draw nothing."""
        import torch

        wanted = torch.log_softmax(scores.float() / self._temperature, dim=-1)
        if self._top_p < 1:
            ordered, places = wanted.sort(dim=-1, descending=True)
            # A token stays while those before it are less than top_p of all: the likeliest one always does.
            before = ordered.exp().cumsum(dim=-1) - ordered.exp()
            dropped = torch.zeros_like(before, dtype=torch.bool).scatter(-1, places, before >= self._top_p)
            wanted = wanted.masked_fill(dropped, -torch.inf)
        width, own = wanted.shape[-1], [self._generators[row] for row in rows]
        noise = torch.stack([torch.empty(width).exponential_(generator=each) for each in own])
        return wanted - noise.log().to(wanted.device)
