"""Hugging Face's ``Trainer`` over the AnyMAL network: our batches and loss, and states of the trained weights alone."""

import contextlib
import itertools
import json
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from accelerate.utils import gather_object
from torch import Tensor, nn

from anymal_eval.errors import AnyMALEvalError, BadLogits, listed
from anymal_eval.evaluation.during_training import HeadlineEvaluator
from anymal_eval.training import missing_input, state_digests, states
from anymal_eval.training.batches import Batch, Batches
from anymal_eval.training.halving import HalvedBatches, guard_step
from anymal_eval.training.master_weights import MasterWeights
from anymal_eval.training.parts import parameter_groups
from anymal_eval.training.plan import SavingOptions
from anymal_eval.training.record import SCORE, TrainingLog
from anymal_eval.training.speed import Speed
from anymal_eval.training.state_folders import saved_states, step_of
from anymal_eval.training.stop_signal import SignalCame, StopSignal
from anymal_eval.training.stopping import SaveAndStop
from anymal_eval.training.training_module import LossesByKind, TrainingModule

# As Any: the types of Trainer require a batch to be a dict, and some methods of TrainerCallback have no types.
_Trainer: Any = transformers.Trainer
_Callback: Any = transformers.TrainerCallback

_NOT_LOGGED = ("epoch", "total_flos")  # transformers adds them


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """How the trainer saves and stops, and the learning rates of parts that have their own.

    ``masters``: trained weights are bf16, and are updated in fp32.
    ``new_data``: the saved place in the data is one in others, and the present ones begin.
    """

    saving: SavingOptions
    stop: StopSignal = field(default_factory=StopSignal)
    rates: Mapping[str, float] = field(default_factory=dict)
    new_data: bool = False
    masters: bool = False


class AnyMALTrainer(_Trainer):  # type: ignore[misc]
    """See the module.

    Attributes:
        saves: says whether a signal ended the training.
    """

    def __init__(
        self,
        module: TrainingModule,
        batches: Batches,
        args: transformers.TrainingArguments,
        plan: StepPlan,
        log: TrainingLog,
        evaluate: HeadlineEvaluator | None,
    ) -> None:
        """``evaluate`` is called every ``plan.saving.eval_every`` steps."""
        self.saves = SaveAndStop(plan.stop)
        self._evaluated = self._saved = 0  # the last steps after which the network was
        super().__init__(model=module, args=args, callbacks=[_Callbacks(self), self.saves])
        self.remove_callback(transformers.trainer_callback.PrinterCallback)
        leave_frozen_alone(module)
        self._module, self._batches, self._plan, self._log, self._evaluator = module, batches, plan, log, evaluate
        self._step_ids: tuple[str, ...] = ()
        self._speed = Speed(self.args.device.type)
        self._halving = HalvedBatches(module, self.args.world_size)
        self._masters: MasterWeights | None = None
        self._saved_loss: tuple[float, int] | None = None  # the sum since the last line of the log, and its step

    def get_train_dataloader(self) -> Any:
        """Our batches: they know about processes, micro-batches and where to resume."""
        return self._batches

    def get_batch_samples(self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device) -> Any:
        """The micro-batches of a step, and how many targets all processes have in it.

        Raises:
            AnyMALEvalError: input that cannot be had, in this process or another one; the step before is saved.
            SignalCame: to any process while it waited for input; likewise.
        """
        position, failure = self._batches.position, None
        parts: list[Batch] = []
        try:
            with self._plan.stop.interruptible():
                parts = list(itertools.islice(epoch_iterator, num_batches))
        except (AnyMALEvalError, SignalCame) as error:
            failure = error
        count = sum(part.targets for part in parts) if failure is None else missing_input.NO_INPUT
        counts = self.accelerator.gather(torch.tensor(count, device=device))
        if int(counts.min()) < 0:
            self._batches.rewind(position)
            self._save_once()
            reasons = gather_object([missing_input.reason(failure)])
            raise failure or missing_input.raised_elsewhere(reasons)
        self._halving.start_step()
        self._step_ids = tuple(name for part in parts for name in part.ids)
        self._speed.samples += len(self._step_ids)
        return parts, counts.sum().clamp(min=1)

    def _prepare_inputs(self, inputs: Batch) -> Batch:
        return inputs

    def floating_point_ops(self, inputs: Batch) -> int:
        """Not counted: transformers' formula knows neither frozen parts nor modality tokens."""
        del inputs
        return 0

    def create_optimizer(self, model: nn.Module | None = None) -> Any:
        """With a group for each part that has a learning rate of its own."""
        rates = self._plan.rates
        if self.optimizer is not None:
            return self.optimizer
        if rates or self._plan.masters:
            module = self.model if model is None else model
            made, settings = self.get_optimizer_cls_and_kwargs(self.args, module)
            decaying = self.get_decay_parameter_names(module)
            groups = parameter_groups(module, decaying, self.args.weight_decay, rates)
            if self._plan.masters:
                self._masters = MasterWeights(groups, lambda own: made(own, **settings))
            self.optimizer: Any = self._masters or made(groups, **settings)
        else:
            super().create_optimizer(model)
        guard_step(self.optimizer, self.args.optim)
        return self.optimizer

    def training_step(self, model: nn.Module, inputs: Batch, num_items_in_batch: Any = None) -> Any:
        """Both passes of a micro-batch, in parts where memory ran out before.

        Raises:
            OutOfMemory: for a single row, or in one of several processes.
        """
        step = super().training_step

        def compute(part: Batch) -> Tensor:
            loss: Tensor = step(model, part, num_items_in_batch)
            return loss

        rows = self._halving.rows
        loss = self._halving.run(inputs, compute)
        if self._halving.rows != rows:
            self._log.write_rows(self.state.global_step + 1, self._halving.rows)
        return loss

    def compute_loss(
        self, model: nn.Module, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The micro-batch's part of the mean over the step's targets.

        Raises:
            BadLogits: it is not finite; names the step and its samples.
        """
        del return_outputs
        loss: Tensor = model(inputs) / num_items_in_batch
        if not math.isfinite(loss.item()):
            raise self._not_finite(f"the loss is {loss.item()}", inputs.ids)
        return loss * self.accelerator.num_processes  # the gradients of the processes are averaged

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        norm = super()._clip_grad_norm(model) if self._masters is None else self._masters.clip(self.args.max_grad_norm)
        if not math.isfinite(float(norm)):
            raise self._not_finite(f"the gradient's norm is {float(norm)}", self._step_ids)
        return norm

    def _not_finite(self, what: str, ids: tuple[str, ...]) -> BadLogits:
        saved = saved_states(Path(self.args.output_dir))
        last = f"the last good state is {saved[-1]}" if saved else "no state was saved before"
        return BadLogits(f"step {self.state.global_step + 1}: {what}; its samples: {listed(ids, shown=64)}; {last}")

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write to our log and the reporters, not to transformers' history, which every state would hold whole."""
        del start_time
        if "train_runtime" in logs:  # transformers' final summary
            return
        values = {name: value for name, value in logs.items() if name not in _NOT_LOGGED}
        if "loss" in values:
            values |= self._speed.since_last(self._module.tokens, self.accelerator.num_processes)
            values["input_wait"] = round(self._batches.input_wait(), 4)
            values |= self._losses_by_kind() | self._rates_of_parts(values.get("learning_rate", 0.0))
        if self.is_world_process_zero():
            self._log.write(self.state.global_step, values)
        self.control: Any = self.callback_handler.on_log(self.args, self.state, self.control, dict(values))

    def _losses_by_kind(self) -> dict[str, float]:
        """The mean losses of rows with one kind of media since the last line, where there are several."""
        own, every = self._module.kinds.numbers(), LossesByKind()
        self._module.kinds.restart()
        for each in gather_object([own]):
            every.add_numbers(each)
        sums = every.numbers()
        if len(sums) < 2:
            return {}
        return {f"loss_{kind}": total / count for kind, (total, count) in sorted(sums.items()) if count}

    def _rates_of_parts(self, rate: float) -> dict[str, float]:
        """All follow the recipe's schedule, of which ``rate`` is the present value."""
        factor = rate / self.args.learning_rate
        return {f"learning_rate_{part}": factor * peak for part, peak in self._plan.rates.items()}

    def _maybe_log_save_evaluate(self, *given: Any, **named: Any) -> None:
        """Evaluate after the step is logged and saved: an evaluation that fails or is stopped loses nothing."""
        super()._maybe_log_save_evaluate(*given, **named)
        if self.lacks_evaluation and not self.saves.stopped and self._evaluate_network():
            self._save_once()
            self.saves.stopped = self.control.should_training_stop = True

    @property
    def lacks_evaluation(self) -> bool:
        """Whether the network is to be evaluated after the present step, and was not."""
        step, every = self.state.global_step, self._plan.saving.eval_every
        is_due = self._evaluator is not None and bool(every) and step > 0 and step % every == 0
        return is_due and step != self._evaluated

    def evaluate_missed(self) -> None:
        """Make the evaluation of the state that is resumed from, where it was not made.

        Raises:
            KeyboardInterrupt: a signal came; the state is there.
        """
        # The first process alone has the log; the others wait for it in any case.
        is_made = self.is_world_process_zero() and self._log.has_scores(self.state.global_step)
        if self.lacks_evaluation and self._evaluate_network(is_made=is_made):
            raise KeyboardInterrupt

    def _evaluate_network(self, *, is_made: bool = False) -> bool:
        """Log the headlines, as if training went on without; whether a signal came to any process meanwhile."""
        step = self.state.global_step
        if self._evaluator is not None and self.is_world_process_zero() and not is_made:
            scores: Mapping[str, float] = {}
            with self._left_out_of_rates(), _unchanged_random_state(), contextlib.suppress(SignalCame):
                self._module.train(False)
                try:
                    with self._plan.stop.interruptible():
                        scores = self._evaluator(self._module.network, step)
                finally:
                    self._module.train(True)
            if scores:
                self.log({f"{SCORE}{name}": value for name, value in scores.items()})
        came = self.saves.came(self.args)
        if not came:
            self._evaluated = step
        return came

    @contextlib.contextmanager
    def _left_out_of_rates(self) -> Iterator[None]:
        """Samples a second, and the fraction of time that input is waited for, are those of steps alone."""
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            self._speed.leave_out(seconds)
            self._batches.leave_out(seconds)

    def restore_loss(self) -> None:
        """Continue the sum of the losses since the last line of the log, which transformers starts at 0."""
        if self._saved_loss is not None:
            self._tr_loss.fill_(self._saved_loss[0])
            self._globalstep_last_logged = self._saved_loss[1]

    def _save_once(self) -> None:
        """Save the state after the last step, if there was one and it is not saved.

        By what this process did, not by the disk: all processes must come to the same answer.
        """
        if self.state.global_step != self._saved:
            self._save_checkpoint(self._module, None)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        del model, trial
        step, folder = self.state.global_step, Path(self.args.output_dir)
        with self._left_out_of_rates(), self._plan.stop.saving(), states.draft(folder, step) as draft:
            self._save_state(draft)
        self._saved = step

    def _save_state(self, draft: Path) -> None:
        self.accelerator.wait_for_everyone()
        position = {
            "order": self._batches.position,
            "unreadable": self._batches.unreadable.state_dict(),
            "loss": self._tr_loss.item(),
            "logged": self._globalstep_last_logged,
            "kinds": self._module.kinds.numbers(),
            state_digests.MARK: True,
        }
        states.write(draft / states.POSITION.format(self.args.process_index), json.dumps(position).encode())
        suffix = f"_{self.args.process_index}" if self.args.world_size > 1 else ""
        states.write_object(draft / f"rng_state{suffix}.pth", states.random_state())
        if self.is_world_process_zero():
            states.write_trained(draft / states.TRAINED, self._module)
            states.write_object(draft / "optimizer.pt", self.optimizer.state_dict())
            states.write_object(draft / "scheduler.pt", self.lr_scheduler.state_dict())
            # transformers counts from where it resumed; the state is the same bytes with and without an interruption.
            self.state.epoch = self.state.global_step / self.args.max_steps
            self.state.save_to_json(str(draft / "trainer_state.json"))
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            state_digests.write(draft)
            states.publish(draft, self.state.global_step, self._plan.saving.keep)
        self.accelerator.wait_for_everyone()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Then take the rate from the schedule: of another number of steps the saved one is another schedule's."""
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        scheduler = self.lr_scheduler
        scheduler._last_lr = [
            base * factor(scheduler.last_epoch)
            for base, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
        ]
        for group, rate in zip(self.optimizer.param_groups, scheduler._last_lr, strict=True):
            group["lr"] = rate

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        del model
        folder = Path(resume_from_checkpoint)
        states.read_trained(folder / states.TRAINED, self._module)
        positions = list(states.read_positions(folder))
        self._saved_loss = loss_before(positions, self.args.process_index, self.args.world_size)
        for rank, position in enumerate(positions):
            if rank == self.args.process_index and not self._plan.new_data:
                self._batches.order.load_state_dict(position["order"])
            if rank % self.args.world_size == self.args.process_index:  # there may have been more processes
                self._batches.unreadable.add_state_dict(position["unreadable"])
                self._module.kinds.add_numbers(position.get("kinds", {}))  # version 0.2.0 and before saved none
        self._batches.start = self._saved = step_of(folder)


def loss_before(positions: Sequence[Mapping[str, Any]], process: int, processes: int) -> tuple[float, int] | None:
    """What a process has of the sum of the losses since the last line of the log, and the step of that line.

    The log has the mean over the processes: of another number of them than before, each continues the mean.

    >>> before = [{"loss": 1.0, "logged": 4}, {"loss": 3.0, "logged": 4}]
    >>> loss_before(before, 1, 2), loss_before(before, 2, 3)
    ((3.0, 4), (2.0, 4))
    """
    if not positions:
        return None
    losses = [float(position["loss"]) for position in positions]
    own = losses[process] if len(losses) == processes else sum(losses) / len(losses)
    return own, int(positions[0]["logged"])


def leave_frozen_alone(module: nn.Module) -> None:
    """Several processes do not send each other frozen weights, which each has read from the same files."""
    trained = {name for name, value in module.named_parameters() if value.requires_grad}
    whole = [name for name, _ in itertools.chain(module.named_parameters(), module.named_buffers())]
    ddp: Any = nn.parallel.DistributedDataParallel
    ddp._set_params_and_buffers_to_ignore_for_model(module, [name for name in whole if name not in trained])


class _Callbacks(_Callback):  # type: ignore[misc]
    def __init__(self, trainer: AnyMALTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After transformers has set its sums to 0."""
        del args, state, control, kwargs
        self._trainer.restore_loss()
        self._trainer.evaluate_missed()


class CallEachStep(_Callback):  # type: ignore[misc]
    """Calls a function when a step has ended."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before transformers logs the loss and saves."""
        del args, state, control, kwargs
        self._function()


@contextlib.contextmanager
def _unchanged_random_state() -> Iterator[None]:
    python, numbers = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)
