"""Which engine asks, with what settings, and where the time went."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from anymal_eval.errors import WrongUse
from anymal_eval.records import Request, Response

if TYPE_CHECKING:
    from anymal_eval.engine import EngineSettings, Sink
    from anymal_eval.engine.clock import Clock
    from anymal_eval.models import Model, ModelSpec

TIMINGS = "timings.json"  # apart from the results, which are the same bytes however a run went


class Choice(Protocol):
    """What of the command line says how to ask; see ``cli/run.py`` for each."""

    @property
    def batch_size(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def engine(self) -> str: ...
    @property
    def workers(self) -> int: ...
    @property
    def gpus_per_worker(self) -> float: ...
    @property
    def address(self) -> str | None: ...


def settings(choice: Choice, most_errors: int | None = None) -> EngineSettings:
    """How the engine asks.

    Raises:
        WrongUse: a batch size that is neither auto nor a number.
    """
    from anymal_eval.engine import EngineSettings

    given = choice.batch_size
    if given != "auto" and not (given.isdecimal() and int(given) > 0):
        raise WrongUse(f"--batch-size {given}: write auto or a number of requests")
    size = None if given == "auto" else int(given)
    return EngineSettings(batch_size=size, threads=choice.threads, max_errors=most_errors)


def load(choice: Choice, spec: ModelSpec, typed: tuple[str, Mapping[str, str], Mapping[str, str]]) -> Model:
    """Load the model here, or have workers load it.

    Args:
        choice: which engine.
        spec: the model, chosen.
        typed: the name and the options that it was chosen by.

    Raises:
        NeedsExtra: Ray is not installed.
    """
    settings(choice)
    if choice.engine == "local":
        return spec.load()
    from anymal_eval.engine.ray_actor import Recipe
    from anymal_eval.engine.ray_workers import Cluster, Workers

    name, options, common = typed
    cluster = Cluster(workers=choice.workers, gpus_per_worker=choice.gpus_per_worker, address=choice.address)
    return Workers(Recipe(typed=name, options=options, common=common), cluster)


def ask(requests: Sequence[Request], model: Model, sink: Sink, how: EngineSettings, clock: Clock) -> None:
    """Ask through the engine that the model was loaded for."""
    from anymal_eval.engine import local
    from anymal_eval.engine.ray_workers import Workers

    if isinstance(model, Workers):
        model.run_requests(requests, sink, how, clock)
    else:
        local.run_requests(requests, model, sink, how, clock)


class Session:
    """One command's share of a run: its clock, and how many answers it brought."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.answered = 0

    def counted(self, sink: Sink) -> Sink:
        """The same sink, counting what it takes."""

        def take(batch: Sequence[Response]) -> None:
            sink(batch)
            self.answered += len(batch)

        return take


@contextmanager
def session(root: Path) -> Iterator[Session]:
    """Time what happens inside; then say where the time went, and add it to ``timings.json``, also after an error."""
    from anymal_eval.engine.clock import Clock, summary

    one = Session(Clock())
    start = time.perf_counter()
    try:
        yield one
    finally:
        wall = time.perf_counter() - start
        _write(root, one, wall)
        if one.answered:
            parts = summary(one.clock.seconds)
            click.echo(f"{one.answered} answers in {wall:.1f} s{': ' if parts else ''}{parts}", err=True)


def _write(root: Path, one: Session, wall: float) -> None:
    from anymal_eval.codec import read_json
    from anymal_eval.store.atomic import write_atomic
    from anymal_eval.store.folder import write_json_pretty

    file = root / TIMINGS
    before: list[Any] = read_json(file)["sessions"] if file.is_file() else []
    seconds = {part: round(value, 3) for part, value in one.clock.seconds.items()}
    now = {"answered": one.answered, "wall": round(wall, 3), "seconds": seconds}
    write_atomic(file, write_json_pretty({"schema": 1, "sessions": [*before, now]}))
