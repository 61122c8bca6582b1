"""Values that several requests need: made once, and the one not used for longest dropped when they grow too large."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Generic, TypeVar

from anymal_eval.errors import RequestFailed

LEAST_BYTES = 1024  # what an entry counts at least, a failure too
# Requests about one medium come together, so that what is used again was used a moment ago: many more entries than
# wait in the engine's queue would only let memory grow with the data.
MOST_ENTRIES = 256

V = TypeVar("V")


class BoundedCache(Generic[V]):
    """A memo bounded in bytes and in entries, for any number of threads.

    Attributes:
        made: how many values were made, for tests of what is shared.
    """

    def __init__(self, limit_bytes: int, size: Callable[[V], int]) -> None:
        """``size``: bytes of a value."""
        self._limit, self._size = limit_bytes, size
        self._entries: OrderedDict[str, tuple[Future[V], int]] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()
        self.made = 0

    def get(self, key: str, make: Callable[[], V]) -> V:
        """The value, made by the first who asks; the others wait for it.

        Raises:
            RequestFailed: it cannot be made. Who asks later is told the same: a hanging decoder is waited for once.
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
            except CancelledError:  # its maker ran into a fault of ours; this thread will show it too
                return self.get(key, make)
            if isinstance(failure, RequestFailed):
                raise _bare(failure)
            return future.result()
        try:
            value = make()
            future.set_result(value)
        except RequestFailed as error:
            future.set_exception(_bare(error))
            raise
        finally:
            self._settle(key, future)
        return value

    def find(self, key: str) -> V | None:
        """The value, if it is there."""
        with self._lock:
            found = self._entries.get(key)
            if found is None or not found[0].done():
                return None
            self._entries.move_to_end(key)
        return found[0].result()

    def put(self, key: str, value: V) -> None:
        """Keep a value."""
        self.get(key, lambda: value)

    def clear(self) -> None:
        """Let go of everything that is made."""
        with self._lock:
            for key in [key for key, (future, _) in self._entries.items() if future.done()]:
                self._held -= self._entries.pop(key)[1]

    def _settle(self, key: str, future: Future[V]) -> None:
        with self._lock:
            if not future.done():
                del self._entries[key]
                future.cancel()
                return
            bytes_ = max(LEAST_BYTES, 0 if future.exception() else self._size(future.result()))
            self._entries[key] = (future, bytes_)
            self._held += bytes_
            for old in [old for old, (one, _) in self._entries.items() if one.done() and old != key]:
                if self._held <= self._limit and len(self._entries) <= MOST_ENTRIES:
                    break
                self._held -= self._entries.pop(old)[1]


def _bare(error: RequestFailed) -> RequestFailed:
    """The same error without its traceback, whose frames would keep the whole broken file in memory."""
    return type(error)(*error.args)
