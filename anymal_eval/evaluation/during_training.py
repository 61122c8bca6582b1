"""Evaluation of a network while it is trained: some tasks' headlines, from the network as it is in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anymal_eval import metrics, protocols
from anymal_eval.engine import EngineSettings
from anymal_eval.engine.clock import Clock
from anymal_eval.evaluation.dataset import reported_split
from anymal_eval.evaluation.generate import run_requests, task_entry
from anymal_eval.evaluation.plan import names_of
from anymal_eval.evaluation.requests import TaskRequests, build_requests
from anymal_eval.evaluation.resolve import choose_tasks, require_kinds
from anymal_eval.report.run_table import SCALE
from anymal_eval.scoring.computing import is_chosen, refuse_unknown
from anymal_eval.scoring.measurements import headline_output_of
from anymal_eval.scoring.score import score
from anymal_eval.sources.dataset import DataOptions, load_dataset, require_media
from anymal_eval.sources.load import Kind
from anymal_eval.task import Task

if TYPE_CHECKING:
    from anymal_eval.anymal.model import AnyMAL
    from anymal_eval.models import Model
    from anymal_eval.records import Response

HeadlineEvaluator = Callable[["AnyMAL", int], Mapping[str, float]]
Better = Literal["higher", "lower"]
_NETWORK = "--eval-tasks: this network"


@dataclass(frozen=True, kw_only=True)
class TrainingEvaluation:
    """What ``train`` evaluates every so many steps; see ``cli/train.py`` for each.

    ``metrics`` are computed beside the headlines, which need no Java, and without which nothing else is.
    """

    tasks: str
    metrics: str = ""
    protocol: str = protocols.DEFAULT
    data: Kind = "demo"
    data_root: Path = Path("data")
    limit: int | None = 200
    features: Path | None = None
    media_timeout: float = 60.0
    media_budget: float = 1.0


def evaluated_outputs(options: TrainingEvaluation, accepts: Collection[str]) -> Mapping[str, Better]:
    """Which way is better, by ``task/output`` of all that :func:`headline_evaluator` gives, each task's headline first.

    Raises:
        NotInCatalog, WrongUse: as :func:`headline_evaluator`.
    """
    found: dict[str, Better] = {}
    further = names_of(options.metrics)
    for task in _tasks(options, accepts):
        headline, shown = metrics.get(task.headline), headline_output_of(task)
        others = [each for each in map(metrics.get, task.metrics) if each.id != headline.id]
        outputs = [each for each in headline.outputs if each.name == shown]
        outputs += [each for metric in others if further and is_chosen(metric, further) for each in metric.outputs]
        found |= {f"{task.name}/{each.name}": each.better for each in outputs}
    return found


def headline_evaluator(options: TrainingEvaluation, accepts: Collection[str]) -> HeadlineEvaluator:
    """A function from a network and its step to headlines by ``task/output``, x100 as in tables.

    The data are read now, so that what is missing is an error before training starts. A task with answers that are
    errors also gives ``task/errors``.

    Args:
        options: which tasks, on which data.
        accepts: the media that the network has encoders for.

    Raises:
        NotInCatalog, MissingData, BadData: a task or its data are not there.
        WrongUse: a task of a medium that the network does not take.
    """
    tasks = _tasks(options, accepts)
    data = DataOptions(data=options.data, data_root=options.data_root, limit=options.limit)
    protocol = protocols.get(options.protocol)
    splits = [reported_split(task, data, protocol) for task in tasks]
    datasets = [require_media(load_dataset(task, own)) for task, own in zip(tasks, splits, strict=True)]
    for dataset in datasets:
        require_kinds(dataset, accepts, _NETWORK)
    further = names_of(options.metrics)
    if further:
        refuse_unknown(tasks, (*further, *(task.headline for task in tasks)))
    requests: list[TaskRequests] = []

    def evaluate(network: AnyMAL, step: int) -> Mapping[str, float]:
        del step
        from anymal_eval.models import anymal

        own = anymal.Options(
            checkpoint="",
            features=str(options.features or ""),
            media_timeout=options.media_timeout,
            media_budget=options.media_budget,
        )
        model = anymal.in_memory(network, own)
        requests[:] = requests or [build_requests(one, model.wording, protocol, "none") for one in datasets]
        try:
            return {name: value for task in requests for name, value in _headlines(model, task, further).items()}
        finally:
            model.close()

    return evaluate


def _tasks(options: TrainingEvaluation, accepts: Collection[str]) -> list[Task]:
    tasks, _ = choose_tasks(names_of(options.tasks), accepts, (), _NETWORK, options.data)
    return tasks


def _headlines(model: Model, task: TaskRequests, further: Sequence[str]) -> dict[str, float]:
    responses: dict[str, Response] = {}

    def sink(batch: Sequence[Response]) -> None:
        responses.update((response.id, response) for response in batch)

    run_requests(task.requests, model, sink, EngineSettings(), Clock())
    own, examples = task.dataset.task, task.dataset.examples
    scores = score(own, task_entry(task), examples, responses, chosen=(own.headline, *further))
    errors = sum(answer.state == "error" for answer in scores.answers)
    headline = metrics.get(own.headline).id
    headlines = {
        f"{own.name}/{row['output']}": SCALE * float(row["value"])
        for row in sorted(scores.measurements, key=lambda row: not row["headline"])  # the headline first
        if row["headline"] or (row["group"] is None and f"{row['metric']}@{row['version']}" != headline)
    }
    return {**headlines, **({f"{own.name}/errors": float(errors)} if errors else {})}
