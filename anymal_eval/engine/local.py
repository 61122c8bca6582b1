"""One process: threads prepare ahead, the calling thread answers, every batch is written before the next."""

import itertools
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from anymal_eval.engine import Settings, Sink
from anymal_eval.errors import IncompleteRun, OutOfMemory, RequestFailed
from anymal_eval.models import Model, Prepared
from anymal_eval.records import Failure, Request, Response

AHEAD_BATCHES = 4


def ask(requests: Sequence[Request], model: Model, sink: Sink, settings: Settings) -> None:
    """Ask every request once and give the responses to ``sink`` as they come.

    Requests that cannot be prepared or answered become failures. An error that is none of the requests' own
    (a fault of ours or of the model) is raised; what ``sink`` has taken is kept.

    Raises:
        IncompleteRun: more than ``max_errors`` failures.
    """
    failures = 0
    for batch, failed in _batches(requests, model, settings):
        responses = [*failed, *answer(model, batch)]
        sink(responses)
        failures += sum(response.failure is not None for response in responses)
        if settings.max_errors is not None and failures > settings.max_errors:
            last = next(item.failure for item in reversed(responses) if item.failure is not None)
            raise IncompleteRun(
                f"stopped: {failures} errors are more than --max-errors allows; the last one: {last.message}"
            )


def answer(model: Model, batch: Sequence[Prepared]) -> list[Response]:
    """Answer a batch, in halves where it does not fit into memory.

    Raises:
        RuntimeError: the model gave responses to other requests than it was asked.
    """
    if not batch:
        return []
    try:
        responses = list(model.answer(batch))
    except OutOfMemory as error:
        if len(batch) == 1:
            return [failed(batch[0].request, error)]
        half = len(batch) // 2
        return [*answer(model, batch[:half]), *answer(model, batch[half:])]
    asked = [item.request.id for item in batch]
    if [response.id for response in responses] != asked:
        raise RuntimeError(f"the model answered {[response.id for response in responses]} when asked {asked}")
    return responses


def failed(request: Request, error: RequestFailed) -> Response:
    """The failure of one request, as a response."""
    return Response(id=request.id, failure=Failure(kind=error.kind, message=str(error)))


def _batches(
    requests: Sequence[Request], model: Model, settings: Settings
) -> Iterator[tuple[list[Prepared], list[Response]]]:
    batch: list[Prepared] = []
    failures: list[Response] = []
    for item in _prepared(requests, model, settings):
        if isinstance(item, Response):
            failures.append(item)
        else:
            batch.append(item)
        if len(batch) + len(failures) >= settings.batch_size:
            yield batch, failures
            batch, failures = [], []
    if batch or failures:
        yield batch, failures


def _prepared(requests: Sequence[Request], model: Model, settings: Settings) -> Iterator[Prepared | Response]:
    """Prepare ahead in threads, in order, while less than ``ahead_bytes`` wait."""
    window = _Window(settings.ahead_bytes)
    waiting: deque[Future[Prepared | Response]] = deque()
    todo = enumerate(requests)
    pool = ThreadPoolExecutor(max_workers=settings.threads, thread_name_prefix="prepare")
    try:
        while True:
            for place, request in itertools.islice(todo, AHEAD_BATCHES * settings.batch_size - len(waiting)):
                waiting.append(pool.submit(_prepare, model, request, window, place))
            if not waiting:
                return
            item = waiting.popleft().result()
            window.taken(item)
            yield item
    finally:
        window.close()
        pool.shutdown(wait=True, cancel_futures=True)


class _Window:
    """Lets a thread prepare the next request only while the prepared ones that wait are small enough together."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held, self._next, self._closed = limit, 0, 0, False
        self._changed = threading.Condition()

    def enter(self, place: int) -> None:
        # The request that is needed next may always pass: otherwise later ones could fill the window before it.
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._held < self._limit or place == self._next)

    def ready(self, item: Prepared | Response) -> None:
        with self._changed:
            self._held += _size(item)

    def taken(self, item: Prepared | Response) -> None:
        with self._changed:
            self._held -= _size(item)
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
    except RequestFailed as error:
        item = failed(request, error)
    window.ready(item)
    return item
