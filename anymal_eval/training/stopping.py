"""Signals by which a cluster warns that a job ends soon: the training saves after its step and can be resumed."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch
import transformers

_Callback: Any = transformers.TrainerCallback
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
REPEATED_S = 5.0  # SLURM signals every process, and torchrun passes its signal on to them: both mean the same


class StopSignal:
    """Remembers the first signal; a second one, later than ``REPEATED_S``, ends the process at once.

    Attributes:
        name: of the signal that came while steps were running; empty before.
    """

    def __init__(self) -> None:
        self.name = ""
        self._came = 0.0
        self._stepping = False
        self._before: dict[int, Any] = {}

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals; those that are ignored stay ignored. Other threads than the main one cannot."""
        if threading.current_thread() is not threading.main_thread():
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

    @contextlib.contextmanager
    def stepping(self) -> Iterator[None]:
        """In this context a step is waited for; elsewhere there is nothing to save, and a signal interrupts."""
        self._stepping = True
        try:
            yield
        finally:
            self._stepping = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._stepping and not self.name:
            self.name, self._came = signal.Signals(number).name, now
            return
        if self._stepping and now - self._came < REPEATED_S:
            return
        before: Callable[[int, FrameType | None], Any] | Any = self._before[number]
        if callable(before):
            before(number, frame)
        raise KeyboardInterrupt


class SaveAndStop(_Callback):  # type: ignore[misc]
    """Saves after the step in which any process got a signal, and ends the training there."""

    def __init__(self, stop: StopSignal) -> None:
        self._stop = stop
        self.stopped = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before transformers saves."""
        del state, kwargs
        came = bool(self._stop.name)
        if args.world_size > 1:
            flag = torch.tensor(int(came), device=args.device)
            torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
            came = bool(flag.item())
        if came:
            self.stopped = control.should_save = control.should_training_stop = True
