"""Messages and progress of an evaluation. A console is passed in, so nothing in this part prints."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

Advance = Callable[[int], None]


class Console(Protocol):
    """Shows what an evaluation does."""

    def message(self, text: str) -> None:
        """Show one line that is not a result."""
        ...

    def phase(self, label: str) -> AbstractContextManager[None]:
        """Show what is done inside a ``with``, and for how long."""
        ...

    def keep_log(self, folder: Path) -> None:
        """Keep messages, and what libraries print, in a log in this folder, which holds a run or a training."""
        ...

    def progress(self, label: str, total: int, done: int) -> AbstractContextManager[Advance]:
        """Show progress inside a ``with``; what it gives takes how many more are done.

        Args:
            label: the task's name.
            total: how many there are.
            done: how many of them were done before.
        """
        ...


class SilentConsole:
    """Shows nothing."""

    def message(self, text: str) -> None:
        """Drop it."""
        del text

    @contextmanager
    def phase(self, label: str) -> Iterator[None]:
        """Show nothing."""
        del label
        yield

    def keep_log(self, folder: Path) -> None:
        """Keep none."""
        del folder

    @contextmanager
    def progress(self, label: str, total: int, done: int) -> Iterator[Advance]:
        """Count nothing."""
        del label, total, done
        yield lambda more: None


@contextmanager
def shown_warnings(show: Callable[[str], bool]) -> Iterator[None]:
    """Show the first warning of each kind that this package logs in a ``with``, and at its end how many came.

    Args:
        show: shows a line; False where it cannot yet. Those that are not shown are written to standard error, as all
            are without this.
    """
    handler, package = _WarningHandler(show), logging.getLogger(__name__.partition(".")[0])
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        for first, count in handler.shown.values():
            if count > 1:
                show(f"{count:,} such warnings, all in the log; the first: {first}")


class _WarningHandler(logging.Handler):
    def __init__(self, show: Callable[[str], bool]) -> None:
        super().__init__(logging.WARNING)
        self._show = show
        self.shown: dict[str, tuple[str, int]] = {}  # of each kind the first, and how many came

    def emit(self, record: logging.LogRecord) -> None:
        kind, text = str(record.msg), record.getMessage()
        if kind in self.shown:
            self.shown[kind] = self.shown[kind][0], self.shown[kind][1] + 1
        elif self._show(text):
            self.shown[kind] = text, 1
            return
        if logging.lastResort is not None:
            logging.lastResort.handle(record)
