"""The Ray actor of a run: it loads a model from its command-line form and runs requests with the local engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Lock
from typing import Any, TypeVar

from anymal_eval.engine import EngineSettings
from anymal_eval.engine.batching import DEFAULT_TOKENS, MAX_ROWS
from anymal_eval.engine.clock import Clock
from anymal_eval.engine.local import run_requests
from anymal_eval.generation import MemoryForecast
from anymal_eval.models import Expecting, Model, Prepared, Refilling, Streaming, choose_model
from anymal_eval.protocols import Wording
from anymal_eval.records import MediaKind, Request, Response

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """A model in its command-line form; see :func:`anymal_eval.models.choose_model`."""

    typed: str
    options: Mapping[str, str] = field(default_factory=dict)
    common: Mapping[str, str] = field(default_factory=dict)

    def load(self) -> Model:
        """Load the model in this process."""
        return choose_model(self.typed, self.options, self.common).load()


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What the driver needs of a model that it does not load itself."""

    fingerprint: str
    accepts: frozenset[MediaKind]
    wording: Wording
    expecting: bool
    provenance: Mapping[str, Any]
    skills: frozenset[str]


class ModelWorker:
    """The actor. It prepares one unit while it answers another.

    A model answers in one thread of its own, except where it answers many requests at once.
    """

    def __init__(self, recipe: ModelRecipe) -> None:
        """Load nothing yet: Ray would report an error in a constructor as a dead actor."""
        self._recipe = recipe
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="answer")
        self._turn = Lock()
        self._model: Model | None = None

    def facts(self) -> ModelFacts:
        """Load the model, once, and describe it."""
        model = self._thread.submit(self._load).result()
        return ModelFacts(
            fingerprint=model.fingerprint,
            accepts=model.accepts,
            wording=dict(model.wording),
            expecting=isinstance(model, Expecting),
            provenance=dict(getattr(model, "provenance", {})),
            skills=frozenset(getattr(model, "skills", ())),
        )

    def answer(
        self, requests: Sequence[Request], settings: EngineSettings
    ) -> Iterator[tuple[str, list[Response], dict[str, float]]]:
        """Answer a unit.

        Yields:
            The model's fingerprint, the responses of a batch as soon as it is answered, and at the end of the unit its
            seconds by activity.
        """
        loaded = self._thread.submit(self._load).result()
        model = loaded if isinstance(loaded, Streaming) else _SingleThreadModel(loaded, self._thread, self._turn)
        batches: SimpleQueue[Sequence[Response] | None] = SimpleQueue()
        clock = Clock()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="unit") as pool:
            running = pool.submit(run_requests, requests, model, batches.put, settings, clock)
            running.add_done_callback(lambda _: batches.put(None))
            while (responses := batches.get()) is not None:
                yield model.fingerprint, list(responses), {}
            running.result()
        answering = {"answering": model.undivided} if isinstance(model, _SingleThreadModel) else {}
        yield model.fingerprint, [], {**clock.seconds, **answering}

    def refuse(self, request: Request) -> None:
        """Let the model refuse a request, where its wrapper can."""
        refuse = getattr(self._thread.submit(self._load).result(), "refuse", None)
        if refuse is not None:
            refuse(request)

    def _load(self) -> Model:
        if self._model is None:
            self._model = self._recipe.load()
        return self._model


class _SingleThreadModel:
    """A model that answers in one thread, whichever thread calls it."""

    def __init__(self, model: Model, thread: ThreadPoolExecutor, turn: Lock) -> None:
        """``turn`` is held while rows are open: those of two units would not fit into memory."""
        self._model, self._thread = model, thread
        self.fingerprint, self.accepts, self.wording = model.fingerprint, model.accepts, model.wording
        self.timings: dict[str, float] = {}
        self.undivided = 0.0  # seconds of answering that the model does not divide; without the wait for the other unit
        self.token_budget: int = getattr(model, "token_budget", DEFAULT_TOKENS)
        self.batch_hint: int = getattr(model, "batch_hint", MAX_ROWS)
        self.memory_forecast: MemoryForecast | None = getattr(model, "memory_forecast", None)
        self._turn = turn

    def prepare(self, request: Request) -> Prepared:
        return self._model.prepare(request)

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        with self._turn:
            return self._thread.submit(self._timed, self._model.answer, batch).result()

    def answer_each(
        self, batch: Sequence[Prepared], more: Callable[[], Sequence[Prepared]]
    ) -> Generator[Sequence[Response], None, None]:
        if not isinstance(self._model, Refilling):
            yield self.answer(batch)
            return

        def joining() -> Sequence[Prepared]:
            start = time.perf_counter()
            try:
                return more()
            finally:
                self.undivided -= time.perf_counter() - start

        with self._turn, closing(self._model.answer_each(batch, joining)) as answers:
            while (responses := self._thread.submit(self._timed, next, answers, None).result()) is not None:
                yield responses

    def close(self) -> None:
        self._model.close()

    def _timed(self, call: Callable[..., R], *given: Any) -> R:
        # The model's timings cover all units; the growth during this call is this unit's share.
        of_all: Mapping[str, float] = getattr(self._model, "timings", {})
        start, before = time.perf_counter(), dict(of_all)
        try:
            return call(*given)
        finally:
            self.undivided += time.perf_counter() - start
            for part, seconds in of_all.items():
                more = seconds - before.get(part, 0.0)
                self.timings[part] = self.timings.get(part, 0.0) + more
                self.undivided -= more
