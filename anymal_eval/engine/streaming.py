"""Runs requests through a model that answers many at once: each answer is passed on when it comes, in any order."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import closing
from queue import SimpleQueue

from anymal_eval.engine import EngineSettings, Sink
from anymal_eval.engine.clock import Clock
from anymal_eval.engine.failures import ErrorCount
from anymal_eval.engine.faults import failure_of
from anymal_eval.engine.ordering import ordered
from anymal_eval.engine.preparing import prepared
from anymal_eval.models import Prepared, Streaming, failed_response
from anymal_eval.records import Request, Response

AHEAD = 2  # prepared requests that wait, for each one in flight
WRITTEN_AT_ONCE = 64  # answers that came while others were written

Event = Response | Future[Response] | BaseException


def stream_requests(
    requests: Sequence[Request], model: Streaming, sink: Sink, settings: EngineSettings, clock: Clock
) -> None:
    """Answer every request once; see :func:`anymal_eval.engine.local.run_requests`.

    After an error or an interrupt the requests in flight are cancelled, and the answers that had come are passed on.

    Raises:
        IncompleteRun: more than ``max_errors`` failures, a broken device, or a model that answers nothing.
        RuntimeError: the id of a response is not that of its request.
    """
    count = ErrorCount(settings)
    stream = _Stream(requests, model, settings)
    try:
        for responses in stream.responses(clock):
            with clock.measure("writing"):
                sink(responses)
            count.add(responses)
    finally:
        last = stream.close()
        if last:
            sink(last)


class _Stream:
    """One thread submits requests while fewer than ``in_flight`` are unanswered; the caller's takes the answers."""

    def __init__(self, requests: Sequence[Request], model: Streaming, settings: EngineSettings) -> None:
        self._requests, self._model, self._settings = ordered(requests), model, settings
        self._most = min(model.in_flight, settings.batch_size or model.in_flight)
        self._slots = threading.Semaphore(self._most)
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._pending: dict[Future[Response], Request] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._submit_all, name="submit", daemon=True)
        self._thread.start()

    def responses(self, clock: Clock) -> Iterator[list[Response]]:
        """What has come since the last call, until every request has its response."""
        left = len(self._requests)
        while left:
            with clock.measure("answering"):
                events = [self._events.get()]
            while len(events) < WRITTEN_AT_ONCE and not self._events.empty():
                events.append(self._events.get())
            found, error = self._read(events)
            left -= len(found)
            if found:
                yield found
            if error is not None:
                raise error

    def close(self) -> list[Response]:
        """Cancel what is in flight, end the thread, and return the responses that were not taken."""
        with self._lock:
            self._closed = True
            pending = list(self._pending)
        self._slots.release()
        for future in pending:
            future.cancel()
        self._thread.join()
        events = []
        while not self._events.empty():
            events.append(self._events.get())
        return self._read(events)[0]

    def _read(self, events: Sequence[Event]) -> tuple[list[Response], BaseException | None]:
        found: list[Response] = []
        error: BaseException | None = None
        for event in events:
            if isinstance(event, Response):
                found.append(event)
            elif isinstance(event, BaseException):
                error = error or event
            elif self._closed and (event.cancelled() or event.exception() is not None):
                del self._pending[event]  # perhaps because it was cancelled
            else:
                try:
                    found.append(self._response(event))
                except BaseException as raised:  # noqa: BLE001  # raised again when the other answers are passed on
                    error = error or raised
        return found, error

    def _response(self, future: Future[Response]) -> Response:
        """The response of a request, or its failure; what is no matter of one request is raised."""
        request = self._pending.pop(future)
        error = CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            return failed_response(request, failure_of(error))
        if future.result().id != request.id:
            raise RuntimeError(f"the model answered another request than {request.id}")
        return future.result()

    def _submit_all(self) -> None:
        try:
            # The time in this thread overlaps with that of the answers: the clock of the run has no place for it.
            ahead = prepared(self._requests, self._model, self._settings, AHEAD * self._most, Clock())
            with closing(ahead):
                for item in ahead:
                    if isinstance(item, Response):
                        self._events.put(item)
                        continue
                    self._slots.acquire()
                    with self._lock:
                        if self._closed:
                            return
                        future = self._submit(item)
                        self._pending[future] = item.request
                    future.add_done_callback(self._finished)
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits for the answers
            self._events.put(error)

    def _submit(self, item: Prepared) -> Future[Response]:
        try:
            return self._model.submit(item)
        except BaseException as error:  # noqa: BLE001  # read as any other error of this request
            failed: Future[Response] = Future()
            failed.set_exception(error)
            return failed

    def _finished(self, future: Future[Response]) -> None:
        self._slots.release()
        self._events.put(future)
