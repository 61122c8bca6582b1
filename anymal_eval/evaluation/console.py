"""Messages and progress of an evaluation. A console is passed in, so nothing in this part prints."""

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
