"""The engine in one process: threads prepare ahead, the calling thread answers, each batch is written at once."""

import itertools
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from anymal_eval.engine import EngineSettings, Sink
from anymal_eval.engine.batching import DEFAULT_TOKENS, MAX_ROWS, Batcher, BatchLimits
from anymal_eval.engine.clock import Clock
from anymal_eval.engine.faults import failure_of
from anymal_eval.engine.ordering import ordered
from anymal_eval.errors import IncompleteRun, OutOfMemory, RequestFailed, UnexpectedError
from anymal_eval.models import Model, Prepared
from anymal_eval.records import Failure, Request, Response

AHEAD_BATCHES = 4
FAILURES_AT_ONCE = 16  # failures of preparation that are written without waiting for a batch


def run_requests(
    requests: Sequence[Request], model: Model, sink: Sink, settings: EngineSettings, clock: Clock | None = None
) -> None:
    """Answer every request once and pass the responses to ``sink`` as they arrive, in any order.

    A request that cannot be prepared or answered becomes a failure, whatever a library raised on it. What is no matter
    of one request is raised; ``sink`` has the responses that came before it. A model that memory does not
    limit, such as a server, gives its batch size as ``batch_hint``; a batch size in ``settings`` takes precedence.

    Args:
        requests: the requests.
        model: the model that answers them.
        sink: called with each batch of responses.
        settings: batch size, threads, memory for preparation, allowed failures.
        clock: adds up where the time went, also when this ends early.

    Raises:
        IncompleteRun: more than ``max_errors`` failures, a broken device, or a model that answers nothing.
    """
    clock = clock or Clock()
    if settings.batch_size is None:
        settings = replace(settings, batch_size=getattr(model, "batch_hint", None))
    limits = BatchLimits(
        settings.batch_size, getattr(model, "token_budget", DEFAULT_TOKENS), getattr(model, "batch_hint", MAX_ROWS)
    )
    timings: Mapping[str, float] = getattr(model, "timings", {})
    count = ErrorCount(settings)
    for batch, failures in _batches(requests, model, settings, limits, clock):
        with clock.answering(timings):
            responses = [*failures, *answer(model, batch, limits)]
        with clock.measure("writing"):
            sink(responses)
        count.add(responses)


class ErrorCount:
    """Counts failures and stops a run that has too many."""

    def __init__(self, settings: EngineSettings) -> None:
        """``settings``: the failures allowed, and the unexpected ones before the first answer."""
        self._most, self._count = settings.max_errors, 0
        self._give_up_after, self._unexpected, self._answered = settings.give_up_after, 0, False

    def add(self, responses: Sequence[Response]) -> None:
        """Count the failures among responses that are written.

        Raises:
            IncompleteRun: there are more failures than allowed.
        """
        failures = [response.failure for response in responses if response.failure is not None]
        self._count += len(failures)
        self._answered |= len(failures) < len(responses)
        unexpected = [failure for failure in failures if failure.kind == UnexpectedError.kind]
        self._unexpected += len(unexpected)
        never = self._give_up_after is not None and self._unexpected >= self._give_up_after
        if unexpected and never and not self._answered:
            raise IncompleteRun(
                f"stopped: no request was answered, and {self._unexpected} ended in unexpected errors; the last one: "
                f"{unexpected[-1].message}"
            )
        if self._most is not None and failures and self._count > self._most:
            raise IncompleteRun(
                f"stopped: {self._count} errors are more than --max-errors allows; the last one: {failures[-1].message}"
            )


def answer(model: Model, batch: Sequence[Prepared], limits: BatchLimits) -> list[Response]:
    """Answer a batch, in halves where it does not fit into memory or an error has to be traced to its request.

    Raises:
        RuntimeError: the ids of the responses are not those of the requests.
    """
    if not batch:
        return []
    # The halves run outside ``except``: the error's traceback would keep the whole batch in memory.
    failure: Failure
    try:
        responses = list(model.answer(batch))
    except BaseException as error:  # noqa: BLE001  # what is no failure of a request is raised again
        failure = _failure(failure_of(error))
    else:
        limits.fitted(batch)
        ids, answered = [item.request.id for item in batch], [response.id for response in responses]
        if answered != ids:
            raise RuntimeError(f"the model answered {answered}, but the requests are {ids}")
        return responses
    if failure.kind == OutOfMemory.kind:
        limits.too_large(batch)
    if len(batch) == 1:
        return [Response(id=batch[0].request.id, failure=failure)]
    half = len(batch) // 2
    return [*answer(model, batch[:half], limits), *answer(model, batch[half:], limits)]


def failed(request: Request, error: RequestFailed) -> Response:
    """The failure of one request, as a response."""
    return Response(id=request.id, failure=_failure(error))


def _failure(error: RequestFailed) -> Failure:
    return Failure(kind=error.kind, message=str(error))


def _batches(
    requests: Sequence[Request], model: Model, settings: EngineSettings, limits: BatchLimits, clock: Clock
) -> Iterator[tuple[list[Prepared], list[Response]]]:
    batcher = Batcher(limits)
    failures: list[Response] = []
    at_once = min(FAILURES_AT_ONCE, settings.batch_size or FAILURES_AT_ONCE)
    for item in _prepared(ordered(requests), model, settings, AHEAD_BATCHES * limits.most, clock):
        batch: list[Prepared] = []
        if isinstance(item, Response):
            failures.append(item)
        else:
            batch = batcher.add(item)
        if batch or len(failures) >= at_once:
            yield batch, failures
            failures = []
    batch = batcher.rest()
    if batch or failures:
        yield batch, failures


def _prepared(
    requests: Sequence[Request], model: Model, settings: EngineSettings, ahead: int, clock: Clock
) -> Iterator[Prepared | Response]:
    """Prepare up to ``ahead`` requests in threads, in order, while less than ``ahead_bytes`` of them wait."""
    window = _Window(settings.ahead_bytes)
    waiting: deque[Future[Prepared | Response]] = deque()
    todo = enumerate(requests)
    pool = ThreadPoolExecutor(max_workers=settings.threads, thread_name_prefix="prepare")
    try:
        while True:
            for place, request in itertools.islice(todo, ahead - len(waiting)):
                waiting.append(pool.submit(_prepare, model, request, window, place))
            if not waiting:
                return
            with clock.measure("waiting"):
                item = waiting.popleft().result()
            window.taken(item)
            yield item
    finally:
        window.close()
        pool.shutdown(wait=True, cancel_futures=True)


class _Window:
    """Lets a thread prepare the next request only while the waiting prepared ones are small enough together."""

    def __init__(self, limit: int) -> None:
        self._limit, self._bytes, self._next, self._closed = limit, 0, 0, False
        self._changed = threading.Condition()

    def enter(self, place: int) -> None:
        # The request that is needed next may always pass: otherwise later ones could fill the window before it.
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._bytes < self._limit or place == self._next)

    def ready(self, item: Prepared | Response) -> None:
        with self._changed:
            self._bytes += _size(item)

    def taken(self, item: Prepared | Response) -> None:
        with self._changed:
            self._bytes -= _size(item)
            self._next += 1
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _size(item: Prepared | Response) -> int:
    return 0 if isinstance(item, Response) else item.nbytes


def _prepare(model: Model, request: Request, window: _Window, place: int) -> Prepared | Response:
    window.enter(place)
    try:
        item: Prepared | Response = model.prepare(request)
    except BaseException as error:  # noqa: BLE001  # what is no failure of a request is raised again
        item = failed(request, failure_of(error))
    window.ready(item)
    return item
