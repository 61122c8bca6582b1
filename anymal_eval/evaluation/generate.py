"""Step 3, generate: every request without an answer goes to the model, and every answer to the disk as it comes."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval.codec import encode
from anymal_eval.engine import local
from anymal_eval.engine.clock import Clock, summary
from anymal_eval.engine.ray_workers import Workers
from anymal_eval.errors import BadData
from anymal_eval.evaluation.load import LoadedEvaluation, order_remark
from anymal_eval.evaluation.requests import TaskRequests
from anymal_eval.evaluation.showing import recording
from anymal_eval.models import Logging, ModelSpec
from anymal_eval.protocols.reading import reading_for
from anymal_eval.sources.dataset import OWN, TaskDataset
from anymal_eval.steps import Steps
from anymal_eval.store import manifest as manifests
from anymal_eval.store import sessions
from anymal_eval.store.atomic import storage_errors, write_atomic
from anymal_eval.store.folder import CONFIG, RunFolder
from anymal_eval.store.manifest import Manifest, TaskEntry
from anymal_eval.store.responses import ResponseLog
from anymal_eval.store.shown_prompts import FILE as PROMPTS

if TYPE_CHECKING:
    from anymal_eval.engine import EngineSettings, Sink
    from anymal_eval.evaluation.console import Console
    from anymal_eval.models import Model
    from anymal_eval.records import Request, Response


@dataclass(frozen=True, kw_only=True)
class GeneratedRun:
    """A run whose responses are on disk.

    Attributes:
        datasets: of the tasks that are scored now; the manifest may hold more.
        metrics: names or ids of those that are computed; all of the tasks' where empty.
    """

    folder: RunFolder
    manifest: Manifest
    datasets: tuple[TaskDataset, ...]
    ptb: Any
    metrics: tuple[str, ...] = ()


class Session:
    """One command's share of a run: where its time went, and how many answers it added.

    Attributes:
        command: as it was typed, without secrets; empty from Python.
        started: when, UTC in ISO 8601.
        steps: what was done before the first answer; of its own where the model was loaded for another session.
    """

    def __init__(self, steps: Steps | None = None, command: str = "") -> None:
        self.command = command
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.clock = Clock()
        self.answers = 0
        self.steps = steps or Steps()


def new_manifest(loaded: LoadedEvaluation) -> Manifest:
    """What the run is; its name follows from all of that but its tasks."""
    plan, spec, model = loaded.resolved.plan, loaded.resolved.spec, loaded.model
    label = spec.name if plan.data.kind != "demo" else f"demo-{spec.name}"
    identity: dict[str, Any] = {
        "model": _model_name(spec),
        "fingerprint": model.fingerprint,
        "protocol": loaded.resolved.protocol.name,
        "data": plan.data.kind,
        "split": plan.data.split or "default",
        "limit": plan.data.limit,
        "ablate": loaded.ablate,
        "ptb": plan.ptb,
    }
    if plan.extract is not None:
        identity["extract"] = plan.extract
    if plan.overrides.given:
        identity["overrides"] = plan.overrides.given
    provenance = dict(getattr(model, "provenance", {}))
    device = str(provenance.get("device", plan.model.device or "none"))
    manifest = manifests.new(identity, label.replace(":", "-"), manifests.environment(device))
    entries = {}
    for task in loaded.tasks:
        remarks = (getattr(model, "remark", ""), order_remark(model, task))
        entries[task.dataset.task.name] = task_entry(task, ", ".join(filter(None, remarks)))
    options = encode(spec.options)
    if "precision" in options:  # as it was resolved where the model lies
        options["precision"] = provenance.get("precision", options["precision"])
    return replace(manifest, model={"options": options, "provenance": provenance}, tasks=entries)


def generate(
    loaded: LoadedEvaluation, manifest: Manifest, folder: RunFolder, session: Session, console: Console
) -> GeneratedRun:
    """Answer what the run has no answer to.

    Args:
        loaded: the model and its requests.
        manifest: of :func:`new_manifest`.
        folder: the run, locked.
        session: counts answers and time.
        console: for progress.

    Raises:
        OtherRun: the folder holds another run.
        IncompleteRun: too many errors, or no space; what was answered is on disk.
    """
    plan = loaded.resolved.plan
    if folder.manifest_file.is_file() and manifests.checksum_matches(folder.manifest_file) is False:
        console.message(f"{folder.manifest_file}: its checksum differs: compared with this command, and written anew")
    manifest = folder.start(
        manifest, allow_environment_change=plan.allow_environment_change, renamed=plan.name is not None
    )
    console.keep_log(folder.root)
    if plan.config:
        write_atomic(folder.root / CONFIG, plan.config)
    if isinstance(loaded.model, Logging):
        with storage_errors(folder.root):
            loaded.model.keep_log(folder.root)
    *earlier, own = manifest.versions
    if earlier:
        console.message(f"{folder.root}: made by anymal_eval {', '.join(earlier)}, resumed by {own}")
    try:
        for task in loaded.tasks:
            _answer(loaded, task, folder.responses(task.dataset.task.name), session, console)
    finally:
        if repeated := getattr(loaded.model, "retry_summary", ""):
            console.message(repeated)
    return GeneratedRun(
        folder=folder,
        manifest=manifest,
        datasets=tuple(task.dataset for task in loaded.tasks),
        ptb=plan.ptb,
        metrics=plan.metrics,
    )


def task_entry(task: TaskRequests, remark: str = "") -> TaskEntry:
    """What the manifest holds of one task; ``remark`` is what a reader of its numbers must know of the model."""
    dataset = task.dataset
    n_split, kind = len(dataset.all_ids), dataset.kind
    return TaskEntry(
        version=dataset.task.version,
        split=dataset.split.name,
        data=kind,
        examples=dataset.fingerprint,
        n=len(dataset.examples),
        n_split=n_split,
        n_expected=n_split if kind in ("demo", OWN) else dataset.split.expected,
        labelled=dataset.split.labelled,
        limit=dataset.options.limit,
        subset=dataset.subset,
        protocol=task.protocol.name,
        prompts=task.prompts,
        reading=encode(reading_for(dataset.task, task.wording, task.protocol)),
        overrides=task.protocol.overrides.given,
        remark=remark,
        ablate=task.ablate,
        source=dict(dataset.source),
        content=dataset.content,
    )


@contextmanager
def session(root: Path, console: Console, steps: Steps | None = None, command: str = "") -> Iterator[Session]:
    """Time what happens inside; then show where the time went, and add it to ``timings.json``, also after an error.

    Args:
        root: the run folder.
        console: where it is shown.
        steps: of the loading that came before.
        command: as it was typed, without secrets.
    """
    one = Session(steps, command)
    start = time.perf_counter()
    try:
        yield one
    finally:
        wall = time.perf_counter() - start
        _write_timings(root / sessions.FILE, one, wall, console)
        if one.answers:
            if steps is not None and steps.summary:
                console.message(steps.summary)
            parts = summary(one.clock.seconds)
            console.message(f"{one.answers} answers in {wall:.1f} s{': ' if parts else ''}{parts}")


def run_requests(requests: Sequence[Request], model: Model, sink: Sink, settings: EngineSettings, clock: Clock) -> None:
    """Answer requests by the engine that the model was loaded for."""
    if isinstance(model, Workers):
        model.run_requests(requests, sink, settings, clock)
    else:
        local.run_requests(requests, model, sink, settings, clock)


def _answer(loaded: LoadedEvaluation, task: TaskRequests, file: Path, session: Session, console: Console) -> None:
    size = len(task.dataset.examples)
    with ResponseLog(file) as log:
        if log.cut:
            console.message(
                f"{file}: the last line was cut off when the run was stopped; its example is requested again"
            )
        missing = task.requests.without(log.answered)
        with console.progress(task.dataset.task.name, size, size - len(missing)) as advance:
            start = time.perf_counter()

            def sink(batch: Sequence[Response]) -> None:
                log.append(batch)
                session.steps.first_answer(start)
                advance(len(batch))

            settings = loaded.resolved.plan.execution.settings(size)
            model = recording(loaded.model, file.with_name(PROMPTS))
            try:
                run_requests(missing, model, sink, settings, session.clock)
            finally:  # from the file: an interrupt may come between a write and any count beside it
                session.answers += log.appended


def _model_name(spec: ModelSpec) -> str:
    # The folders above a checkpoint say nothing about the model and differ from machine to machine.
    checkpoint = getattr(spec.options, "checkpoint", "")
    return f"{spec.name}:{Path(checkpoint).name}" if checkpoint else spec.name


def _write_timings(file: Path, one: Session, wall: float, console: Console) -> None:
    if not file.with_name("manifest.json").is_file():  # nothing was started here, or the folder was deleted
        return
    try:
        before = sessions.read(file)
    except BadData as error:
        # No answer depends on it, so it ends no run.
        console.message(f"{error}; the times of earlier sessions are not kept")
        before = ()
    now: dict[str, Any] = {"started": one.started, "host": platform.node()}
    now |= {"command": one.command} if one.command else {}
    now |= {"answered": one.answers, "wall": round(wall, 3)}
    now["seconds"] = {part: round(value, 3) for part, value in one.clock.seconds.items()}
    now["start_up"] = {name: round(value, 3) for name, value in one.steps.seconds.items()}
    if one.steps.total is not None:
        now["first_answer"] = round(one.steps.total, 3)
    sessions.write(file, [*before, now])
