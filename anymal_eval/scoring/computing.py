"""The metrics of a task: programs in Java start first and are waited for last, beside all other computation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from anymal_eval import metrics
from anymal_eval.errors import NeedsExtra, WrongUse
from anymal_eval.metrics import Metric, missing_requirement
from anymal_eval.records import Answer
from anymal_eval.scoring.answer_notes import NotedAnswers
from anymal_eval.scoring.columns import Columns
from anymal_eval.scoring.measurements import measure
from anymal_eval.task import Task

if TYPE_CHECKING:
    from anymal_eval.metrics import Floats
    from anymal_eval.store.manifest import TaskEntry

Phase = Callable[[str], AbstractContextManager[object]]
NOT_CHOSEN = "left out by --metrics"


@dataclass(frozen=True, kw_only=True)
class AnsweredTask:
    """A task with its answers, ready to be scored.

    Attributes:
        columns: of the answers.
        phase: shows what is done inside a ``with``.
    """

    task: Task
    entry: TaskEntry
    noted: NotedAnswers
    columns: Columns
    phase: Phase


@dataclass(frozen=True, kw_only=True)
class MetricScores:
    """One metric over a task.

    Attributes:
        statistics: (n, k), without the rows of failed requests; None where it was not computed.
        measurements: rows for ``results.json``.
        why_not: why it, or a value of it, is missing; empty where nothing is.
    """

    metric: Metric
    statistics: Floats | None = None
    measurements: tuple[dict[str, Any], ...] = ()
    why_not: str = ""


def compute(
    answered: AnsweredTask, chosen: Collection[str], between: Callable[[Sequence[MetricScores]], object]
) -> list[MetricScores]:
    """The task's metrics, in its order.

    Args:
        answered: the task.
        chosen: names or ids of the metrics to compute; all where empty.
        between: called with what is there while the programs are still at work.

    Raises:
        NeedsExtra: the headline needs what is not here, or its program failed.
    """
    task, examples, answers = answered.task, answered.noted.examples, answered.noted.answers
    found: dict[str, MetricScores] = {}
    later: dict[Metric, Callable[[], Floats]] = {}
    here: list[Metric] = []
    with metrics.java_programs():
        for name in task.metrics:
            metric = metrics.get(name)
            why = _missing(metric, answers) if is_chosen(metric, chosen) else NOT_CHOSEN
            if why is not None:
                found[metric.id] = MetricScores(metric=metric, why_not=why)
            elif metric.start is None:
                here.append(metric)
            else:
                try:
                    later[metric] = metric.start(examples, answers)
                except NeedsExtra as error:
                    found[metric.id] = _failed(task, metric, error)
        for metric in here:
            found[metric.id] = _measured(answered, metric, partial(metric.statistics, examples, answers))
        between(list(found.values()))
        for metric, wait in later.items():
            found[metric.id] = _measured(answered, metric, wait)
    return [found[metrics.get(name).id] for name in task.metrics]


def is_chosen(metric: Metric, chosen: Collection[str]) -> bool:
    """Whether a metric is among the chosen names or ids, of which there may be none."""
    return not chosen or metric.name in chosen or metric.id in chosen


def refuse_unknown(tasks: Sequence[Task], chosen: Collection[str]) -> None:
    """Make sure that every chosen metric is one of a task's, and that every task has one of them.

    Raises:
        WrongUse: a name fits none, or a task has none of them; the message lists what there is.
    """
    offered = {task.name: [metrics.get(name) for name in task.metrics] for task in tasks}
    for name in chosen:
        if not any(is_chosen(metric, [name]) for found in offered.values() for metric in found):
            every = sorted({metric.id for found in offered.values() for metric in found})
            raise WrongUse(f"--metrics {name}: {', '.join(offered)} has {', '.join(every)}")
    for task, found in offered.items():
        if not any(is_chosen(metric, chosen) for metric in found):
            own = ", ".join(metric.id for metric in found)
            raise WrongUse(f"--metrics names none of {task}; leave the task out, or add one of {own}")


def _measured(answered: AnsweredTask, metric: Metric, make: Callable[[], Floats]) -> MetricScores:
    task = answered.task
    try:
        with answered.phase(f"scoring {task.name}: {_title(metric)}"):
            stats = make()[answered.columns.scored]
    except NeedsExtra as error:
        return _failed(task, metric, error)
    with answered.phase(f"intervals of {task.name}: {_title(metric)}"):
        found = list(measure(task, answered.entry, metric, stats, answered.noted, answered.columns))
    undefined = [row for row in found if row["value"] is None and (row["headline"] or row is found[0])]
    why = ""
    if undefined:
        why = "it has no value on these examples (one class only, or none)"
        if undefined[0]["group"]:
            of = ", ".join(f"{key} {value}" for key, value in undefined[0]["group"].items())
            why = f"the headline, of {of}, has none here: there is no such example, or none was answered"
    rows = tuple(row for row in found if row["value"] is not None)
    return MetricScores(metric=metric, statistics=stats, measurements=rows, why_not=why)


def _failed(task: Task, metric: Metric, error: NeedsExtra) -> MetricScores:
    """An external program that fails on one caption must not cost the other metrics their values.

    Raises:
        NeedsExtra: it is the headline.
    """
    if metric.id == metrics.get(task.headline).id:
        raise error
    return MetricScores(metric=metric, why_not=str(error))


def _title(metric: Metric) -> str:
    return metric.outputs[0].usual_name if len(metric.outputs) == 1 else metric.name.upper()


def _missing(metric: Metric, answers: Sequence[Answer]) -> str | None:
    if "p_yes" in metric.needs:
        without = sum(answer.p_yes is None for answer in answers if answer.state != "error")
        if without:
            return f"{without} answers hold no probability of yes; the model must score both candidates"
    return missing_requirement(metric)
