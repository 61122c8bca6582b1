"""``features fill`` by many processes: Ray actors hold the encoders and write into the one cache.

The cache must be a folder that all machines see under the same path. Entries appear whole, so an actor that dies leaves
nothing half done, and whoever gets its media next finds what it had finished.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

from anymal_eval.engine.ray_pool import Cluster, Pool, Unit, share
from anymal_eval.models.anymal.filling import Filled, Filler, Shown
from anymal_eval.models.anymal.options import Options

UNIT_MEDIA = 64


class FillWorker:
    """The actor."""

    def __init__(self, options: Options) -> None:
        """Nothing is loaded yet, so that what goes wrong there is told as what it is."""
        self._options = options
        self._filler: Filler | None = None

    def load(self) -> None:
        """Load the encoders, once."""
        if self._filler is None:
            self._filler = Filler(self._options)

    def fill(self, media: Sequence[Shown], threads: int) -> Filled:
        """Encode what the cache lacks of some media."""
        self.load()
        if self._filler is None:
            raise RuntimeError("the encoders are not loaded")
        return self._filler.fill(media, threads, lambda _: None)


class Fillers:
    """Many fillers as one. Close it to end them."""

    def __init__(self, options: Options, cluster: Cluster) -> None:
        """Start the workers and wait for the first to load the encoders.

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

    def fill(self, media: Sequence[Shown], threads: int, advance: Callable[[int], None]) -> Filled:
        """Encode what the cache lacks; see :meth:`anymal_eval.models.anymal.filling.Filler.fill`."""
        size = share(len(media), len(self._pool.actors), UNIT_MEDIA)
        units = [Unit(content=list(media[start : start + size])) for start in range(0, len(media), size)]
        whole = Filled(media=len(media))
        for unit, filled in self._pool.run(units, lambda actor, own: actor.fill.remote(own, threads)):
            whole.add(_given_up(unit) if filled is None else filled)
            advance(len(unit.content))
        return whole

    def close(self) -> None:
        """End the workers, and the cluster if it was started here."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _given_up(unit: Unit[Shown]) -> Filled:
    why = f"{unit.deaths} workers died over it and its {len(unit.content) - 1} neighbours"
    return Filled(media=0, failed=tuple(f"{medium.uri}: {why}" for medium, _ in unit.content))
