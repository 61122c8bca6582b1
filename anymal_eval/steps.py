"""Where the time before a run's first answer goes: named steps that nest, each without the steps inside it.

Any part may mark a step; it is measured where a command records, and costs nothing elsewhere.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path

# In the order of the summary; each is stated as "SECONDS s LABEL".
LABELS = {
    "interpreter": "starting Python",
    "imports": "imports",
    "data": "data",
    "processor": "processor",
    "weights": "weights",
    "warm-up": "warm-up",
    "self-test": "self-test",
    "compiling": "compiling",
    "prompts": "prompts",
    "first batch": "first batch",
}


class Steps:
    """The steps of one command.

    Attributes:
        seconds: by step, without the steps inside it.
        total: from the start to the first answer; None before it.
    """

    def __init__(self, started_before: float = 0.0) -> None:
        """``started_before``: seconds that had passed since the process started."""
        self._start = time.perf_counter() - started_before
        self._inside = [0.0]  # seconds of steps inside each open one
        self.seconds: dict[str, float] = {"interpreter": started_before} if started_before else {}
        self.total: float | None = None

    def first_answer(self, since: float) -> None:
        """Note that the first answer is there; later calls change nothing.

        Args:
            since: when its batch was begun, by ``time.perf_counter``.
        """
        if self.total is None:
            now = time.perf_counter()
            self.total, self.seconds["first batch"] = now - self._start, now - since

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure the body of a ``with`` statement, also where it fails."""
        start = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            whole = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + whole - self._inside.pop()
            self._inside[-1] += whole

    @property
    def summary(self) -> str:
        """The steps up to the first answer as one line; empty before it."""
        if self.total is None:
            return ""
        parts = [f"{self.seconds[name]:.1f} s {label}" for name, label in LABELS.items()
                 if self.seconds.get(name, 0.0) >= 0.05]  # fmt: skip
        return f"first answer after {self.total:.1f} s{': ' if parts else ''}{', '.join(parts)}"


_recording: ContextVar[tuple[Steps, Callable[[str], AbstractContextManager[object]]] | None] = ContextVar(
    "steps", default=None
)


@contextmanager
def recorded(steps: Steps, show: Callable[[str], AbstractContextManager[object]] = nullcontext) -> Iterator[None]:
    """Record the steps of this thread inside a ``with``.

    Args:
        steps: takes their seconds.
        show: shows the label of a step while it lasts.
    """
    token = _recording.set((steps, show))
    try:
        yield
    finally:
        _recording.reset(token)


@contextmanager
def step(name: str, label: str = "") -> Iterator[None]:
    """Mark a step.

    Args:
        name: one of ``LABELS``.
        label: what is shown while it lasts; empty shows nothing.
    """
    recording = _recording.get()
    if recording is None:
        yield
        return
    steps, show = recording
    with steps.step(name), show(label) if label else nullcontext():
        yield


def process_seconds() -> float:
    """Seconds since this process started; 0.0 where the system does not tell."""
    try:
        # The 22nd field; the second one is a name in brackets, which may hold spaces.
        ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0
