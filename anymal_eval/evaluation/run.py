"""An evaluation from its plan to its tables: resolve, load, generate, score, write."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anymal_eval.errors import AnyMALEvalError
from anymal_eval.evaluation import default_folder
from anymal_eval.evaluation.dataset import reload_dataset
from anymal_eval.evaluation.generate import GeneratedRun, generate, new_manifest, session
from anymal_eval.evaluation.load import LoadedEvaluation, load
from anymal_eval.evaluation.plan import EvaluationPlan
from anymal_eval.evaluation.resolve import resolve
from anymal_eval.evaluation.score import score
from anymal_eval.evaluation.write import FinishedRun, write
from anymal_eval.report.run_table import write_tables
from anymal_eval.report.samples import sample_folders
from anymal_eval.scoring.computing import refuse_unknown
from anymal_eval.sources.load import collector_resting
from anymal_eval.steps import Steps, process_seconds, recorded, step
from anymal_eval.store import digests
from anymal_eval.store import manifest as manifests
from anymal_eval.store.folder import BLIND, SAMPLES, RunFolder

if TYPE_CHECKING:
    from anymal_eval.evaluation.console import Console
    from anymal_eval.models import ModelSpec


def run(plan: EvaluationPlan, console: Console, *, is_whole_process: bool = False) -> FinishedRun:
    """Evaluate.

    Args:
        plan: what is evaluated.
        console: takes messages and progress.
        is_whole_process: whether the process was started for this, so that its own start counts as a step.

    Raises:
        AnyMALEvalError: as the error tree says; what was answered is on disk, and the same plan resumes it.
    """
    steps = Steps(process_seconds() if is_whole_process else 0.0)
    with recorded(steps, console.phase), ExitStack() as until_loaded:
        with console.phase("reading the data"), step("data"), collector_resting():
            resolved = resolve(plan, console, chosen=lambda spec: _read_ahead(spec, until_loaded))
            if is_whole_process:
                gc.freeze()  # the examples stay until the end: the collector need not look at them again and again
        loaded = load(resolved, console)
    try:
        finished = _run(loaded, plan.out, console, steps=steps)
        errors = finished.errors
        for number in range(2, plan.samples + 1):
            console.message(f"sample {number} of {plan.samples}")
            folder = finished.root / SAMPLES / str(number)
            errors += _run(loaded.sample(number), folder, console, resumed_by=finished.root).errors
        if plan.with_blind:
            console.message("answering the same without media")
            blind = loaded.without_media()
            errors += _run(blind, finished.root / BLIND, console, resumed_by=finished.root).errors
        elif plan.samples == 1:
            return finished
    finally:
        loaded.close()
    with RunFolder(finished.root):
        table = write_tables(finished.root)
        digests.renew(finished.root, digests.TABLES)
    return replace(finished, table=table, errors=errors)


def rescore(
    root: Path,
    console: Console,
    *,
    data_root: Path = Path("data"),
    ptb: Literal["python", "java"] | None = None,
    tasks_dir: Sequence[Path] = (),
    metrics: Sequence[str] = (),
) -> FinishedRun:
    """Score a run again from its responses, without the model; its run without media and further samples too.

    Args:
        root: the run folder.
        console: takes messages.
        data_root: the folder of the official files.
        ptb: the caption tokenizer; None is the run's own.
        tasks_dir: folders of the user's own task files.
        metrics: names of those to compute; all of the tasks' where empty.

    Raises:
        WrongUse: no task has such a metric. OtherRun: the data have changed since.
        IncompleteRun: responses are missing.
    """
    errors = 0
    # The run without media and further samples first: their values stand in the other's table.
    for each in (root / BLIND, *sample_folders(root), root):
        if each == root or each.is_dir():
            with RunFolder(each) as folder:
                manifest = folder.manifest()
                console.keep_log(root)
                if manifests.checksum_matches(folder.manifest_file) is None:
                    digests.verify_where_written(each, folder.manifest_file.name)
                datasets = [reload_dataset(*task, data_root, tasks_dir, folder) for task in manifest.tasks.items()]
                refuse_unknown([dataset.task for dataset in datasets], metrics)
                generated = GeneratedRun(
                    folder=folder,
                    manifest=manifest,
                    datasets=tuple(datasets),
                    ptb=ptb or manifest.identity["ptb"],
                    metrics=tuple(metrics),
                )
                scored = score(generated, console)
                finished = write(scored)
                errors += finished.errors
    return replace(finished, errors=errors)


def _read_ahead(spec: ModelSpec, until: ExitStack) -> None:
    """Have the weights' files read while the data are; none is loaded before the data are known to be whole."""
    try:
        named = spec.weights_at
    except AnyMALEvalError:  # loading says so, after what the data have to say
        return
    if named:
        from anymal_eval.checkpoints.reading_ahead import ReadingAhead

        until.enter_context(ReadingAhead()).start(named)


def _run(
    loaded: LoadedEvaluation,
    out: Path | None,
    console: Console,
    *,
    resumed_by: Path | None = None,
    steps: Steps | None = None,
) -> FinishedRun:
    plan = loaded.resolved.plan
    manifest = default_folder.named(plan, new_manifest(loaded), loaded.ablate)
    root = out
    if root is None:
        root, manifest = default_folder.place(plan, manifest, console)
    with RunFolder(root) as folder, session(root, console, steps, plan.command) as one:
        try:
            generated = generate(loaded, manifest, folder, one, console)
        except KeyboardInterrupt:
            where = resumed_by or root
            console.message(
                f"\ninterrupted: every answer so far is in {where}; the same command with --out {where} resumes it"
            )
            raise
        with one.clock.measure("scoring"):
            scored = score(generated, console)
            finished = write(scored)
    return replace(finished, requests={task.dataset.task.name: task for task in loaded.tasks})
