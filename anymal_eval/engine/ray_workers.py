"""Many processes, perhaps on many machines: Ray actors hold the model, the driver hands out requests and writes.

A worker loads the model from what the user typed; nothing of it is sent. Requests are handed out as workers come free,
those on one medium together. When a worker dies, another is started and what it had is handed out again: of that
nothing was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from anymal_eval.engine import EngineSettings, Sink
from anymal_eval.engine.batching import MOST_ROWS
from anymal_eval.engine.clock import Clock
from anymal_eval.engine.local import ErrorCount
from anymal_eval.engine.ordering import medium_of, ordered
from anymal_eval.engine.ray_actor import Facts, Recipe, Worker
from anymal_eval.engine.ray_pool import Cluster as Cluster
from anymal_eval.engine.ray_pool import Pool, Unit, share
from anymal_eval.errors import OtherRun, WrongUse
from anymal_eval.models import Prepared
from anymal_eval.records import Failure, Request, Response

AT_ONCE = 2  # units in a worker: it prepares one while it answers the other
UNIT_BATCHES = 4


class Workers:
    """The driver's side: a model to describe, asked only through :meth:`run_requests`."""

    def __init__(self, recipe: Recipe, cluster: Cluster) -> None:
        """Start the workers and wait for the first to load the model.

        Raises:
            NeedsExtra: Ray is not installed.
            WrongUse: no cluster at this address, or a model that cannot be asked in parts.
        """
        self._pool = Pool(Worker, recipe, cluster, AT_ONCE)
        with ExitStack() as undo:
            undo.callback(self._pool.close)
            facts: Facts = self._pool.get(self._pool.actors[0].facts.remote())
            if facts.expecting:
                raise WrongUse(f"--engine ray: model {recipe.typed} must know all ids beforehand; leave out --engine")
            undo.pop_all()
        self.fingerprint, self.accepts, self.wording = facts.fingerprint, facts.accepts, facts.wording
        self.provenance = facts.provenance

    def refuse(self, request: Request) -> None:
        """Have a worker's model look at a request.

        Raises:
            WrongUse: it cannot answer a request like that.
        """
        self._pool.get(self._pool.actors[0].refuse.remote(request))

    def prepare(self, request: Request) -> Prepared:
        """Not here: the workers prepare."""
        raise TypeError(f"{request.id}: workers answer only through run_requests()")

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        """Not here: the workers answer."""
        raise TypeError(f"{len(batch)} requests: workers answer only through run_requests()")

    def run_requests(self, requests: Sequence[Request], sink: Sink, settings: EngineSettings, clock: Clock) -> None:
        """Answer every request once, as ``local.run_requests`` does; ``clock`` adds up all workers' seconds.

        Raises:
            IncompleteRun: more than ``max_errors`` failures.
            OtherRun: the workers have loaded different models.
        """
        units = _units(ordered(requests), len(self._pool.actors), settings)
        count = ErrorCount(settings.max_errors)
        apart = replace(settings, max_errors=None)
        for unit, result in self._pool.run(units, lambda actor, own: actor.answer.remote(own, apart)):
            if result is None:
                responses = _given_up(unit)
            else:
                fingerprint, responses, seconds = result
                if fingerprint != self.fingerprint:
                    raise OtherRun(f"the workers have different models: {self.fingerprint} and {fingerprint}")
                clock.merge(seconds)
            with clock.measure("writing"):
                sink(responses)
            count.add(responses)

    def close(self) -> None:
        """End the workers, and the cluster if it was started here."""
        self._pool.close()


def _given_up(unit: Unit[Request]) -> list[Response]:
    why = Failure(
        kind="worker",
        message=f"{unit.deaths} workers died over it and its {len(unit.content) - 1} neighbours; "
        "is there memory enough?",
    )
    return [Response(id=request.id, failure=why) for request in unit.content]


def _units(requests: Sequence[Request], workers: int, settings: EngineSettings) -> list[Unit[Request]]:
    """What is handed out at once: requests on one medium stay together where they are not too many."""
    most = UNIT_BATCHES * (settings.batch_size or MOST_ROWS)
    size = share(len(requests), workers, most)
    units: list[Unit[Request]] = []
    for request in requests:
        own = units[-1].content if units else []
        together = bool(own) and medium_of(request) == medium_of(own[-1]) != ()
        if own and len(own) < (most if together else size):
            own.append(request)
        else:
            units.append(Unit(content=[request]))
    return units
