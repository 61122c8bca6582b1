"""Signals by which a cluster warns that a job ends soon: nothing that can be saved is lost.

It imports no torch, so that a command handles signals from its first line.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from enum import Enum, auto
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
REPEATED_S = 5.0  # SLURM signals every process, and torchrun passes its signal on to them: both mean the same


class SignalCame(KeyboardInterrupt):
    """A signal came where the training can be saved as it is."""


class _Phase(Enum):
    PREPARING = auto()  # nothing to save: a signal interrupts
    STEPPING = auto()  # a step is waited for
    WAITING = auto()  # for input or an evaluation, which may take an hour: a signal interrupts, and the trainer saves
    SAVING = auto()  # further signals wait


class StopSignal:
    """Remembers the first signal. A second one of its kind, later than ``REPEATED_S``, ends the process at once.

    One of another kind does not: SLURM sends SIGTERM some time after SIGUSR1.

    Attributes:
        name: of the first signal; empty before.
    """

    def __init__(self) -> None:
        self.name = ""
        self._came = 0.0
        self._phase = _Phase.PREPARING
        self._before: dict[int, Any] = {}

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals; those that are ignored stay ignored. Other threads than the main one cannot."""
        if self._before or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.getsignal(each) for each in SIGNALS}
        self._before = {each: handler for each, handler in before.items() if handler not in (None, signal.SIG_IGN)}
        for each in self._before:
            signal.signal(each, self._handle)
        try:
            yield
        finally:
            for each, handler in self._before.items():
                signal.signal(each, handler)
            self._before = {}

    def stepping(self) -> contextlib.AbstractContextManager[None]:
        """In this context the end of a step is waited for."""
        return self._in(_Phase.STEPPING)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """In this context a signal raises :class:`SignalCame`, also one that came just before."""
        with self._in(_Phase.WAITING):
            if self.name:
                raise SignalCame
            yield

    def saving(self) -> contextlib.AbstractContextManager[None]:
        """In this context a state is written, which is waited for, however many signals come."""
        return self._in(_Phase.SAVING)

    @contextlib.contextmanager
    def _in(self, phase: _Phase) -> Iterator[None]:
        before, self._phase = self._phase, phase
        try:
            yield
        finally:
            self._phase = before

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        now, name = time.monotonic(), signal.Signals(number).name
        if self.name:
            is_second = name == self.name and now - self._came >= REPEATED_S
            if is_second and self._phase is not _Phase.SAVING:
                raise KeyboardInterrupt
            return
        self.name, self._came = name, now
        if self._phase is _Phase.PREPARING:
            raise KeyboardInterrupt
        if self._phase is _Phase.WAITING:
            raise SignalCame
