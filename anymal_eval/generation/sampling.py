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

    def __init__(self, decoding: Decoding, names: Sequence[str]) -> None:
        """Seed a generator for each of b rows.

        Args:
            decoding: its temperature, top_p and seed.
            names: the ids of the rows' requests.
        """
        import torch

        self._temperature, self._top_p = decoding.temperature, decoding.top_p
        self._generators: list[Generator] = []
        for name in names:
            digest = hashlib.sha256(f"{decoding.seed}\n{name}".encode()).digest()
            generator = torch.Generator()
            generator.manual_seed(int.from_bytes(digest[:8]) >> 1)
            self._generators.append(generator)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(b, v) logits of all rows -> (b, v) whose largest entry is the sample."""
        del input_ids
        return self.of_rows(scores, range(len(self._generators)))

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
