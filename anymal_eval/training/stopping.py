"""Ends a training after the step in which a process got a signal, with its state saved."""

from typing import Any

import torch
import transformers

from anymal_eval.training.stop_signal import StopSignal

_Callback: Any = transformers.TrainerCallback


class SaveAndStop(_Callback):  # type: ignore[misc]
    """Saves after the step in which any process got a signal, and ends the training there.

    Attributes:
        stopped: whether it does.
    """

    def __init__(self, stop: StopSignal) -> None:
        self._stop = stop
        self.stopped = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before transformers saves."""
        del state, kwargs
        if self.came(args):
            self.stopped = control.should_save = control.should_training_stop = True

    def came(self, args: Any) -> bool:
        """Whether any process got a signal; all processes wait for each other here."""
        came = bool(self._stop.name)
        if args.world_size > 1:
            flag = torch.tensor(int(came), device=args.device)
            torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
            came = bool(flag.item())
        return came
