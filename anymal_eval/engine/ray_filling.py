"""``features fill`` with Ray: actors load the encoders and write into one shared cache.

The cache must be a folder that all machines see under the same path. Entries are written atomically: an actor that dies
leaves no partial entry, and the next actor skips the entries that exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

from anymal_eval.engine.ray_pool import Cluster, Pool, Unit, unit_size
from anymal_eval.models.anymal.filling import Filled, Filler, MediaRequest
from anymal_eval.models.anymal.options import Options

UNIT_MEDIA = 64


class FillWorker:
    """The actor: one set of encoders."""

    def __init__(self, options: Options) -> None:
        """Load nothing yet: Ray would report an error in a constructor as a dead actor."""
        self._options = options
        self._filler: Filler | None = None

    def load(self) -> None:
        """Load the encoders, once."""
        if self._filler is None:
            self._filler = Filler(self._options)

    def fill(self, media: Sequence[MediaRequest], threads: int) -> Iterator[Filled]:
        """Encode the media that the cache lacks; yield the counts."""
        self.load()
        if self._filler is None:
            raise RuntimeError("the encoders are not loaded")
        yield self._filler.fill(media, threads, lambda _: None)


class Fillers:
    """The driver's side of the actors, with the interface of ``Filler``. Close it to stop them."""

    def __init__(self, options: Options, cluster: Cluster) -> None:
        """Start the workers and wait until the first has loaded the encoders.

        Raises:
            NeedsExtra: Ray is not installed.
            WrongUse: no cluster at this address.
            BadCheckpoint: as for :class:`anymal_eval.models.anymal.filling.Filler`.
        """
        own = replace(options, features=str(Path(options.features).resolve()))
        self._pool = Pool(FillWorker, own, cluster)
        with ExitStack() as undo:
            undo.callback(self._pool.close)
            self._pool.get(self._pool.actors[0].load.remote())
            undo.pop_all()

    def fill(self, media: Sequence[MediaRequest], threads: int, advance: Callable[[int], None]) -> Filled:
        """Encode the media that the cache lacks; see :meth:`anymal_eval.models.anymal.filling.Filler.fill`."""
        size = unit_size(len(media), len(self._pool.actors), UNIT_MEDIA)
        units = [Unit(content=list(media[start : start + size])) for start in range(0, len(media), size)]
        whole = Filled(media=len(media))
        for unit, filled in self._pool.run(units, lambda actor, own: actor.fill.remote(own, threads)):
            whole.add(_given_up(unit) if filled is None else filled)
            advance(len(unit.content))
            unit.content = []
        return whole

    def close(self) -> None:
        """Stop the workers, and the cluster if it was started here."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _given_up(unit: Unit[MediaRequest]) -> Filled:
    why = f"{unit.deaths} workers died while encoding it and {len(unit.content) - 1} other media"
    return Filled(media=0, failed=tuple(f"{medium.uri}: {why}" for medium, _ in unit.content))
