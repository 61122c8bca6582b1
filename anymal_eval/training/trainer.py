"""Hugging Face's ``Trainer`` over the AnyMAL network: our batches, our loss, states of what is trained alone."""

import itertools
import json
import math
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from anymal_eval.errors import BadLogits, NeedsExtra, WrongUse, listed
from anymal_eval.store.atomic import storage_errors
from anymal_eval.training import states
from anymal_eval.training.batches import Batch, Batches
from anymal_eval.training.callbacks import Averaging, Evaluate, Evaluating
from anymal_eval.training.log import Log
from anymal_eval.training.recipe import Recipe
from anymal_eval.training.training_module import TrainingModule

_Trainer: Any = transformers.Trainer  # as Any: its types say that a batch is a dict

_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
_QUIET = ("epoch", "total_flos")  # what transformers logs and nobody asked for


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What is written while it is learnt; no result depends on it.

    Attributes:
        save_every: steps between states, of which the last ``keep`` stay.
        log_every: steps between lines of the log.
        eval_every: steps between evaluations; 0 for none.
        report_to: further reporters of transformers.
    """

    save_every: int = 500
    keep: int = 2
    log_every: int = 10
    eval_every: int = 0
    report_to: tuple[str, ...] = ()


def arguments(recipe: Recipe, keeping: Keeping, folder: Path, *, cpu: bool) -> transformers.TrainingArguments:
    """What transformers is told.

    Raises:
        WrongUse: one network is to be shared by several devices, or a reporter that transformers does not know.
        NeedsExtra: a reporter that is not installed.
    """
    _require(keeping.report_to)
    for sharding in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        if os.environ.get(f"ACCELERATE_USE_{sharding}", "false").lower() == "true":
            raise WrongUse(f"accelerate launch asks for {sharding}: here each process holds the whole network")
    made = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=recipe.steps,
        per_device_train_batch_size=1,  # our batches come ready; this only has to be a number
        gradient_accumulation_steps=recipe.accumulate,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=_SCHEDULES[recipe.schedule],
        warmup_steps=recipe.warmup_steps,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        optim="adamw_torch",
        seed=recipe.seed,
        logging_steps=keeping.log_every,
        logging_nan_inf_filter=False,
        save_steps=keeping.save_every,
        report_to=list(keeping.report_to) or "none",
        disable_tqdm=True,
        log_level="error",
        use_cpu=cpu,
        ignore_data_skip=True,
        ddp_find_unused_parameters=True,  # a step may hold no sample of some medium
        ddp_broadcast_buffers=False,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
    made._n_gpu = min(made.n_gpu, 1)  # several GPUs are for several processes
    return made


def _require(reporters: Sequence[str]) -> None:
    from anymal_eval.checkpoints.loading import library

    for name in reporters:
        try:
            for made in library().integrations.get_reporting_integration_callbacks([name]):
                made()
        except ValueError as error:
            raise WrongUse(f"--report-to {name}: {' '.join(str(error).split())}") from None
        except (RuntimeError, ImportError) as error:
            raise NeedsExtra(f"--report-to {name}: {' '.join(str(error).split())}") from None


class AnyMALTrainer(_Trainer):  # type: ignore[misc]
    """See the module."""

    def __init__(
        self,
        learner: TrainingModule,
        batches: Batches,
        args: transformers.TrainingArguments,
        log: Log,
        evaluate: Evaluate | None,
    ) -> None:
        asked = [Evaluating(self, evaluate)] if evaluate else []
        super().__init__(model=learner, args=args, callbacks=[Averaging(self), *asked])
        self.remove_callback(transformers.trainer_callback.PrinterCallback)
        self._batches, self._log, self.learner = batches, log, learner
        self._current: tuple[str, ...] = ()
        self.keeping = Keeping()
        self.begun: tuple[float, int] | None = None  # the losses since the last line of the log, and its step

    def get_train_dataloader(self) -> Any:
        """Ours, which knows about processes, parts and where to go on."""
        return self._batches

    def get_batch_samples(self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device) -> Any:
        """The parts of a step, and how many targets all processes have in it."""
        parts = list(itertools.islice(epoch_iterator, num_batches))
        self._current = tuple(name for part in parts for name in part.ids)
        count = torch.tensor(sum(part.targets for part in parts), device=device)
        return parts, self.accelerator.gather(count).sum().clamp(min=1)

    def _prepare_inputs(self, inputs: Batch) -> Batch:
        return inputs

    def floating_point_ops(self, inputs: Batch) -> int:
        """Not counted: transformers' formula knows neither frozen parts nor modality tokens."""
        del inputs
        return 0

    def compute_loss(
        self, model: nn.Module, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The part's share of the mean over the step's targets.

        Raises:
            BadLogits: it is no number; names the step and its samples.
        """
        del return_outputs
        loss: Tensor = model(inputs) / num_items_in_batch
        if not math.isfinite(loss.item()):
            raise self._broken(f"the loss is {loss.item()}", inputs.ids)
        return loss * self.accelerator.num_processes  # processes' gradients are averaged

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)
        if not math.isfinite(float(norm)):
            raise self._broken(f"the gradient's norm is {float(norm)}", self._current)
        return norm

    def _broken(self, what: str, ids: tuple[str, ...]) -> BadLogits:
        kept = states.states(Path(self.args.output_dir))
        last = f"the last good state is {kept[-1]}" if kept else "no state was saved before"
        return BadLogits(f"step {self.state.global_step + 1}: {what}; its samples: {listed(ids, shown=64)}; {last}")

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Into our log and to the reporters; transformers' own history would be saved whole with every state."""
        del start_time
        if "train_runtime" in logs:  # the summary that transformers ends with
            return
        shown = {name: value for name, value in logs.items() if name not in _QUIET}
        if self.is_world_process_zero():
            self._log.write(self.state.global_step, shown)
        self.control: Any = self.callback_handler.on_log(self.args, self.state, self.control, dict(shown))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        del model, trial
        with storage_errors(Path(self.args.output_dir)):
            self._save_state()

    def _save_state(self) -> None:
        folder, step = Path(self.args.output_dir), self.state.global_step
        draft = states.draft_of(folder, step)
        draft.mkdir(parents=True, exist_ok=True)
        self.accelerator.wait_for_everyone()
        rank = self.args.process_index
        begun = {"loss": self._tr_loss.item(), "logged": self._globalstep_last_logged}
        told = {"order": self._batches.order.position(), "unreadable": self._batches.unreadable.position()}
        position = json.dumps({**told, **begun}).encode()
        states.write(draft / states.POSITION.format(rank), lambda stream: _put(stream, position))
        suffix = f"_{rank}" if self.args.world_size > 1 else ""
        states.save_object(draft / f"rng_state{suffix}.pth", _chance())
        if self.is_world_process_zero():
            states.write_trained(draft / states.TRAINED, self.learner)
            states.save_object(draft / "optimizer.pt", self.optimizer.state_dict())
            states.save_object(draft / "scheduler.pt", self.lr_scheduler.state_dict())
            self.state.save_to_json(str(draft / "trainer_state.json"))
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            states.publish(folder, step, self.keeping.keep)
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        del model
        folder = Path(resume_from_checkpoint)
        states.read_trained(folder / states.TRAINED, self.learner)
        for rank, found in enumerate(states.read_positions(folder)):
            if rank == self.args.process_index:
                self._batches.order.seek(found["order"])
                self.begun = (float(found["loss"]), int(found["logged"]))
            if rank % self.args.world_size == self.args.process_index:  # there may have been more processes
                self._batches.unreadable.add(found["unreadable"])
        self._batches.start = states.step_of(folder)


def _chance() -> dict[str, Any]:
    """The state of every source of chance, as transformers' ``_load_rng_state`` reads it."""
    found: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # what transformers reads
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available():
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        found["cuda"] = torch.cuda.get_rng_state_all() if distributed else torch.cuda.get_rng_state()
    return found


def _put(stream: Any, content: bytes) -> None:
    stream.write(content)
