"""Mixtures: each sample is drawn from one of several data, by their weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anymal_eval.training.order import BatchPartition, Shuffled, Streamed
from anymal_eval.training.samples import Sample

_BLOCK = 4096  # draws that are made at once
_STREAM = 0x4D49  # keeps the draws apart from the orders of samples, which have the same seed


class Draws:
    """For every number, which data it is drawn from, and how many numbers before it are. The same for a seed."""

    def __init__(self, weights: Sequence[float], seed: int, stream: int = 0) -> None:
        """``stream``: another sequence for each process that draws for itself."""
        self._shares = np.array(weights) / sum(weights)
        self._seeds = [seed, _STREAM, stream]
        self._before = [np.zeros(len(weights), np.int64)]  # by source, at the start of each block
        self._block = -1
        self._chosen = self._counts = np.zeros(0, np.int64)

    def __call__(self, number: int) -> tuple[int, int]:
        """The source of a draw, and how many earlier draws have the same."""
        block, within = divmod(number, _BLOCK)
        while len(self._before) <= block:
            self._before.append(self._before[-1] + np.bincount(self._draw(len(self._before) - 1), minlength=self._many))
        if block != self._block:
            self._block, self._chosen = block, self._draw(block)
            self._counts = np.zeros(_BLOCK, np.int64)
            for source in range(self._many):
                own = self._chosen == source
                self._counts[own] = self._before[block][source] + np.arange(own.sum())
        return int(self._chosen[within]), int(self._counts[within])

    @property
    def _many(self) -> int:
        return len(self._shares)

    def _draw(self, block: int) -> NDArray[np.int64]:
        return np.random.default_rng([*self._seeds, block]).choice(self._many, _BLOCK, p=self._shares)


class Mixed:
    """Samples of several data, each in its own order, drawn by their weights.

    Of tables alone the draws are numbered through all processes, so their number changes nothing. With shards each
    process draws for itself, from its own shards; of a table it takes every sample that the others do not take.
    """

    def __init__(
        self, sources: Sequence[Shuffled | Streamed], weights: Sequence[float], partition: BatchPartition, seed: int
    ) -> None:
        self._sources, self._partition = sources, partition
        self._streams = any(isinstance(source, Streamed) for source in sources)
        self._draws = Draws(weights, seed, 1 + partition.rank if self._streams else 0)
        self._drawn = 0  # by this process, where it draws for itself

    def take(self, step: int, micro_batch: int) -> list[Sample]:
        """The samples of one of this process's micro-batches."""
        positions = self._partition.positions(micro_batch)
        if not self._streams:
            return [self._at(self._partition.first(step) + position) for position in positions]
        first, self._drawn = self._drawn, self._drawn + len(positions)
        return [self._at(number) for number in range(first, self._drawn)]

    def upcoming(self, steps: int, start: int = 0) -> list[Sample]:
        """The samples of this process from step ``start`` to ``steps``, about two epochs at most, each once.

        Of shards none: they are not read yet.
        """
        if self._streams:
            return []
        total = sum(len(source) for source in self._sources if isinstance(source, Shuffled))
        last = min(steps, start + 1 + total // self._partition.batch_size * 2)
        parts = [(step, number) for step in range(start, last) for number in range(self._partition.accumulate)]
        return list({id(sample): sample for part in parts for sample in self.take(*part)}.values())

    def state_dict(self) -> dict[str, Any]:
        """How many samples this process has drawn, and the states of its shards; empty for tables alone."""
        if not self._streams:
            return {}
        return {"drawn": self._drawn, "sources": [source.state_dict() for source in self._sources]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the samples that were drawn."""
        if self._streams:
            self._drawn = int(state["drawn"])
            for source, own in zip(self._sources, state["sources"], strict=True):
                source.load_state_dict(own)

    def _at(self, number: int) -> Sample:
        place, count = self._draws(number)
        source = self._sources[place]
        if isinstance(source, Streamed):
            return source.draw()
        return source.at(count * self._partition.processes + self._partition.rank if self._streams else count)


SampleOrder = Shuffled | Streamed | Mixed
