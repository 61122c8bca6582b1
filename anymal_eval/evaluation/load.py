"""Step 2, load: the model, here or in Ray workers; then every request that it will get, built and hashed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from anymal_eval.errors import MissingData, WrongUse
from anymal_eval.evaluation.requests import TaskRequests, build_requests
from anymal_eval.evaluation.resolve import ResolvedEvaluation
from anymal_eval.models import Comparing, Expecting, Model, Question, Refusing, SelfTesting, split_address
from anymal_eval.protocols import Wording
from anymal_eval.sources.dataset import TaskDataset
from anymal_eval.steps import step
from anymal_eval.store.manifest import different_order

if TYPE_CHECKING:
    from anymal_eval.evaluation.console import Console


@dataclass(frozen=True, kw_only=True)
class LoadedEvaluation:
    """A loaded model and what it will be given."""

    resolved: ResolvedEvaluation
    model: Model
    ablate: str
    tasks: tuple[TaskRequests, ...]

    def without_media(self) -> LoadedEvaluation:
        """The same evaluation with every medium left out."""
        tasks = [build_requests(task.dataset, task.wording, task.protocol, "no-media") for task in self.tasks]
        return replace(self, ablate="no-media", tasks=tuple(tasks))

    def sample(self, number: int) -> LoadedEvaluation:
        """The same evaluation with the seed of its ``number``-th sample; the first has the plan's own."""
        given = self.resolved.plan.overrides
        overrides = replace(given, seed=(given.seed or 0) + number - 1)
        resolved = replace(
            self.resolved,
            plan=replace(self.resolved.plan, overrides=overrides),
            protocol=replace(self.resolved.protocol, overrides=overrides),
        )
        tasks = [
            build_requests(task.dataset, task.wording, replace(task.protocol, overrides=overrides), task.ablate)
            for task in self.tasks
        ]
        return replace(self, resolved=resolved, tasks=tuple(tasks))

    def close(self) -> None:
        """Close the model, where it is not its owner's to close."""
        self.resolved.release(self.model)


def load(resolved: ResolvedEvaluation, console: Console) -> LoadedEvaluation:
    """Load the model, and build the requests in its words.

    Args:
        resolved: what will be evaluated.
        console: where cleanings that are not available are named.

    Raises:
        BadCheckpoint, NeedsExtra: the model cannot be loaded.
        WrongUse: it cannot answer such requests.
    """
    plan = resolved.plan
    # Without the address of a server, which may hold a password until it is refused.
    named = split_address(plan.model.model)[0] if isinstance(plan.model.model, str) else resolved.spec.name
    with console.phase(f"loading {named}"), step("weights"):
        model = load_model(resolved, console)
    try:
        if plan.with_blind and isinstance(model, Expecting):
            raise WrongUse(
                f"--with-blind runs again without media, which the file of model {resolved.spec.name} cannot answer"
            )
        for skill, option in plan.overrides.needs.items():
            if skill not in getattr(model, "skills", ()):
                raise WrongUse(f"model {resolved.spec.name} does not take {option}")
        datasets = []
        for dataset in resolved.datasets:
            datasets.append(_expected_by(model, dataset))
            for note in getattr(model, "notes", ()):
                console.message(f"{dataset.task.name}: {note}")
        warn_of_cleaning(resolved, model.wording, console)
        for note in getattr(model, "provenance", {}).get("contradictions", ()):
            console.message(f"{resolved.spec.name}: the checkpoint contradicts itself: {note}")
        on_or_off, _, why = str(getattr(model, "provenance", {}).get("compiled_decoding", "")).partition(": ")
        if on_or_off == "off":
            console.message(f"{resolved.spec.name}: decoding is not compiled: {why}")
        with console.phase("building the prompts"), step("prompts"):
            tasks = [build_requests(dataset, model.wording, resolved.protocol, plan.ablate) for dataset in datasets]
        for remark in dict.fromkeys(filter(None, (order_remark(model, task) for task in tasks))):
            console.message(f"{resolved.spec.name}, protocol {resolved.protocol.name}: {remark}")
        _announce(model, tasks)
    except BaseException:
        resolved.release(model)
        raise
    return LoadedEvaluation(resolved=resolved, model=model, ablate=plan.ablate, tasks=tuple(tasks))


def load_model(resolved: ResolvedEvaluation, console: Console | None = None) -> Model:
    """Load the model here, or have Ray workers load it.

    Args:
        resolved: with the model.
        console: for the progress of a model whose loading takes minutes.

    Raises:
        NeedsExtra: Ray is not installed.
    """
    plan, execution = resolved.plan, resolved.plan.execution
    if execution.engine == "local":
        return resolved.spec.load(None if console is None else console.message)
    from anymal_eval.engine.ray_actor import ModelRecipe
    from anymal_eval.engine.ray_workers import Cluster, Workers

    cluster = Cluster(workers=execution.workers, gpus_per_worker=execution.gpus_per_worker, address=execution.address)
    typed = str(plan.model.model)
    return Workers(ModelRecipe(typed=typed, options=plan.model.options, common=plan.model.shared), cluster)


def warn_of_cleaning(resolved: ResolvedEvaluation, wording: Wording, console: Console) -> None:
    """Name each cleaning of the protocol that is left out because a package is not installed."""
    from anymal_eval.protocols.reading import cleaning_warning

    for dataset in resolved.datasets:
        why = cleaning_warning(dataset.task, wording, resolved.protocol)
        if why:
            console.message(why)


def order_remark(model: Model, task: TaskRequests) -> str:
    """What a reader must know where the prompts have their media elsewhere than those of training; else empty."""
    trained = getattr(model, "provenance", {}).get("prompt_orders", ())
    if not trained:
        return ""
    return "" if task.orders <= set(trained) else different_order(sorted(task.orders), trained)


def _announce(model: Model, tasks: Sequence[TaskRequests]) -> None:
    """Give the model what requests will be like, where it wants to refuse some or to test how it answers them."""
    if isinstance(model, Refusing):
        for task in tasks:
            model.refuse(task.requests[0])
    if isinstance(model, SelfTesting):
        model.self_test([request for task in tasks for request in task.requests.one_of_each_kind()])


def _expected_by(model: Model, dataset: TaskDataset) -> TaskDataset:
    """The examples that the model is to answer: a file of answers may hold only some of them."""
    if not isinstance(model, Expecting):
        return dataset
    if isinstance(model, Comparing):
        model.compare_with([Question(item.id, item.cluster, item.question, item.options) for item in dataset.examples])
    wanted = model.expect(dataset.all_ids)
    examples = tuple(item for item in dataset.examples if item.id in wanted)
    if not examples:
        raise MissingData(f"{dataset.task.name}: the file has no answer to any of its {len(dataset.examples)} examples")
    return replace(dataset, examples=examples)
