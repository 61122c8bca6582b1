"""The engine with Ray: workers on one or many machines each load the model; the driver sends requests and writes.

A worker loads the model from its command-line form; no weights are sent. Workers get units of requests as they become
free, and send back each batch as soon as it is answered; requests with the same media are in one unit. When a worker
dies, another replaces it and gets what is left of its units: at most one batch is computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from anymal_eval.engine import EngineSettings, Sink
from anymal_eval.engine.batching import MAX_ROWS
from anymal_eval.engine.clock import Clock
from anymal_eval.engine.failures import ErrorCount
from anymal_eval.engine.ordering import media_of, ordered
from anymal_eval.engine.ray_actor import ModelFacts, ModelRecipe, ModelWorker
from anymal_eval.engine.ray_pool import Cluster as Cluster
from anymal_eval.engine.ray_pool import Pool, Unit, unit_size
from anymal_eval.errors import OtherRun, WrongUse
from anymal_eval.models import Prepared
from anymal_eval.records import Failure, Request, Response

AT_ONCE = 2  # units in a worker: it prepares one while it answers another
UNIT_BATCHES = 4


class Workers:
    """The driver's side: it describes the model, and answers only through :meth:`run_requests`."""

    def __init__(self, recipe: ModelRecipe, cluster: Cluster) -> None:
        """Start the workers and wait until the first has loaded the model.

        Raises:
            NeedsExtra: Ray is not installed.
            WrongUse: no cluster at this address, or a model that must know all request ids.
        """
        self._pool = Pool(ModelWorker, recipe, cluster, AT_ONCE)
        with ExitStack() as undo:
            undo.callback(self._pool.close)
            facts: ModelFacts = self._pool.get(self._pool.actors[0].facts.remote())
            if facts.expecting:
                raise WrongUse(f"--engine ray: model {recipe.typed} must know all ids in advance; leave out --engine")
            undo.pop_all()
        self.fingerprint, self.accepts, self.wording = facts.fingerprint, facts.accepts, facts.wording
        self.provenance, self.skills = facts.provenance, facts.skills

    def refuse(self, request: Request) -> None:
        """Let a worker's model refuse a request.

        Raises:
            WrongUse: the model cannot answer such a request.
        """
        self._pool.get(self._pool.actors[0].refuse.remote(request))

    def prepare(self, request: Request) -> Prepared:
        """Not supported: the workers prepare."""
        raise TypeError(f"{request.id}: workers answer only through run_requests()")

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        """Not supported: the workers answer."""
        raise TypeError(f"{len(batch)} requests: workers answer only through run_requests()")

    def run_requests(self, requests: Sequence[Request], sink: Sink, settings: EngineSettings, clock: Clock) -> None:
        """Answer every request once, as ``local.run_requests`` does; ``clock`` adds up all workers' seconds.

        Raises:
            IncompleteRun: more than ``max_errors`` failures.
            OtherRun: workers have loaded different models.
        """
        units = _units(ordered(requests), len(self._pool.actors), settings)
        count = ErrorCount(settings)
        apart = replace(settings, max_errors=None, give_up_after=None)
        for unit, part in self._pool.run(units, lambda actor, own: actor.answer.remote(own, apart)):
            if part is None:
                responses = _given_up(unit)
            else:
                fingerprint, responses, seconds = part
                if fingerprint != self.fingerprint:
                    raise OtherRun(f"the workers have different models: {self.fingerprint} and {fingerprint}")
                clock.merge(seconds)
            if not responses:
                continue
            answered = {response.id for response in responses}
            unit.content = [request for request in unit.content if request.id not in answered]
            with clock.measure("writing"):
                sink(responses)
            count.add(responses)

    def close(self) -> None:
        """Stop the workers, and the cluster if it was started here."""
        self._pool.close()


def _given_up(unit: Unit[Request]) -> list[Response]:
    why = Failure(
        kind="worker",
        message=f"{unit.deaths} workers died while answering it and {len(unit.content) - 1} other requests; "
        "is there enough memory?",
    )
    return [Response(id=request.id, failure=why) for request in unit.content]


def _units(requests: Sequence[Request], workers: int, settings: EngineSettings) -> list[Unit[Request]]:
    """Units of work: requests with the same media stay together where they are not too many."""
    most = UNIT_BATCHES * (settings.batch_size or MAX_ROWS)
    size = unit_size(len(requests), workers, most)
    units: list[Unit[Request]] = []
    for request in requests:
        own = units[-1].content if units else []
        together = bool(own) and media_of(request) == media_of(own[-1]) != ()
        if own and len(own) < (most if together else size):
            own.append(request)
        else:
            units.append(Unit(content=[request]))
    return units
