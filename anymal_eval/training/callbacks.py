"""What happens between the steps: scores on the way, and lines of the log that a stop cut in two."""

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

from anymal_eval.anymal.model import AnyMAL

if TYPE_CHECKING:
    from anymal_eval.training.trainer import AnyMALTrainer

Evaluate = Callable[[AnyMAL, int], Mapping[str, float]]

_Callback: Any = transformers.TrainerCallback  # as Any: some of its methods have no types


class Averaging(_Callback):  # type: ignore[misc]
    """A line of the log is a mean over several steps: one that a stop cut in two goes on where it was."""

    def __init__(self, trainer: "AnyMALTrainer") -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After transformers has begun its sums anew."""
        del args, state, control, kwargs
        if self._trainer.begun is not None:
            self._trainer._tr_loss.fill_(self._trainer.begun[0])
            self._trainer._globalstep_last_logged = self._trainer.begun[1]


class Evaluating(_Callback):  # type: ignore[misc]
    """Asks the caller for scores every so many steps; training goes on as if it had not been asked."""

    def __init__(self, trainer: "AnyMALTrainer", evaluate: Evaluate) -> None:
        self._trainer, self._evaluate = trainer, evaluate

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log the scores."""
        del args, kwargs
        every, step = self._trainer.keeping.eval_every, state.global_step
        if not every or step % every:
            return
        if self._trainer.is_world_process_zero():
            learner = self._trainer.learner
            with _untouched_chance():
                learner.train(False)
                try:
                    scores = self._evaluate(learner.network, step)
                finally:
                    learner.train(True)
            due = control.should_log
            if scores:
                self._trainer.log({f"eval_{name}": value for name, value in scores.items()})
            control.should_log = due  # transformers takes the loss for logged with anything that is
        self._trainer.accelerator.wait_for_everyone()


@contextlib.contextmanager
def _untouched_chance() -> Iterator[None]:
    python, numbers = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)
