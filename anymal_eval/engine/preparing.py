"""Prepares requests ahead of the model: threads decode media while earlier requests are answered."""

import itertools
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from anymal_eval.engine import EngineSettings
from anymal_eval.engine.clock import Clock
from anymal_eval.engine.faults import failure_of
from anymal_eval.models import Model, Prepared, failed_response
from anymal_eval.records import Request, Response


def prepared(
    requests: Sequence[Request], model: Model, settings: EngineSettings, ahead: int, clock: Clock
) -> Generator[Prepared | Response, None, None]:
    """Prepare up to ``ahead`` requests in threads, in order, while less than ``ahead_bytes`` of them wait.

    Args:
        requests: in the order in which they are answered.
        model: whose ``prepare`` is called.
        settings: threads, and the most bytes that may wait.
        ahead: the most requests that may wait.
        clock: adds up the time spent waiting for data.

    Yields:
        Each request, prepared; its failure where it cannot be.
    """
    if getattr(model, "prepares_nothing", False):
        with clock.measure("waiting"):
            pass  # for nothing; the part is named all the same
        yield from (_prepared(model, request) for request in requests)
        return
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
    item = _prepared(model, request)
    window.ready(item)
    return item


def _prepared(model: Model, request: Request) -> Prepared | Response:
    try:
        return model.prepare(request)
    except BaseException as error:  # noqa: BLE001  # what is no failure of a request is raised again
        return failed_response(request, failure_of(error))
