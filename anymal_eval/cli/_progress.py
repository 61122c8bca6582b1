"""What a run does, and how far it is: live lines on a terminal, a plain line now and then elsewhere."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from anymal_eval.cli._library_output import LibraryOutput
from anymal_eval.cli._printing import console, echo_line, fitted
from anymal_eval.cli._streams import messages
from anymal_eval.evaluation.console import shown_warnings
from anymal_eval.visible import visible_line

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

PLAIN_EVERY_S = 10.0
LOGGED_S = 0.1
SHOWN_S = 0.5  # a phase that took less leaves no line on a terminal


class Progress(Protocol):
    """Takes how many more are done."""

    def __call__(self, done: int) -> None: ...


class Terminal:
    """The console of the command line: messages, phases and progress on standard error, and in the log of the run."""

    def __init__(self) -> None:
        self._output = LibraryOutput()
        self._live: Bars | None = None
        self._waiting: list[str] | None = []  # lines of phases before there is a run; None from then on

    @contextmanager
    def opened(self) -> Iterator["Terminal"]:
        """Keep what libraries print inside a ``with``, for the log of the run; warnings of ours are messages."""
        with self._output.kept(), shown_warnings(self._warn):
            yield self

    def message(self, text: str) -> None:
        """Print one line."""
        self._output.note(visible_line(text))
        if self._live is None:
            echo_line(text)
            return
        from rich.text import Text

        self._live.console.print(Text(fitted(visible_line(text), messages())), soft_wrap=True)

    def _warn(self, text: str) -> bool:
        if self._waiting is None:
            self.message(text)
        return self._waiting is None  # before there is a run, an error is one line: warnings stay with the libraries'

    def keep_log(self, folder: Path) -> None:
        """Keep messages, and what libraries print, in the log of this folder."""
        self._output.keep(folder)
        waiting, self._waiting = self._waiting, None
        for line in waiting or ():
            echo_line(line)

    @contextmanager
    def phase(self, label: str) -> Iterator[None]:
        """Show what is done inside a ``with``, and for how long."""
        start = time.monotonic()
        if self._live is not None:
            with self._relabelled(label):
                yield
        elif is_animated():
            with self._shown(label):
                yield
        else:
            yield
        seconds = time.monotonic() - start
        line = f"{label}: {seconds:.1f} s"
        if seconds >= LOGGED_S:
            self._output.note(line)
        if is_animated():
            if seconds >= SHOWN_S:
                above = console(err=True) if self._live is None else self._live.console
                above.print(fitted(visible_line(line), messages()), style="dim", soft_wrap=True, highlight=False)
        elif seconds >= PLAIN_EVERY_S:
            # An error before the first answer is one line: what came before it waits.
            echo_line(line) if self._waiting is None else self._waiting.append(line)

    @contextmanager
    def progress(self, label: str, total: int, done: int) -> Iterator[Progress]:
        """Show progress inside a ``with``.

        Args:
            label: the task's name.
            total: how many there are.
            done: how many of them were answered before.
        """
        if not is_animated() or self._live is not None:
            yield _Lines(label, total, done)
            return
        with self._bars(_columns()) as bars:
            row = bars.add_task(visible_line(label), total=total, completed=done)
            yield lambda more: bars.advance(row, more)

    @contextmanager
    def _bars(self, columns: "tuple[object, ...]", *, transient: bool = False) -> "Iterator[Bars]":
        from rich.progress import Progress as Bars

        with Bars(*columns, console=console(err=True), transient=transient) as self._live:  # type: ignore[arg-type]
            try:
                yield self._live
            finally:
                self._live = None

    @contextmanager
    def _shown(self, label: str) -> Iterator[None]:
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        with self._bars(columns, transient=True) as bars:
            bars.add_task(visible_line(label), total=None)
            yield

    @contextmanager
    def _relabelled(self, label: str) -> Iterator[None]:
        assert self._live is not None  # noqa: S101
        bars, row = self._live, self._live.tasks[-1]
        before = row.description
        bars.update(row.id, description=visible_line(label))
        try:
            yield
        finally:
            bars.update(row.id, description=before)


@contextmanager
def progress(label: str, total: int, done: int) -> Iterator[Progress]:
    """Show progress on standard error; the arguments are those of :meth:`Terminal.progress`."""
    with Terminal().progress(label, total, done) as advance:
        yield advance


def is_animated() -> bool:
    """Whether messages are shown on a terminal that can draw over a line."""
    return messages().isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def _columns() -> tuple[object, ...]:
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
    from rich.progress import TimeRemainingColumn as Left
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            rate = task.finished_speed or task.speed
            return Text("" if rate is None else f"{rate:.1f} a second")

    return (
        TextColumn("{task.description}", markup=False), BarColumn(20), MofNCompleteColumn(), Rate(),
        TextColumn("left"), Left(),
    )  # fmt: skip


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
