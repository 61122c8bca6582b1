"""Many processes, perhaps on many machines: Ray actors hold the model, the driver hands out requests and writes.

A worker loads the model from what the user typed; nothing of it is sent. Requests are handed out as workers come free,
those on one medium together. When a worker dies, another is started and what it had is handed out again: of that
nothing was written.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from anymal_eval.engine import Settings, Sink
from anymal_eval.engine.batching import GUESS_TOKENS, MOST_ROWS
from anymal_eval.engine.clock import Clock
from anymal_eval.engine.local import ErrorCount
from anymal_eval.engine.local import ask as ask_here
from anymal_eval.engine.ordering import medium_of, ordered
from anymal_eval.errors import AnyMALEvalError, NeedsExtra, OtherRun, WrongUse
from anymal_eval.models import Expecting, Model, Prepared
from anymal_eval.models._load import choose
from anymal_eval.protocols import Wording
from anymal_eval.records import Failure, MediaKind, Request, Response

IN_FLIGHT = 2  # units a worker has: it prepares one while it answers the other
UNIT_BATCHES = 4
SHARES = 8  # units a worker gets at least, so that all end at about the same time
MOST_DEATHS = 3  # workers that may die over a unit before its requests are given up
STORE_BYTES = 256 << 20  # requests and responses are small; Ray would take a third of the memory


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model as it was typed; see :func:`anymal_eval.models._load.choose`."""

    typed: str
    options: Mapping[str, str] = field(default_factory=dict)
    common: Mapping[str, str] = field(default_factory=dict)

    def load(self) -> Model:
        """Load it here."""
        return choose(self.typed, self.options, self.common).load()


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """How many workers, the GPUs of each, and the running cluster's address (None starts one on this machine)."""

    workers: int = 2
    gpus_per_worker: float = 0.0
    address: str | None = None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the driver must know of a model that it does not load."""

    fingerprint: str
    accepts: frozenset[MediaKind]
    wording: Wording
    opens_media: bool
    expecting: bool
    provenance: Mapping[str, Any]


@dataclass(kw_only=True)
class _Unit:
    requests: list[Request]
    deaths: int = 0


class Worker:
    """The actor. Two units are in it at once; the model answers in one thread of its own."""

    def __init__(self, recipe: Recipe) -> None:
        """Nothing is loaded yet, so that what goes wrong there is told as what it is."""
        self._recipe = recipe
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="answer")
        self._model: Model | None = None

    def facts(self) -> Facts:
        """Load the model, once, and describe it."""
        model = self._thread.submit(self._load).result()
        return Facts(
            fingerprint=model.fingerprint,
            accepts=model.accepts,
            wording=dict(model.wording),
            opens_media=getattr(model, "opens_media", True),
            expecting=isinstance(model, Expecting),
            provenance=dict(getattr(model, "provenance", {})),
        )

    def answer(self, requests: Sequence[Request], settings: Settings) -> tuple[str, list[Response], dict[str, float]]:
        """The model's fingerprint, the responses, and where the time went."""
        model = _InThread(self._thread.submit(self._load).result(), self._thread)
        responses: list[Response] = []
        clock = Clock()
        ask_here(requests, model, responses.extend, settings, clock)
        return model.fingerprint, responses, {**clock.seconds, "answering": model.rest}

    def refuse(self, request: Request) -> None:
        """Have the model look at a request, where it is one that refuses some."""
        refuse = getattr(self._thread.submit(self._load).result(), "refuse", None)
        if refuse is not None:
            refuse(request)

    def _load(self) -> Model:
        if self._model is None:
            self._model = self._recipe.load()
        return self._model


class _InThread:
    """A model that answers in its one thread, whichever asks."""

    def __init__(self, model: Model, thread: ThreadPoolExecutor) -> None:
        self._model, self._thread = model, thread
        self.fingerprint, self.accepts, self.wording = model.fingerprint, model.accepts, model.wording
        self.timings: dict[str, float] = {}
        self.rest = 0.0  # seconds of answering that the model does not divide, without waiting for the other unit
        self.token_budget: int = getattr(model, "token_budget", GUESS_TOKENS)
        self.batch_hint: int = getattr(model, "batch_hint", MOST_ROWS)

    def prepare(self, request: Request) -> Prepared:
        return self._model.prepare(request)

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        return self._thread.submit(self._timed, batch).result()

    def close(self) -> None:
        self._model.close()

    def _timed(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        # The model counts for all units together; this one's share is what it grows by now.
        of_all: Mapping[str, float] = getattr(self._model, "timings", {})
        start, before = time.perf_counter(), dict(of_all)
        try:
            return self._model.answer(batch)
        finally:
            self.rest += time.perf_counter() - start
            for part, seconds in of_all.items():
                more = seconds - before.get(part, 0.0)
                self.timings[part] = self.timings.get(part, 0.0) + more
                self.rest -= more


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
