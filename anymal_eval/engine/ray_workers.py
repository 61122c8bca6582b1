"""Many processes, perhaps on many machines: Ray actors hold the model, the driver hands out requests and writes.

A worker loads the model from what the user typed; nothing of it is sent. Requests are handed out as workers come free,
those on one medium together. When a worker dies, another is started and what it had is handed out again: of that
nothing was written.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from anymal_eval.engine import Settings, Sink
from anymal_eval.engine.batching import MOST_ROWS
from anymal_eval.engine.clock import Clock
from anymal_eval.engine.local import ErrorCount
from anymal_eval.engine.ordering import medium_of, ordered
from anymal_eval.engine.ray_actor import Facts, Recipe, Worker
from anymal_eval.errors import AnyMALEvalError, NeedsExtra, OtherRun, WrongUse
from anymal_eval.models import Prepared
from anymal_eval.records import Failure, Request, Response

IN_FLIGHT = 2  # units a worker has: it prepares one while it answers the other
UNIT_BATCHES = 4
SHARES = 8  # units a worker gets at least, so that all end at about the same time
MOST_DEATHS = 3  # workers that may die over a unit before its requests are given up
REACHED_S = 10.0
STORE_BYTES = 256 << 20  # requests and responses are small; Ray would take a third of the memory


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """How many workers, the GPUs of each, and the running cluster's address (None starts one on this machine)."""

    workers: int = 2
    gpus_per_worker: float = 0.0
    address: str | None = None


@dataclass(kw_only=True)
class _Unit:
    requests: list[Request]
    deaths: int = 0


class Workers:
    """The driver's side: a model to describe, asked only through :meth:`ask`."""

    def __init__(self, recipe: Recipe, cluster: Cluster) -> None:
        """Start the workers and wait for the first to load the model.

        Raises:
            NeedsExtra: Ray is not installed.
            WrongUse: no cluster at this address, or a model that cannot be asked in parts.
        """
        self._ray = _start(cluster)
        options = {"num_cpus": 1, "num_gpus": cluster.gpus_per_worker, "max_concurrency": IN_FLIGHT}
        with ExitStack() as undo:
            undo.callback(self._ray.shutdown)
            self._actor = self._ray.remote(**options)(Worker)
            self._recipe = recipe
            self._workers = [self._actor.remote(recipe) for _ in range(cluster.workers)]
            facts: Facts = self._get(self._workers[0].facts.remote())
            if facts.expecting:
                raise WrongUse(f"--engine ray: model {recipe.typed} must know all ids beforehand; leave out --engine")
            undo.pop_all()
        self.fingerprint, self.accepts, self.wording = facts.fingerprint, facts.accepts, facts.wording
        self.opens_media, self.provenance = facts.opens_media, facts.provenance

    def refuse(self, request: Request) -> None:
        """Have a worker's model look at a request.

        Raises:
            WrongUse: it cannot answer a request like that.
        """
        self._get(self._workers[0].refuse.remote(request))

    def prepare(self, request: Request) -> Prepared:
        """Not here: the workers prepare."""
        raise TypeError(f"{request.id}: workers are asked through ask()")

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        """Not here: the workers answer."""
        raise TypeError(f"{len(batch)} requests: workers are asked through ask()")

    def ask(self, requests: Sequence[Request], sink: Sink, settings: Settings, clock: Clock) -> None:
        """Ask every request once, as :func:`anymal_eval.engine.local.ask`; ``clock`` adds up all workers' seconds.

        Raises:
            IncompleteRun: more than ``max_errors`` failures.
            OtherRun: the workers have loaded different models.
        """
        units = deque(_units(ordered(requests), len(self._workers), settings))
        count = ErrorCount(settings.max_errors)
        apart = replace(settings, max_errors=None)
        pending: dict[Any, tuple[Any, _Unit]] = {}
        while units or pending:
            self._hand_out(units, pending, apart)
            for done in self._ray.wait(list(pending), num_returns=1)[0]:
                actor, unit = pending.pop(done)
                responses = self._responses(done, actor, unit, clock)
                if responses is None:
                    units.append(unit)
                    continue
                with clock.measure("writing"):
                    sink(responses)
                count.add(responses)

    def close(self) -> None:
        """End the workers, and the cluster if it was started here."""
        for worker in self._workers:
            self._ray.kill(worker)
        self._ray.shutdown()

    def _hand_out(self, units: deque[_Unit], pending: dict[Any, tuple[Any, _Unit]], settings: Settings) -> None:
        for _ in range(IN_FLIGHT):
            for worker in self._workers:
                if units and sum(actor is worker for actor, _ in pending.values()) < IN_FLIGHT:
                    unit = units.popleft()
                    pending[worker.answer.remote(unit.requests, settings)] = (worker, unit)

    def _responses(self, done: Any, actor: Any, unit: _Unit, clock: Clock) -> list[Response] | None:
        """A unit's responses; None where its worker died and it is to be handed out again."""
        from ray.exceptions import RayActorError

        try:
            fingerprint, responses, seconds = self._get(done)
        except RayActorError:
            unit.deaths += 1
            self._workers = [self._actor.remote(self._recipe) if one is actor else one for one in self._workers]
            if unit.deaths < MOST_DEATHS:
                return None
            why = Failure(kind="worker", message=f"{unit.deaths} workers died over it and its {len(unit.requests) - 1} "
                          "neighbours; is there memory enough?")  # fmt: skip
            return [Response(id=request.id, failure=why) for request in unit.requests]
        if fingerprint != self.fingerprint:
            raise OtherRun(f"the workers have different models: {self.fingerprint} and {fingerprint}")
        clock.merge(seconds)
        return list(responses)

    def _get(self, reference: Any) -> Any:
        """A result, or the error of ours that was raised over there."""
        from ray.exceptions import RayTaskError

        try:
            return self._ray.get(reference)
        except RayTaskError as error:
            if isinstance(error.cause, AnyMALEvalError):
                raise error.cause from None
            raise


def _start(cluster: Cluster) -> Any:
    try:
        import ray
    except ImportError:
        raise NeedsExtra("--engine ray needs Ray: pip install 'anymal_eval[ray]'") from None
    if cluster.address is not None:
        _knock(cluster.address)
    own: dict[str, Any] = {"num_cpus": max(cluster.workers, os.cpu_count() or 1), "object_store_memory": STORE_BYTES}
    try:
        ray.init(
            address=cluster.address or "local",
            include_dashboard=None if cluster.address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if cluster.address else own),
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise WrongUse(f"--address {cluster.address}: no Ray cluster can be used: {error}".splitlines()[0]) from None
    return ray


def _knock(address: str) -> None:
    """Ray itself tries an address where nothing listens for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=REACHED_S).close()
    except (OSError, ValueError) as error:
        raise WrongUse(f"--address {address}: no Ray cluster there: {error}") from None


def _units(requests: Sequence[Request], workers: int, settings: Settings) -> list[_Unit]:
    """What is handed out at once: requests on one medium stay together where they are not too many."""
    most = UNIT_BATCHES * (settings.batch_size or MOST_ROWS)
    size = max(1, min(most, -(-len(requests) // (workers * SHARES))))
    units: list[_Unit] = []
    for request in requests:
        own = units[-1].requests if units else []
        together = bool(own) and medium_of(request) == medium_of(own[-1]) != ()
        if own and len(own) < (most if together else size):
            own.append(request)
        else:
            units.append(_Unit(requests=[request]))
    return units
