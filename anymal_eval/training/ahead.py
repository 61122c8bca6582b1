"""Items of an iterator that are made ahead, in a thread of its own."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
_LOOK_S = 0.1  # between two looks at whether it was closed
_CLOSE_S = 10.0


class Ahead(Generic[T]):
    """At most ``count`` items made ahead, in their order. Close it to end its thread.

    What the iterator raises is raised where its item was due, after all items before it.
    """

    def __init__(self, items: Iterator[T], count: int, wait: Callable[[Callable[[], bool]], None]) -> None:
        """``wait`` is called before each item with a function: it may wait as long as that is true."""
        self._items, self._wait = items, wait
        self._made: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(count)
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._is_closed.is_set():
            raise StopIteration
        item, error = self._made.get()
        if error is not None:
            self._is_closed.set()
            raise error
        return item  # type: ignore[return-value]  # None comes with an error

    def close(self) -> None:
        """End the thread after the item that it is making, and wait a while for it. Again: does nothing.

        A command or a server may keep it longer; a thread of this kind does not keep the process.
        """
        self._is_closed.set()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        try:
            while not self._is_closed.is_set():
                self._wait(lambda: not self._made.empty() and not self._is_closed.is_set())
                self._put(next(self._items), None)
        except BaseException as error:  # noqa: BLE001  # StopIteration among them: the other thread raises it
            self._put(None, error)

    def _put(self, item: T | None, error: BaseException | None) -> None:
        while not self._is_closed.is_set():
            try:
                self._made.put((item, error), timeout=_LOOK_S)
            except queue.Full:
                continue
            return
