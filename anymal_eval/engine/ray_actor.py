"""What a Ray worker is: an actor that loads a model from what the user typed, and asks it as the local engine does."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from anymal_eval.engine import EngineSettings
from anymal_eval.engine.batching import GUESS_TOKENS, MOST_ROWS
from anymal_eval.engine.clock import Clock
from anymal_eval.engine.local import run_requests
from anymal_eval.models import Expecting, Model, Prepared, choose_model
from anymal_eval.protocols import Wording
from anymal_eval.records import MediaKind, Request, Response


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model as it was typed; see :func:`anymal_eval.models.choose_model`."""

    typed: str
    options: Mapping[str, str] = field(default_factory=dict)
    common: Mapping[str, str] = field(default_factory=dict)

    def load(self) -> Model:
        """Load it here."""
        return choose_model(self.typed, self.options, self.common).load()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the driver must know of a model that it does not load."""

    fingerprint: str
    accepts: frozenset[MediaKind]
    wording: Wording
    expecting: bool
    provenance: Mapping[str, Any]


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
            expecting=isinstance(model, Expecting),
            provenance=dict(getattr(model, "provenance", {})),
        )

    def answer(
        self, requests: Sequence[Request], settings: EngineSettings
    ) -> tuple[str, list[Response], dict[str, float]]:
        """The model's fingerprint, the responses, and where the time went."""
        model = _InThread(self._thread.submit(self._load).result(), self._thread)
        responses: list[Response] = []
        clock = Clock()
        run_requests(requests, model, responses.extend, settings, clock)
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
