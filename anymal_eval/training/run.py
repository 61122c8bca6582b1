"""A training from what was resolved to its checkpoint: load, encode, train, save. Both stages run the same steps."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from anymal_eval.anymal import checkpoint
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.checkpoints.loading import quiet
from anymal_eval.errors import listed
from anymal_eval.evaluation.console import Advance, Console, SilentConsole
from anymal_eval.evaluation.during_training import HeadlineEvaluator
from anymal_eval.locks import Lock, hold
from anymal_eval.media.location import Opener
from anymal_eval.store.atomic import delete_drafts, storage_errors
from anymal_eval.training import record, states
from anymal_eval.training.batches import Batches, Collator, UnreadableSamples
from anymal_eval.training.being_decoded import BeingDecoded, left_behind
from anymal_eval.training.best import BestNetwork
from anymal_eval.training.compilation import compile_layers
from anymal_eval.training.features import FeatureEncoder, Openers
from anymal_eval.training.load import CHECKPOINT, LoadedTraining, load
from anymal_eval.training.mixture import Mixed, SampleOrder
from anymal_eval.training.order import OPEN_SHARDS, Shuffled, Streamed
from anymal_eval.training.packing import NOT_PACKED, can_pack
from anymal_eval.training.parts import is_16_bit
from anymal_eval.training.peers import named_losses, rank
from anymal_eval.training.resolve import ResolvedTraining
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources._remote_shard import stop_commands
from anymal_eval.training.sources._shard_file import keep
from anymal_eval.training.state_folders import STEPS, step_of
from anymal_eval.training.stop_signal import SignalCame, StopSignal
from anymal_eval.training.trainer import AnyMALTrainer, CallEachStep, StepPlan
from anymal_eval.training.training_module import TrainingModule

MESSAGE_EVERY_S = 5.0
_LOGGED_ALONE = ("tokens_per_s", "memory_gib")  # not in the messages, which stay short


@dataclass(frozen=True, kw_only=True)
class FinishedTraining:
    """What a training made.

    Attributes:
        checkpoint: the folder of the network.
        unreadable: the samples that were skipped, with the reason for each.
        is_main: whether this process is the first of its training, which writes and shows the results.
    """

    checkpoint: Path
    unreadable: Mapping[str, str]
    is_main: bool


def train(
    resolved: ResolvedTraining, console: Console | None = None, stop: StopSignal | None = None
) -> FinishedTraining:
    """Train, or resume the same training where it was stopped.

    Args:
        resolved: what is trained.
        console: shows what happens.
        stop: handles the signals already, where they are handled before.

    Raises:
        OtherRun: ``out`` holds another training, or another process is training there.
        BadCheckpoint: of what training starts from, or a state to resume from.
        BadLogits: the loss or the gradient is not finite.
        StorageFull: a state could not be saved; those before are whole.
        IncompleteRun: too many samples cannot be read, or another process of the training ended.
    """
    seen: Console = console if console is not None and rank() == 0 else SilentConsole()
    stop = StopSignal() if stop is None else stop
    with stop.handled(), _exclusive(resolved.plan.out) as lock, named_losses(resolved.plan.out):
        if console is not None:  # of every process: what libraries print there is no message either
            console.keep_log(resolved.plan.out)
        if rank() == 0 and (names := left_behind(resolved.plan.out)):
            seen.message(
                f"the process before ended at once while it decoded {listed(names)}; leave out what ends it again"
            )
        with seen.phase("loading the network"):
            loaded = load(resolved)
        if loaded.record["finished"]:
            return _finished(loaded, loaded.record.get("unreadable", {}))
        shown: Console = console if console is not None and loaded.is_main else SilentConsole()
        if lock is not None:
            shown = _Checked(shown, lock)
        for line in loaded.messages:
            shown.message(line)
        with quiet(), _encode(loaded, shown) as batches:
            _fit(loaded, batches, _Guards(shown, lock, stop))
        return _save(loaded, _of_all_processes(batches.unreadable.all_reasons()))


@contextmanager
def _exclusive(out: Path) -> Iterator[Lock | None]:
    """Keep other trainings out, and delete what one that was killed left; only the first process does this."""
    if rank() > 0:
        with storage_errors(out):
            out.mkdir(parents=True, exist_ok=True)
        yield None
        return
    busy = f"{out}: another training is writing there; wait for it, stop it, or choose another --out"
    with ExitStack() as stack:
        with storage_errors(out):
            out.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(hold(out / ".lock", busy))
            states.delete_drafts(out / STEPS)
            delete_drafts(out, (record.NAME, record.LOG))
        yield lock


@contextmanager
def _encode(loaded: LoadedTraining, console: Console) -> Iterator[Batches]:
    """The batches, with the features of the next steps in the cache."""
    resolved, compute, openers = loaded.resolved, loaded.resolved.plan.compute, Openers()
    order = _sample_order(loaded, openers)
    reduced = resolved.plan.input.decode == "reduced"
    with storage_errors(resolved.plan.out):
        decoded = BeingDecoded(resolved.plan.out, rank(), compute.threads)
    encoder = FeatureEncoder(loaded.network, openers, compute, reduced=reduced, decoded=decoded)
    with closing(decoded), closing(encoder):
        loaded.begin()
        if not isinstance(order, Streamed):
            samples = order.upcoming(resolved.recipe.steps, step_of(loaded.state))
            encoder.encode_ahead([media for sample in samples for media in sample.media], console)
        unreadable = UnreadableSamples(limit=resolved.max_unreadable, data=resolved.data)
        collator = Collator(loaded.network, encoder, unreadable)
        recipe = resolved.recipe
        with closing(Batches(order, collator, recipe.steps, recipe.accumulate, resolved.plan.input.prefetch)) as made:
            try:
                yield made
            finally:
                stop_commands()  # of shards, which the threads wait for


def _sample_order(loaded: LoadedTraining, openers: Openers) -> SampleOrder:
    data, seed = loaded.resolved.data, loaded.resolved.recipe.seed

    def admit(sample: Sample, opener: Opener | None) -> None:
        sample.require_encoders(loaded.network.accepts)
        openers.add(sample, opener)

    for each in data:
        for sample in each.samples or ():
            admit(sample, each.opener)
    options, partition = loaded.resolved.plan.input, loaded.partition
    if options.weights:
        keep(OPEN_SHARDS * (1 + sum(each.samples is None for each in data)))
        return Mixed(
            [
                Streamed([each], partition, seed, admit)
                if each.samples is None
                else Shuffled(each.samples, partition, seed, stream=(number,))
                for number, each in enumerate(data, 1)
            ],
            options.weights,
            partition,
            seed,
        )
    if any(each.samples is None for each in data):
        return Streamed(data, partition, seed, admit)
    samples = [sample for each in data for sample in each.samples or ()]
    return Shuffled(samples, partition, seed, grouped=options.group_by_length)


@dataclass(frozen=True)
class _Guards:
    """What steps report to, and what may end them."""

    console: Console
    lock: Lock | None
    stop: StopSignal


def _fit(loaded: LoadedTraining, batches: Batches, guards: _Guards) -> None:
    """All steps after the last saved state.

    Raises:
        KeyboardInterrupt: a signal came; the state after its step is saved.
    """
    plan, console, lock = loaded.resolved.plan, guards.console, guards.lock
    module = TrainingModule(loaded.network)
    module.sharded = plan.compute.shard
    if plan.input.pack:
        module.packed = can_pack(loaded.network)
        if not module.packed:
            console.message(NOT_PACKED)
    if plan.compute.compile:
        with console.phase("compiling the layers"):
            compile_layers(loaded.network)
    if loaded.recompute:
        module.checkpoint_activations()
    recipe = loaded.resolved.recipe
    log = record.TrainingLog(plan.out, _StepMessages(console, recipe.steps), console.message)
    step_plan = StepPlan(
        saving=plan.saving,
        stop=guards.stop,
        rates=recipe.rates,
        new_data=loaded.new_data,
        masters=is_16_bit(plan.compute),
    )
    trainer = AnyMALTrainer(module, batches, loaded.arguments, step_plan, log, _evaluator(loaded))
    for reporter in loaded.reporters:
        reporter.notify = console.message
        trainer.add_callback(reporter)
    if lock is not None:
        trainer.add_callback(CallEachStep(lock.require))
    if loaded.is_main:
        log.truncate(step_of(loaded.state))
    with guards.stop.stepping():
        try:
            trainer.train(resume_from_checkpoint=None if loaded.state is None else str(loaded.state))
        except SignalCame:
            if not trainer.state.global_step:
                raise
            trainer.saves.stopped = True
    module.train(False)
    step = trainer.state.global_step
    if trainer.saves.stopped and (step < recipe.steps or trainer.lacks_evaluation):
        console.message(f"stopped by {guards.stop.name or 'a signal'} after step {step} of {recipe.steps}, saved")
        raise KeyboardInterrupt


def _evaluator(loaded: LoadedTraining) -> HeadlineEvaluator | None:
    plan, evaluate = loaded.resolved.plan, loaded.resolved.evaluate
    if evaluate is None or loaded.resolved.best is None:
        return evaluate

    def save(network: AnyMAL, folder: Path) -> None:
        checkpoint.save(network, folder, plan.note, loaded.orders)

    return BestNetwork(plan.out, loaded.resolved.best, evaluate, save)


def _save(loaded: LoadedTraining, unreadable: Mapping[str, str]) -> FinishedTraining:
    resolved, finished = loaded.resolved, _finished(loaded, unreadable)
    if loaded.is_main:
        with storage_errors(finished.checkpoint):
            checkpoint.save(loaded.network, finished.checkpoint, resolved.plan.note, loaded.orders)
        content = {**loaded.record, "unreadable": unreadable, "finished": resolved.recipe.steps}
        record.write(resolved.plan.out, content)
    if _is_distributed():
        torch.distributed.barrier()
    return finished


def _finished(loaded: LoadedTraining, unreadable: Mapping[str, str]) -> FinishedTraining:
    folder = loaded.resolved.plan.out / CHECKPOINT
    return FinishedTraining(checkpoint=folder, unreadable=unreadable, is_main=loaded.is_main)


class _Checked:
    """A console whose progress ends with an error where the training's folder was deleted."""

    def __init__(self, console: Console, lock: Lock) -> None:
        self._lock, self.message, self._progress = lock, console.message, console.progress
        self.phase, self.keep_log = console.phase, console.keep_log

    @contextmanager
    def progress(self, label: str, total: int, done: int) -> Iterator[Advance]:
        with self._progress(label, total, done) as advance:

            def checked(more: int) -> None:
                self._lock.require()
                advance(more)

            yield checked


class _StepMessages:
    """A message now and then, for scores, and for the last step."""

    def __init__(self, console: Console, steps: int) -> None:
        self._console, self._steps = console, steps
        self._last = 0.0

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        now = time.monotonic()
        has_scores = any(name.startswith(record.SCORE) for name in values)
        if now - self._last < MESSAGE_EVERY_S and step < self._steps and not has_scores:
            return
        self._last = now
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items() if name not in _LOGGED_ALONE)
        self._console.message(f"step {step} of {self._steps}: {shown}")


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _of_all_processes(reasons: dict[str, str]) -> dict[str, str]:
    if not _is_distributed():
        return reasons
    found: list[dict[str, str]] = [{} for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(found, reasons)
    return {where: reason for each in found for where, reason in each.items()}
