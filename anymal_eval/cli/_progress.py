"""How far a run is: a bar with rate and time left on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from anymal_eval.cli._printing import echo_line

PLAIN_EVERY_S = 10.0


class Progress(Protocol):
    """Takes how many more are done."""

    def __call__(self, done: int) -> None: ...


@contextmanager
def progress(label: str, total: int, done: int) -> Iterator[Progress]:
    """Show progress on standard error.

    Args:
        label: the task's name.
        total: how many there are.
        done: how many of them were answered before.
    """
    if sys.stderr.isatty():
        with _bar(label, total, done) as bar:
            yield bar
    else:
        yield _Lines(label, total, done)


class Terminal:
    """The console of the command line: messages and progress on standard error."""

    progress = staticmethod(progress)

    def message(self, text: str) -> None:
        """Print one line."""
        echo_line(text)


@contextmanager
def _bar(label: str, total: int, done: int) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TaskProgressColumn(show_speed=True),
        TextColumn("left"), Left(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as shown:
        row = shown.add_task(label, total=total, completed=done)
        yield lambda more: shown.advance(row, more)


class _Lines:
    def __init__(self, label: str, total: int, done: int) -> None:
        self._label, self._total, self._done, self._before = label, total, done, done
        self._start = self._said = time.monotonic()
        if done:
            self._say(f"{done} of {total} were answered before")

    def __call__(self, done: int) -> None:
        self._done += done
        now = time.monotonic()
        if now - self._said < PLAIN_EVERY_S and self._done < self._total:
            return
        self._said = now
        rate = (self._done - self._before) / max(now - self._start, 1e-9)
        left = (self._total - self._done) / max(rate, 1e-9)
        self._say(f"{self._done} of {self._total}, {rate:.1f} a second, {left:.0f} s left")

    def _say(self, text: str) -> None:
        echo_line(f"{self._label}: {text}")
