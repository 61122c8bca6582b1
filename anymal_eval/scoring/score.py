"""Scores one task: answers from responses, statistics from answers, measurements from statistics."""

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anymal_eval import metrics
from anymal_eval.errors import IncompleteRun
from anymal_eval.metrics import Metric
from anymal_eval.protocols.reading import Reading
from anymal_eval.records import Answer, Example, Response
from anymal_eval.scoring.answer_notes import NotedAnswers, answer_problems, read_answers
from anymal_eval.scoring.chance import chance
from anymal_eval.scoring.columns import Columns
from anymal_eval.scoring.computing import AnsweredTask, MetricScores, Phase, compute, is_chosen
from anymal_eval.scoring.measurements import headline_output_of
from anymal_eval.task import Task

if TYPE_CHECKING:
    from anymal_eval.store.manifest import TaskEntry

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The result of scoring one task.

    Attributes:
        answers: one per example, in the order of the data.
        notes: of each answer, as :func:`notes_of` gives them.
        statistics: by metric id, (n, k), without the rows of failed requests.
        display: by metric id, (n,): the score of each example, where the metric defines one.
        scored: (N,), False for failed requests.
        measurements: rows for ``results.json``.
        not_computed: rows ``{"task", "metric", "why"}``, for the table.
        problems: rows of :func:`answer_problems`: empty, unparsable, cut, thinking, template.
        chance: rows ``{"task", "metric", "output", "how", "says", "value"}``: the headline metric of guessed answers.
    """

    answers: tuple[Answer, ...]
    notes: Sequence[frozenset[str]]
    statistics: Mapping[str, Floats]
    display: Mapping[str, Floats]
    scored: NDArray[np.bool_]
    measurements: tuple[dict[str, Any], ...]
    not_computed: tuple[dict[str, str], ...]
    chance: tuple[dict[str, Any], ...] = ()
    problems: tuple[dict[str, Any], ...] = ()

    @property
    def result_rows(self) -> Mapping[str, Sequence[Any]]:
        """The rows for ``results.json``, by their key in it."""
        return {
            "measurements": self.measurements,
            "not_computed": self.not_computed,
            "chance": self.chance,
            "problems": self.problems,
        }


def score(
    task: Task,
    entry: "TaskEntry",
    examples: Sequence[Example],
    responses: Mapping[str, Response],
    *,
    chosen: Collection[str] = (),
    phase: Phase = nullcontext,
) -> Scores:
    """Score a task from its responses.

    Args:
        task: the benchmark.
        entry: the task's entry in the manifest.
        examples: the examples of the run, in the order of the data.
        responses: by id, one for each example.
        chosen: names or ids of the metrics to compute; all of the task's where empty.
        phase: shows what is done inside a ``with``.

    Raises:
        IncompleteRun: an example has no response.
    """
    lacking = [example.id for example in examples if example.id not in responses]
    if lacking:
        raise IncompleteRun(
            f"{task.name}: {len(lacking)} of {len(examples)} examples have no response yet (first {lacking[0]}); "
            "the same run command requests only those"
        )
    reading = Reading(**entry.reading)
    noted = read_answers(examples, responses, reading)
    columns = Columns.of(noted)
    problems = answer_problems(task.name, noted, reading, responses)
    if not entry.labelled:
        return _no_values(task, noted, columns, problems, f"split {entry.split} has no public labels; use export")
    if not columns.scored.any():
        return _no_values(task, noted, columns, problems, "every answer is an error")
    guessed: list[tuple[dict[str, Any], ...]] = []

    def guess(known: Sequence[MetricScores]) -> None:
        if not guessed and any(one.measurements for one in known):
            guessed.append(_chance(task, examples, columns.scored, chosen))

    answered = AnsweredTask(task=task, entry=entry, noted=noted, columns=columns, phase=phase)
    with metrics.shared_work():
        found = compute(answered, chosen, guess)
        guess(found)
    computed = {one.metric.id: (one.metric, one.statistics) for one in found if one.statistics is not None}
    return Scores(
        answers=tuple(noted.answers),
        notes=noted.notes,
        problems=problems,
        statistics={name: stats for name, (_, stats) in computed.items()},
        display={name: metric.display(stats) for name, (metric, stats) in computed.items() if metric.display},
        scored=columns.scored,
        measurements=tuple(row for one in found for row in one.measurements),
        not_computed=tuple(_not_computed(task, one.metric, one.why_not) for one in found if one.why_not),
        chance=guessed[0] if guessed else (),
    )


def _not_computed(task: Task, metric: Metric, why: str) -> dict[str, str]:
    return {"task": task.name, "metric": metric.id, "why": why}


def _chance(
    task: Task, examples: Sequence[Example], scored: NDArray[np.bool_], chosen: Collection[str]
) -> tuple[dict[str, Any], ...]:
    metric = metrics.get(task.headline)
    rows = scored
    if wanted := dict(task.headline_group).items():
        rows = scored & np.array([wanted <= dict(example.groups).items() for example in examples], dtype=np.bool_)
    if not rows.any() or not is_chosen(metric, chosen):
        return ()
    output = headline_output_of(task)
    return tuple(
        {
            "task": task.name,
            "metric": metric.id,
            "output": output,
            "how": row["how"],
            "says": row["says"],
            "value": row["values"][output],
        }
        for row in chance(metric, examples, rows)
        if math.isfinite(row["values"][output])
    )


def _no_values(
    task: Task, noted: NotedAnswers, columns: Columns, problems: tuple[dict[str, Any], ...], why: str
) -> Scores:
    rows = tuple(_not_computed(task, metrics.get(name), why) for name in task.metrics)
    return Scores(
        answers=tuple(noted.answers),
        notes=noted.notes,
        statistics={},
        display={},
        scored=columns.scored,
        measurements=(),
        not_computed=rows,
        problems=problems,
    )
