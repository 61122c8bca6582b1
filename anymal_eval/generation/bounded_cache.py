"""A thread-safe cache of values that several requests need, least recently used first out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Generic, TypeVar

from anymal_eval.errors import RequestFailed

LEAST_BYTES = 1024  # the least that an entry counts for, a failure included
# Requests about one medium come together, so that a value is used again soon or never: more entries than the engine's
# queue holds would only make memory grow with the data.
MOST_ENTRIES = 256

V = TypeVar("V")


class BoundedCache(Generic[V]):
    """A cache bounded in bytes and in entries, for any number of threads.

    Attributes:
        made: how many values were computed, for tests.
    """

    def __init__(self, limit_bytes: int, size: Callable[[V], int]) -> None:
        """``size`` gives the bytes of a value."""
        self._limit, self._size = limit_bytes, size
        self._entries: OrderedDict[str, tuple[Future[V], int]] = OrderedDict()
        self._nbytes = 0
        self._lock = threading.Lock()
        self.made = 0

    def get(self, key: str, make: Callable[[], V]) -> V:
        """The value of a key. The first thread computes it with ``make``; the others wait for it.

        Raises:
            RequestFailed: ``make`` raised it. Later callers get it too: a decoder that hangs is waited for once.
        """
        with self._lock:
            found = self._entries.get(key)
            future: Future[V] = Future() if found is None else found[0]
            if found is None:
                self._entries[key] = (future, 0)
                self.made += 1
            self._entries.move_to_end(key)
        if found is not None:
            try:
                failure = future.exception()
            except CancelledError:  # ``make`` failed by a bug in the other thread: try here, and show it here too
                return self.get(key, make)
            if isinstance(failure, RequestFailed):
                raise _without_traceback(failure)
            return future.result()
        try:
            value = make()
            future.set_result(value)
        except RequestFailed as error:
            future.set_exception(_without_traceback(error))
            raise
        finally:
            self._settle(key, future)
        return value

    def find(self, key: str) -> V | None:
        """The value of a key; None if it is not there."""
        with self._lock:
            found = self._entries.get(key)
            if found is None or not found[0].done():
                return None
            self._entries.move_to_end(key)
        return found[0].result()

    def put(self, key: str, value: V) -> None:
        """Store a value."""
        self.get(key, lambda: value)

    def clear(self) -> None:
        """Drop all values."""
        with self._lock:
            for key in [key for key, (future, _) in self._entries.items() if future.done()]:
                self._nbytes -= self._entries.pop(key)[1]

    def _settle(self, key: str, future: Future[V]) -> None:
        with self._lock:
            if not future.done():
                del self._entries[key]
                future.cancel()
                return
            bytes_ = max(LEAST_BYTES, 0 if future.exception() else self._size(future.result()))
            self._entries[key] = (future, bytes_)
            self._nbytes += bytes_
            for old in [old for old, (one, _) in self._entries.items() if one.done() and old != key]:
                if self._nbytes <= self._limit and len(self._entries) <= MOST_ENTRIES:
                    break
                self._nbytes -= self._entries.pop(old)[1]


def _without_traceback(error: RequestFailed) -> RequestFailed:
    """A copy of the error: the frames of its traceback would keep the whole broken file in memory."""
    return type(error)(*error.args)
