"""The order of the samples: the same for a seed, for any number of processes and after a resume."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anymal_eval.errors import BadData, WrongUse, listed
from anymal_eval.media.location import Opener
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import TrainingData

OPEN_SHARDS = 4  # drawn from at once, so that neighbours in a shard do not stay neighbours
APART = "epochs_apart"  # in a state: version 0.2.0 and before opened shards of the next epoch in this one
GROUPED_BATCHES = 50  # of which samples are sorted by length
MEDIUM_CHARACTERS = 256


@dataclass(frozen=True, kw_only=True)
class BatchPartition:
    """One process's part of every batch, in ``accumulate`` micro-batches.

    ``shift`` is added to the number of a batch's first sample: the batches before may have had another size.

    Raises:
        WrongUse: there are more micro-batches than samples.
    """

    batch_size: int
    accumulate: int = 1
    rank: int = 0
    processes: int = 1
    shift: int = 0

    def __post_init__(self) -> None:
        """Refuse empty micro-batches."""
        if self.batch_size < self.micro_batches:
            raise WrongUse(
                f"--batch-size {self.batch_size} cannot be shared by {self.processes} processes in {self.accumulate} "
                "parts each"
            )

    @property
    def micro_batches(self) -> int:
        """Of a step, over all processes."""
        return self.accumulate * self.processes

    def first(self, step: int) -> int:
        """The number of the first sample of a step, counted through the whole training.

        >>> BatchPartition(batch_size=4, shift=6).first(3)
        18
        """
        return step * self.batch_size + self.shift

    def positions(self, micro_batch: int) -> range:
        """The positions within a batch of one of this process's micro-batches.

        >>> [list(BatchPartition(batch_size=5, accumulate=2).positions(number)) for number in range(2)]
        [[0, 1], [2, 3, 4]]
        """
        number = self.rank * self.accumulate + micro_batch
        return range(
            number * self.batch_size // self.micro_batches, (number + 1) * self.batch_size // self.micro_batches
        )


class Shuffled:
    """Map-style samples of all data, shuffled together for every epoch."""

    def __init__(
        self,
        samples: Sequence[Sample],
        partition: BatchPartition,
        seed: int,
        *,
        grouped: bool = False,
        stream: tuple[int, ...] = (),
    ) -> None:
        """``grouped``: samples of about one length share a batch; ``stream``: tells the orders of a mixture apart.

        Raises:
            BadData: there are no samples.
        """
        if not samples:
            raise BadData("the data hold no sample to learn from")
        self._samples, self._partition, self._seed, self._stream = samples, partition, seed, stream
        self._lengths = np.array([length_of(sample) for sample in samples]) if grouped else None
        self._grouped: dict[int, NDArray[np.int64]] = {}  # the order of an epoch

    def take(self, step: int, micro_batch: int) -> list[Sample]:
        """The samples of one of this process's micro-batches."""
        return [self._samples[index] for index in self._indices(step, micro_batch)]

    def upcoming(self, steps: int, start: int = 0) -> list[Sample]:
        """The samples of this process from step ``start`` to ``steps``, at most about two epochs, each once."""
        last = min(steps, start + 1 + len(self._samples) // self._partition.batch_size * 2)
        parts = [(step, number) for step in range(start, last) for number in range(self._partition.accumulate)]
        indices = dict.fromkeys(index for part in parts for index in self._indices(*part))
        return [self._samples[index] for index in indices]

    def at(self, number: int) -> Sample:
        """The sample of a place, counted through all epochs."""
        return self._samples[self._index(number)]

    def __len__(self) -> int:
        return len(self._samples)

    def state_dict(self) -> dict[str, Any]:
        """Empty: the number of the step determines the samples."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to do."""

    def _indices(self, step: int, micro_batch: int) -> list[int]:
        first = self._partition.first(step)
        return [self._index(first + position) for position in self._partition.positions(micro_batch)]

    def _index(self, number: int) -> int:
        epoch, within = divmod(number, len(self._samples))
        seeds = (self._seed, epoch, *self._stream)
        if self._lengths is None:
            return int(_permutation(seeds, len(self._samples))[within])
        if epoch not in self._grouped:
            if len(self._grouped) > 1:
                del self._grouped[min(self._grouped)]
            size = self._partition.batch_size
            first = (self._partition.shift - epoch * len(self._samples)) % size
            self._grouped[epoch] = grouped(self._lengths, seeds, size, first)
        return int(self._grouped[epoch][within])


def length_of(sample: Sample) -> int:
    """About how long a sample is: characters, of which a medium counts for as many as its tokens may stand for."""
    text = sum(len(part) for turn in sample.turns for part in turn.parts if isinstance(part, str))
    return text + MEDIUM_CHARACTERS * len(sample.media)


def grouped(lengths: NDArray[np.int64], seeds: tuple[int, ...], size: int, first: int) -> NDArray[np.int64]:
    """An order of an epoch in which batches hold samples of about one length; each sample once.

    Chunks of ``GROUPED_BATCHES`` batches of a random order are sorted by length, and their batches are shuffled.

    Args:
        lengths: of the samples.
        seeds: of the random order.
        size: of a batch.
        first: samples before the first whole batch, which complete the last batch of the epoch before.
    """
    generator = np.random.default_rng([*seeds, size])
    order = _permutation(seeds, len(lengths))
    chunks = np.split(order[first:], range(size * GROUPED_BATCHES, len(order) - first, size * GROUPED_BATCHES))
    ordered = np.concatenate([chunk[np.argsort(-lengths[chunk], kind="stable")] for chunk in chunks])
    whole = len(ordered) // size * size
    batches = ordered[:whole].reshape(-1, size)[generator.permutation(whole // size)]
    return np.concatenate([order[:first], batches.reshape(-1), ordered[whole:]])


@lru_cache(maxsize=16)
def _permutation(seeds: tuple[int, ...], count: int) -> NDArray[np.int64]:
    return np.random.default_rng(list(seeds)).permutation(count)


@dataclass(kw_only=True)
class _Open:
    """An open shard: its samples in a shuffled order, and how many of them were drawn."""

    epoch: int
    position: int
    drawn: int = 0
    samples: list[Sample] = field(default_factory=list, repr=False)


class Streamed:
    """Shards of all data; each process reads its own. Map-style data count as one shard.

    A sample is drawn at random from several open shards of an epoch, and the next epoch begins when none is left. The
    draw depends on the seed and its number alone, so the state is a few numbers, and resuming opens only the shards
    that were open.
    """

    def __init__(
        self,
        data: Sequence[TrainingData],
        partition: BatchPartition,
        seed: int,
        admit: Callable[[Sample, Opener | None], None],
    ) -> None:
        """``admit`` is called with every sample that is read and the opener of its media.

        Raises:
            BadData: there are fewer shards than processes.
        """
        shards = [(each, number) for each in data for number in range(max(each.shards, 1))]
        if len(shards) < partition.processes:
            raise BadData(
                f"{len(shards)} shards cannot be shared by {partition.processes} processes: write the data as more "
                "shards, or start fewer processes"
            )
        self._shards, self._partition, self._seed = shards, partition, seed
        self._open: list[_Open] = []
        self._drawn = 0
        self._next = (0, 0)  # epoch, position in this process's order of that epoch
        self._apart = True  # each sample once in an epoch
        self._empty: set[int] = set()  # shards without a sample
        self._admit = admit

    def take(self, step: int, micro_batch: int) -> list[Sample]:
        """The samples of this process's next micro-batch, whatever the step."""
        del step
        return [self.draw() for _ in self._partition.positions(micro_batch)]

    def state_dict(self) -> dict[str, Any]:
        """The open shards, how many samples of each were drawn, and the next shard."""
        opened = [[one.epoch, one.position, one.drawn] for one in self._open]
        apart = {APART: True} if self._apart else {}
        return {"drawn": self._drawn, "next": list(self._next), "open": opened, **apart}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Open the same shards and skip the samples that were drawn; an earlier version's order continues as it was."""
        self._apart = APART in state
        self._drawn = int(state["drawn"])
        self._next = (int(state["next"][0]), int(state["next"][1]))
        self._open = [self._read(epoch, position, drawn) for epoch, position, drawn in state["open"]]

    def draw(self) -> Sample:
        """The next sample of this process."""
        while len(self._open) < OPEN_SHARDS and self._may_open():
            self._open_next()
        random_draw = random.Random(f"{self._seed} {self._partition.rank} {self._drawn}")  # noqa: S311  # no secret
        one = random_draw.choices(self._open, [len(each.samples) - each.drawn for each in self._open])[0]
        sample = one.samples[one.drawn]
        one.drawn += 1
        self._drawn += 1
        if one.drawn == len(one.samples):
            self._open.remove(one)
        return sample

    def _may_open(self) -> bool:
        """Whether the next shard is of the epoch of those that are open."""
        return not (self._apart and self._open) or self._next[0] == self._open[0].epoch

    def _open_next(self) -> None:
        epoch, position = self._next
        self._next = (epoch, position + 1) if position + 1 < len(self._own_shards(epoch)) else (epoch + 1, 0)
        opened = self._read(epoch, position, 0)
        if not opened.samples:
            self._empty.add(self._own_shards(epoch)[position])
        if len(self._empty) == len(self._shards):  # else another epoch gives this process another one
            lines = dict.fromkeys(line for each, _ in self._shards for line in each.bad.reasons)
            why = f": {listed(list(lines), shown=3, between='; ')}" if lines else ""
            raise BadData(f"the shards hold no sample to learn from{why}")
        if opened.samples:
            self._open.append(opened)

    def _own_shards(self, epoch: int) -> list[int]:
        """The shards of this process, in their order in an epoch."""
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._shards))
        return [int(shard) for shard in order[self._partition.rank :: self._partition.processes]]

    def _read(self, epoch: int, position: int, drawn: int) -> _Open:
        shard = self._own_shards(epoch)[position]
        data, number = self._shards[shard]
        samples = list(data.read_shard(number)) if data.samples is None else list(data.samples)
        for sample in samples:
            self._admit(sample, data.opener)
        np.random.default_rng([self._seed, epoch, shard]).shuffle(samples)
        return _Open(epoch=epoch, position=position, drawn=drawn, samples=samples)
