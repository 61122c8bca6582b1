"""A stage of training from beginning to end: open, load, encode, learn, save. Both stages are this one."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from anymal_eval.anymal import checkpoint
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.checkpoints.loading import Loading, quiet
from anymal_eval.errors import BadData
from anymal_eval.media.location import Opener
from anymal_eval.store.atomic import storage_errors
from anymal_eval.training import record, starting, states
from anymal_eval.training.batches import Batches, Collator, Unreadable
from anymal_eval.training.callbacks import Evaluate
from anymal_eval.training.features import Features, Openers
from anymal_eval.training.log import Log, Say
from anymal_eval.training.order import Share, Shuffled, Streamed
from anymal_eval.training.recipe import Recipe
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import TrainingData
from anymal_eval.training.trainer import AnyMALTrainer, Keeping, arguments
from anymal_eval.training.training_module import TrainingModule, trainable

CHECKPOINT, STEPS, LOG = "checkpoint", "steps", "log.jsonl"


@dataclass(frozen=True, kw_only=True)
class Running:
    """How it is computed.

    Attributes:
        loading: precision and quantisation of the frozen parts, and the device.
        gradient_checkpointing: less memory for more time; no result depends on it.
        features: the feature cache; empty for memory alone.
        threads: media decoded at once.
        media_timeout: seconds after which a decoder is given up.
        max_unreadable: the share of samples that may be left out.
    """

    loading: Loading
    gradient_checkpointing: bool = False
    features: str = ""
    threads: int = 2
    media_timeout: float = 60.0
    max_unreadable: float = 0.01


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training.

    Attributes:
        stage: 1 aligns projectors, 2 tunes them on instructions, with adapters where ``start`` has them.
        out: the folder that the same job goes on in.
        note: what a reader of the checkpoint's numbers must know.
    """

    stage: Literal["align", "instruct"]
    start: starting.Start
    sources: Sequence[TrainingData]
    recipe: Recipe
    running: Running
    out: Path
    keeping: Keeping = field(default_factory=Keeping)
    note: str = ""


class Progress(Protocol):
    """Shows how far something is: ``progress(label, total, done)`` in a ``with`` gives what takes one more."""

    def __call__(self, label: str, total: int, done: int) -> AbstractContextManager[Callable[[int], None]]:
        """In a ``with``."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Where a training tells how far it is; nothing is shown where they are None."""

    progress: Progress | None = None
    say: Say | None = None


def train(job: Job, evaluate: Evaluate | None = None, shown: Shown | None = None) -> Path:
    """Train, or go on where a training of the same job was stopped.

    Args:
        job: what to train.
        evaluate: scores of the network as it is after a step, by name; asked every ``eval_every`` steps.
        shown: where to tell how far it is.

    Returns:
        The checkpoint folder.

    Raises:
        OtherRun: ``out`` holds another training. BadCheckpoint, BadData, MissingData: what it starts from.
        BadLogits: the loss is no number. StorageFull: a state could not be saved; those before are whole.
        IncompleteRun: too many samples cannot be read.
    """
    shown = shown or Shown()
    job.out.mkdir(parents=True, exist_ok=True)
    args = arguments(job.recipe, job.keeping, job.out / STEPS, cpu=job.running.loading.device == "cpu")
    share = Share(
        batch_size=job.recipe.batch_size,
        accumulate=job.recipe.accumulate,
        rank=args.process_index,
        processes=args.world_size,
    )
    with quiet():
        network = starting.load(job.start, job.running.loading, job.recipe.seed)
    identity = _identity(job, network, share)
    before = record.begin(job.out, identity)
    final = job.out / CHECKPOINT
    if before.get("finished") and (final / checkpoint.CONFIG).exists():
        return final
    names = trainable(network, adapters=job.start.adapters is not None)
    content: dict[str, Any] = {
        "stage": job.stage,
        "identity": identity,
        "data": [{"name": source.name, "fingerprint": source.fingerprint, **_size(source)} for source in job.sources],
        "trained": {"tensors": len(names), "numbers": sum(network.get_parameter(name).numel() for name in names)},
        "options": _options(job, share),
        "versions": record.versions(),
        "finished": 0,
    }
    first = args.process_index == 0
    if first:
        record.write(job.out, content)
    unreadable = _learn(job, network, args, share, (evaluate, shown))
    if first:
        with storage_errors(final):
            checkpoint.save(network, final, note=job.note)
        record.write(job.out, {**content, "unreadable": unreadable, "finished": job.recipe.steps})
    _wait()
    return final


def _learn(job: Job, network: AnyMAL, args: Any, share: Share, told: tuple[Evaluate | None, Shown]) -> dict[str, str]:
    """The loop.

    Returns:
        The samples that were left out, with the reason for each.
    """
    evaluate, shown = told
    learner = TrainingModule(network)
    if job.running.gradient_checkpointing:
        learner.checkpoint_activations()
    openers = Openers()
    order = _order(job, share, network, openers)
    unreadable = Unreadable(share=job.running.max_unreadable, sources=job.sources)
    saved = states.states(job.out / STEPS)
    log = Log(job.out / LOG, shown.say if share.rank == 0 else None)
    running = job.running
    with (
        quiet(),
        Features(
            network, openers, folder=running.features, threads=running.threads, timeout_s=running.media_timeout
        ) as features,
    ):
        if isinstance(order, Shuffled):
            start = states.step_of(saved[-1]) if saved else 0
            _encode(order.wanted(job.recipe.steps, start), features, shown.progress if share.rank == 0 else None)
        batches = Batches(order, Collator(network, features, unreadable), job.recipe.steps, job.recipe.accumulate)
        trainer = AnyMALTrainer(learner, batches, args, log, evaluate)
        trainer.keeping = job.keeping
        if share.rank == 0:
            states.clean(job.out / STEPS)
            log.begin(states.step_of(saved[-1]) if saved else 0)
        trainer.train(resume_from_checkpoint=str(saved[-1]) if saved else None)
    learner.train(False)
    return _gathered(unreadable.told())


def _order(job: Job, share: Share, network: AnyMAL, openers: Openers) -> Shuffled | Streamed:
    def admit(sample: Sample, opener: Opener | None) -> None:
        for media in sample.media:
            if media.kind not in network.accepts:
                takes = ", ".join(sorted(network.accepts))
                raise BadData(f"{sample.where}: this network takes {takes}, no {media.kind}")
        openers.add(sample, opener)

    for source in job.sources:
        for sample in source.samples or ():
            admit(sample, source.opener)
    if all(source.samples is not None for source in job.sources):
        samples = [sample for source in job.sources for sample in source.samples or ()]
        return Shuffled(samples, share, job.recipe.seed)
    return Streamed(job.sources, share, job.recipe.seed, admit)


def _encode(samples: Sequence[Any], features: Features, progress: Progress | None) -> None:
    media = [one for sample in samples for one in sample.media]
    if progress is None or not media:
        features.fill(media, lambda done: None)
        return
    count = len({(one.kind, one.uri, one.start_s, one.end_s) for one in media})
    with progress("features", count, 0) as advance:
        features.fill(media, advance)


def _identity(job: Job, network: AnyMAL, share: Share) -> dict[str, Any]:
    """All that the result depends on."""
    streamed = any(source.samples is None for source in job.sources)
    return {
        "stage": job.stage,
        "recipe": {name: value for name, value in asdict(job.recipe).items() if name != "accumulate"},
        "data": [source.fingerprint for source in job.sources],
        "start": starting.described(job.start, network),
        "adapters": job.start.adapters is not None,
        "precision": str(job.running.loading.precision).removeprefix("torch."),
        "quantize": job.running.loading.quantize,
        "note": job.note,
        **({"processes": share.processes, "accumulate": share.accumulate} if streamed else {}),
    }


def _options(job: Job, share: Share) -> dict[str, Any]:
    """How it was computed, which no result depends on."""
    running = job.running
    return {
        "network": job.start.network,
        "device": running.loading.device,
        "accumulate": job.recipe.accumulate,
        "processes": share.processes,
        "gradient_checkpointing": running.gradient_checkpointing,
        "features": running.features,
        "max_unreadable": running.max_unreadable,
        **asdict(job.keeping),
    }


def _size(source: TrainingData) -> dict[str, int]:
    return {"shards": source.shards} if source.samples is None else {"samples": len(source.samples)}


def _gathered(reasons: dict[str, str]) -> dict[str, str]:
    """Of all processes."""
    import torch

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return reasons
    found: list[dict[str, str]] = [{} for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(found, reasons)
    return {where: reason for each in found for where, reason in each.items()}


def _wait() -> None:
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
