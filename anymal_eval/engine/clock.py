"""Wall-clock time of a run by activity, in seconds of the thread that runs the requests."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# In the order of the summary. ``waiting`` is for data; ``answering`` is model time that the model does not divide.
PARTS = ("waiting", "encoding", "prefilling", "decoding", "answering", "writing", "scoring")
LABELS = {"waiting": "waiting for data"}


class Clock:
    """Adds up seconds by activity."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def add(self, part: str, seconds: float) -> None:
        """Add seconds to an activity."""
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Time the body of a ``with`` statement, also where it fails."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(part, time.perf_counter() - start)

    @contextmanager
    def answering(self, timings: Mapping[str, float]) -> Iterator[None]:
        """Time a model's work: the growth of its own ``timings``, and the rest as ``answering``.

        What this clock measures meanwhile, such as a wait for requests that join, is no work of the model.
        """
        start, before, others = time.perf_counter(), dict(timings), sum(self.seconds.values())
        try:
            yield
        finally:
            rest = time.perf_counter() - start - (sum(self.seconds.values()) - others)
            for part, seconds in timings.items():
                self.add(part, seconds - before.get(part, 0.0))
                rest -= seconds - before.get(part, 0.0)
            self.add("answering", max(rest, 0.0))

    def merge(self, seconds: Mapping[str, float]) -> None:
        """Add another clock's seconds."""
        for part, more in seconds.items():
            self.add(part, more)


def summary(seconds: Mapping[str, float]) -> str:
    """The times as one line.

    >>> summary({"decoding": 3.21, "waiting": 0.5, "writing": 0.001})
    '0.5 s waiting for data, 3.2 s decoding'
    """
    known = [part for part in PARTS if part in seconds] + sorted(set(seconds) - set(PARTS))
    return ", ".join(f"{seconds[part]:.1f} s {LABELS.get(part, part)}" for part in known if seconds[part] >= 0.05)
