"""Scores one task: answers from responses, statistics from answers, measurements from statistics."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anymal_eval import metrics
from anymal_eval.errors import IncompleteRun, NeedsExtra
from anymal_eval.metrics import Metric, missing_requirement
from anymal_eval.protocols.reading import Reading
from anymal_eval.records import Answer, Example, Response
from anymal_eval.scoring.answer_notes import NotedAnswers, answer_problems, read_answers
from anymal_eval.scoring.chance import chance
from anymal_eval.scoring.columns import Columns
from anymal_eval.scoring.measurements import measure
from anymal_eval.task import Task

if TYPE_CHECKING:
    from anymal_eval.store.manifest import TaskEntry

Floats = NDArray[np.float64]
Phase = Callable[[str], AbstractContextManager[object]]


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

    def rows(self, examples: Sequence[Example], responses: Mapping[str, Response]) -> Iterator[dict[str, Any]]:
        """The rows of ``scores.jsonl``, one an example.

        Args:
            examples: that were scored, in the same order.
            responses: to them, by id.
        """
        place = 0
        for example, answer, notes in zip(examples, self.answers, self.notes, strict=True):
            response = responses[example.id]
            row: dict[str, Any] = {"id": example.id, "cluster": example.cluster, "state": answer.state}
            row["raw"] = response.answer if response.option_scores is None else list(response.option_scores)
            row["answer"] = answer.text
            if answer.choice is not None:
                row["choice"] = answer.choice
            if answer.p_yes is not None:
                row["p_yes"] = answer.p_yes
            if example.key:
                row["key"] = example.key
            if example.groups:
                row["groups"] = dict(example.groups)
            row |= dict.fromkeys(sorted(notes), True)
            row["scores"] = {}
            if answer.state != "error":
                row["scores"] = {name: float(values[place]) for name, values in self.display.items()}
                place += 1
            yield row


def score(
    task: Task,
    entry: "TaskEntry",
    examples: Sequence[Example],
    responses: Mapping[str, Response],
    phase: Phase = nullcontext,
) -> Scores:
    """Score a task from its responses.

    Args:
        task: the benchmark.
        entry: the task's entry in the manifest.
        examples: the examples of the run, in the order of the data.
        responses: by id, one for each example.
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
    with metrics.shared_work():
        return _score(task, entry, examples, responses, phase)


def _score(
    task: Task, entry: "TaskEntry", examples: Sequence[Example], responses: Mapping[str, Response], phase: Phase
) -> Scores:
    reading = Reading(**entry.reading)
    noted = read_answers(examples, responses, reading)
    answers = tuple(noted.answers)
    columns = Columns(noted)
    scored = columns.scored
    problems = answer_problems(task.name, noted, reading, responses)
    if not entry.labelled:
        return _no_values(task, noted, scored, problems, f"split {entry.split} has no public labels; use export")
    if not scored.any():
        return _no_values(task, noted, scored, problems, "every answer is an error")
    statistics: dict[str, Floats] = {}
    display: dict[str, Floats] = {}
    rows: list[dict[str, Any]] = []
    left_out: list[dict[str, str]] = []
    for name in task.metrics:
        metric = metrics.get(name)
        why = _missing_requirement(metric, answers)
        if why is not None:
            left_out.append({"task": task.name, "metric": metric.id, "why": why})
            continue
        try:
            with phase(f"scoring {task.name}: {_titles(metric)}"):
                stats = metric.statistics(examples, answers)[scored]
        except NeedsExtra as error:
            # An external program that fails on one caption must not cost the other metrics their values.
            if name == task.headline:
                raise
            left_out.append({"task": task.name, "metric": metric.id, "why": str(error)})
            continue
        statistics[metric.id] = stats
        if metric.display is not None:
            display[metric.id] = metric.display(stats)
        with phase(f"intervals of {task.name}: {_titles(metric)}"):
            found = list(measure(task, entry, metric, stats, noted, columns))
        rows.extend(row for row in found if row["value"] is not None)
        undefined = [row for row in found if row["value"] is None and (row["headline"] or row is found[0])]
        if undefined:
            why = "it has no value on these examples (one class only, or none)"
            if undefined[0]["group"]:
                of = ", ".join(f"{key} {value}" for key, value in undefined[0]["group"].items())
                why = f"the headline, of {of}, has none here: there is no such example, or none was answered"
            left_out.append({"task": task.name, "metric": metric.id, "why": why})
    return Scores(
        answers=answers,
        notes=noted.notes,
        problems=problems,
        statistics=statistics,
        display=display,
        scored=scored,
        measurements=tuple(rows),
        not_computed=tuple(left_out),
        chance=_chance(task, examples, scored, headline_measured=bool(rows)),
    )


def _chance(
    task: Task, examples: Sequence[Example], scored: NDArray[np.bool_], *, headline_measured: bool
) -> tuple[dict[str, Any], ...]:
    metric = metrics.get(task.headline)
    rows = scored
    if wanted := dict(task.headline_group).items():
        rows = scored & np.array([wanted <= dict(example.groups).items() for example in examples], dtype=np.bool_)
    if not headline_measured or not rows.any():
        return ()
    output = task.headline_output or metric.outputs[0].name
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
    task: Task, noted: NotedAnswers, scored: NDArray[np.bool_], problems: tuple[dict[str, Any], ...], why: str
) -> Scores:
    rows = tuple({"task": task.name, "metric": metrics.get(name).id, "why": why} for name in task.metrics)
    return Scores(
        answers=tuple(noted.answers),
        notes=noted.notes,
        statistics={},
        display={},
        scored=scored,
        measurements=(),
        not_computed=rows,
        problems=problems,
    )


def _titles(metric: Metric) -> str:
    return metric.outputs[0].usual_name if len(metric.outputs) == 1 else metric.name.upper()


def _missing_requirement(metric: Metric, answers: Sequence[Answer]) -> str | None:
    if "p_yes" in metric.needs:
        without = sum(answer.p_yes is None for answer in answers if answer.state != "error")
        if without:
            return f"{without} answers hold no probability of yes; the model must score both candidates"
    return missing_requirement(metric)
