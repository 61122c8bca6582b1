"""Step 1, resolve: look up and check all that a plan names, and read its data, before a weight is loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from anymal_eval import catalog, protocols
from anymal_eval.errors import WrongUse
from anymal_eval.evaluation.dataset import reported_split
from anymal_eval.evaluation.plan import EvaluationPlan
from anymal_eval.models import Model, ModelSpec, choose_model, given_model
from anymal_eval.protocols import Protocol
from anymal_eval.scoring.computing import refuse_unknown
from anymal_eval.sources.dataset import DataOptions, TaskDataset, load_dataset, require_media
from anymal_eval.sources.load import Kind, unavailable
from anymal_eval.sources.own import is_own, own_file, task_named
from anymal_eval.task import Task

if TYPE_CHECKING:
    from anymal_eval.evaluation.console import Console

DEMO_MODEL, DEMO_PROTOCOL = "anymal:demo", "demo"

# Models for a task that another one cannot take, for the message.
MODELS_FOR = {
    "image": "hf:, blip2:, instructblip:, openai: or anymal:",
    "video": "hf:, openai: or anymal:",
    "audio": "an omni model by hf:, hf_audio:, openai: or anymal:",
    "imu": "anymal:",
}


@dataclass(frozen=True, kw_only=True)
class ResolvedEvaluation:
    """What will be evaluated.

    Attributes:
        plan: with the model, the source of the data and the protocol named.
        spec: the model, chosen and not loaded.
        protocol: the plan's, read.
        datasets: one for each task, in the order of the plan.
    """

    plan: EvaluationPlan
    spec: ModelSpec
    protocol: Protocol
    datasets: tuple[TaskDataset, ...]

    def release(self, model: Model) -> None:
        """Close the model that was loaded; one that was given as an object is its owner's to close."""
        if self.plan.model.model is not model:
            model.close()


def resolve(
    plan: EvaluationPlan,
    console: Console,
    *,
    media: bool = True,
    chosen: Callable[[ModelSpec], None] | None = None,
) -> ResolvedEvaluation:
    """Look up the model, the tasks and the protocol, and read the data.

    Args:
        plan: what the user wants.
        console: where skipped tasks are named.
        media: whether the media must be there.
        chosen: takes the model when all but the data has been looked up.

    Raises:
        NotInCatalog, WrongUse: a name or a combination that cannot be.
        MissingData, BadData: the data are not there, or not whole.
    """
    is_demo = plan.model.model is None
    plan = _with_demo_model(plan)
    if plan.with_blind and plan.ablate != "none":
        raise WrongUse(f"--with-blind adds a run without media to one with them: leave out --ablate {plan.ablate}")
    spec = _spec(plan)
    plan.execution.settings(0)
    wanted = named_tasks(plan.tasks, plan.tasks_dir, plan.metrics)
    tasks, skipped = choose_tasks(wanted, spec.accepts, plan.tasks_dir, f"model {spec.name}", plan.data.kind)
    refuse_unknown(tasks, plan.metrics)
    if plan.data.names_hub and len(tasks) > 1:
        raise WrongUse("--hub-id, --hub-config and --hub-revision go with one task")
    plan.overrides.check()
    if plan.samples < 1 or (plan.samples > 1 and not plan.overrides.temperature):
        raise WrongUse(f"--samples {plan.samples}: several samples need --temperature above 0, and one is the least")
    protocol = protocols.with_extract(protocols.get(plan.protocol or protocols.DEFAULT), plan.extract)
    protocol = replace(protocol, overrides=plan.overrides)
    if chosen is not None:
        chosen(spec)
    datasets = [load_dataset(task, reported_split(task, plan.data, protocol)) for task in tasks]
    if plan.ablate != "no-media":
        for dataset in datasets:
            require_kinds(dataset, spec.accepts, f"model {spec.name}")
    if is_demo:  # after whatever could be wrong with the command
        console.message(
            "no model named: the demo model answers drawn demo data, and its numbers compare with no paper's; for a "
            "benchmark give --model NAME:CHECKPOINT --data-root DIR"
        )
    for task_name, reason in skipped.items():
        console.message(f"{task_name}: skipped, {reason}")
    for dataset in datasets:
        for note in dataset.notes:
            console.message(f"{dataset.task.name}: {note}")
    if media and spec.opens_media and plan.ablate != "no-media":
        datasets = [require_media(dataset) for dataset in datasets]
    return ResolvedEvaluation(plan=plan, spec=spec, protocol=protocol, datasets=tuple(datasets))


def named_tasks(names: Sequence[str | Task], folders: Sequence[Path], metrics: Sequence[str]) -> list[str | Task]:
    """The tasks of a plan; ``all`` stays.

    Raises:
        NotInCatalog: there is no such task, or metric.
        MissingData, BadData: a file of the user's own rows is not there, or its rows are of several kinds.
        WrongUse: two files have one name, or a metric is not for the answers of a file's rows.
    """
    if list(names) == ["all"]:
        return list(names)
    found = [each if isinstance(each, Task) else task_named(each, folders, metrics) for each in names]
    files: dict[str, Path] = {}
    for task in found:
        file = own_file(task)
        if file is not None and files.setdefault(task.name, file) != file:
            raise WrongUse(f"{files[task.name]} and {file} would both be the task {task.name}: rename one of them")
    return list(found)


def choose_tasks(
    names: Sequence[str | Task], accepts: Collection[str], folders: Sequence[Path], model: str, data: Kind
) -> tuple[list[Task], dict[str, str]]:
    """The tasks of a plan, or for ``all`` those that can be evaluated, with the reasons why the others are skipped.

    Raises:
        NotInCatalog: there is no such task.
        WrongUse: a task is named that the model cannot take.
    """
    known = catalog.tasks(folders)
    everything = list(names) == ["all"]
    wanted = [each if isinstance(each, Task) else known.get(each, "TASK", Task)
              for each in (known.names() if everything else names)]  # fmt: skip
    found = list({task.name: task for task in wanted}.values())
    refused = [task for task in found if task.media not in accepts]
    if refused and not everything:
        raise _not_taken(model, accepts, refused[0].name, refused[0].media)
    if not found:
        raise WrongUse("--tasks names no task")
    skipped = {task.name: f"{model} does not take its media" for task in refused}
    if everything:
        skipped = {task.name: why for task in found if (why := unavailable(task, data))} | skipped
    return [task for task in found if task.name not in skipped], skipped


def require_kinds(dataset: TaskDataset, accepts: Collection[str], model: str) -> None:
    """Make sure that the model takes every medium of a task's examples, whatever the task itself names.

    Raises:
        WrongUse: it does not take one; the message names the task, the example, and what to do.
    """
    for example in dataset.examples:
        for media in example.media:
            if media.kind not in accepts:
                raise _not_taken(model, accepts, f"{dataset.task.name}, example {example.id},", media.kind)


def _not_taken(model: str, accepts: Collection[str], what: str, kind: str) -> WrongUse:
    takes = ", ".join(sorted(accepts)) or "nothing"
    remedy = f"name a model that takes it ({MODELS_FOR.get(kind, 'a class of your own')})"
    if model == "model anymal" or model.startswith("--"):
        remedy = "take a checkpoint that was aligned with it (train align), or add such a one (checkpoints join)"
    return WrongUse(f"{model} takes {takes}; {what} needs {kind}: {remedy}, or leave this task out")


def _with_demo_model(plan: EvaluationPlan) -> EvaluationPlan:
    """The demo world and the demo model where no model is named; the demo model's own words where none are named."""
    if plan.model.model is None:
        own = [name for name in plan.tasks if isinstance(name, str) and is_own(name)]
        if own:
            raise WrongUse(f"--model is needed for {own[0]}: the demo model knows the demo world alone")
        known = "anymal:CHECKPOINT, replay:FILE, or another of anymal-eval models"
        if plan.data.data not in (None, "demo") or plan.data.kind == "hub":
            raise WrongUse(f"--model is needed: {known}")
        if plan.data.data is None and plan.data.data_root != DataOptions.data_root:
            where = plan.data.data_root
            raise WrongUse(f"--data-root {where}: the demo model reads no files; give --model with it: {known}")
        plan = replace(plan, model=replace(plan.model, model=DEMO_MODEL), data=replace(plan.data, data="demo"))
    if plan.protocol is None and plan.model.model == DEMO_MODEL:
        plan = replace(plan, protocol=DEMO_PROTOCOL)
    return plan


def _spec(plan: EvaluationPlan) -> ModelSpec:
    model = plan.model.model
    if isinstance(model, str):
        return choose_model(model, plan.model.options, plan.model.shared)
    if plan.model.options or plan.model.shared or plan.execution.engine != "local":
        raise WrongUse("a model that is given as an object takes no options and runs in this process")
    assert model is not None  # noqa: S101  # the demo model stands in for None
    return given_model(model)
