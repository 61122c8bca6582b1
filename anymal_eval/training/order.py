"""Which sample comes when: the same for a seed, however many processes share a step and wherever it goes on."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from anymal_eval.errors import BadData, WrongUse
from anymal_eval.media.location import Opener
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import TrainingData

OPEN_SHARDS = 4  # that samples are drawn from at once, so that neighbours in a shard come apart


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one process takes of every step, in how many parts.

    Raises:
        WrongUse: there are more parts than samples.
    """

    batch_size: int
    accumulate: int = 1
    rank: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        """Refuse empty parts."""
        if self.batch_size < self.parts:
            raise WrongUse(
                f"--batch-size {self.batch_size} cannot be shared by {self.processes} processes in {self.accumulate} "
                "parts each"
            )

    @property
    def parts(self) -> int:
        """Of a step, over all processes."""
        return self.accumulate * self.processes

    def places(self, part: int) -> range:
        """Which samples of a step are this process's in one of its parts.

        >>> [list(Share(batch_size=5, accumulate=2).places(part)) for part in range(2)]
        [[0, 1], [2, 3, 4]]
        """
        number = self.rank * self.accumulate + part
        return range(number * self.batch_size // self.parts, (number + 1) * self.batch_size // self.parts)


class Order(Protocol):
    """Gives samples; its position goes into every saved state."""

    def take(self, step: int, part: int) -> list[Sample]:
        """The samples of this process in a part of a step; parts come in order."""

    def position(self) -> dict[str, Any]:
        """What ``seek`` needs to go on."""

    def seek(self, position: dict[str, Any]) -> None:
        """Go on from there."""


class Shuffled:
    """Map-style samples of all sources, mixed anew for every pass over them."""

    def __init__(self, samples: Sequence[Sample], share: Share, seed: int) -> None:
        """Raises BadData where there are no samples."""
        if not samples:
            raise BadData("the data hold no sample to learn from")
        self._samples, self._share, self._seed = samples, share, seed

    def take(self, step: int, part: int) -> list[Sample]:
        """See :class:`Order`."""
        first = step * self._share.batch_size
        return [self._at(first + place) for place in self._share.places(part)]

    def wanted(self, steps: int, start: int = 0) -> list[Sample]:
        """The samples of this process in these steps, each once."""
        count, size = len(self._samples), self._share.batch_size
        chosen: dict[int, None] = {}
        for step in range(start, min(steps, start + 1 + count // size * 2)):
            for part in range(self._share.accumulate):
                chosen |= dict.fromkeys(self._index(step * size + place) for place in self._share.places(part))
        return [self._samples[index] for index in chosen]

    def position(self) -> dict[str, Any]:
        """None: a step's number says it all."""
        return {}

    def seek(self, position: dict[str, Any]) -> None:
        """Nothing to do."""

    def _at(self, place: int) -> Sample:
        return self._samples[self._index(place)]

    def _index(self, place: int) -> int:
        count = len(self._samples)
        return int(_permutation(self._seed, place // count, count)[place % count])


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(count)


@dataclass(kw_only=True)
class _Open:
    """A shard that is being read: its samples in a shuffled order, and how many were given."""

    epoch: int
    place: int
    given: int = 0
    samples: list[Sample] = field(default_factory=list, repr=False)


class Streamed:
    """Shards of all sources; each process reads its own. Map-style sources count as one shard.

    Samples are drawn from several open shards by chance that depends on the seed and the number of the draw alone, so a
    position is a few numbers, and going on opens again only what was open.
    """

    def __init__(
        self, sources: Sequence[TrainingData], share: Share, seed: int, admit: Callable[[Sample, Opener | None], None]
    ) -> None:
        """``admit`` sees every sample that is read, and who opens its media.

        Raises:
            BadData: there are fewer shards than processes.
        """
        units = [(source, number) for source in sources for number in range(max(source.shards, 1))]
        if len(units) < share.processes:
            raise BadData(f"{len(units)} shards cannot be shared by {share.processes} processes")
        self._units, self._share, self._seed = units, share, seed
        self._open: list[_Open] = []
        self._drawn = 0
        self._next = (0, 0)  # epoch, place in this process's order of that epoch
        self._idle = 0
        self._admit = admit

    def take(self, step: int, part: int) -> list[Sample]:
        """See :class:`Order`; ``step`` is not needed, samples come one after the other."""
        del step
        return [self._draw() for _ in self._share.places(part)]

    def position(self) -> dict[str, Any]:
        """Which shards are open, how far each was read, and what comes next."""
        opened = [[one.epoch, one.place, one.given] for one in self._open]
        return {"drawn": self._drawn, "next": list(self._next), "open": opened}

    def seek(self, position: dict[str, Any]) -> None:
        """Open the same shards and leave out what they gave before."""
        self._drawn = int(position["drawn"])
        self._next = (int(position["next"][0]), int(position["next"][1]))
        self._open = [self._read(epoch, place, given) for epoch, place, given in position["open"]]

    def _draw(self) -> Sample:
        while len(self._open) < OPEN_SHARDS:
            self._open_next()
        chance = random.Random(f"{self._seed} {self._share.rank} {self._drawn}")  # noqa: S311  # an order, not a secret
        one = chance.choices(self._open, [len(each.samples) - each.given for each in self._open])[0]
        sample = one.samples[one.given]
        one.given += 1
        self._drawn += 1
        if one.given == len(one.samples):
            self._open.remove(one)
        return sample

    def _open_next(self) -> None:
        epoch, place = self._next
        own = self._own(epoch)
        self._next = (epoch, place + 1) if place + 1 < len(own) else (epoch + 1, 0)
        found = self._read(epoch, place, 0)
        self._idle = 0 if found.samples else self._idle + 1
        if self._idle > len(self._units):
            raise BadData("the shards hold no sample to learn from")
        if found.samples:
            self._open.append(found)

    def _own(self, epoch: int) -> list[int]:
        """The shards of this process, in their order in a pass."""
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._units))
        return [int(unit) for unit in order[self._share.rank :: self._share.processes]]

    def _read(self, epoch: int, place: int, given: int) -> _Open:
        unit = self._own(epoch)[place]
        source, number = self._units[unit]
        samples = list(source.read_shard(number)) if source.samples is None else list(source.samples)
        for sample in samples:
            self._admit(sample, source.opener)
        np.random.default_rng([self._seed, epoch, unit]).shuffle(samples)
        return _Open(epoch=epoch, place=place, given=given, samples=samples)
