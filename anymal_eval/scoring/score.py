"""Scores one task: answers from responses, statistics from answers, measurements from statistics."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from anymal_eval import metrics
from anymal_eval.errors import IncompleteRun, NeedsExtra
from anymal_eval.metrics import Metric, missing_requirement
from anymal_eval.protocols.reading import Reading, read_response
from anymal_eval.records import Answer, Example, Response
from anymal_eval.scoring.chance import chance
from anymal_eval.scoring.signature import signature
from anymal_eval.statistics.intervals import Interval, interval
from anymal_eval.task import Task

if TYPE_CHECKING:
    from anymal_eval.store.manifest import TaskEntry

STATES = ("ok", "empty", "unparsable", "error")
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Everything that scoring one task gives.

    Attributes:
        answers: one an example, in the order of the data.
        statistics: by metric id, (n, k), rows of errored answers left out.
        display: by metric id, (n,), where a score an example has a meaning.
        scored: (N,), False for errored answers.
        measurements: rows for ``results.json``.
        not_computed: ``{"task", "metric", "why"}``, for the table.
        chance: ``{"task", "metric", "output", "how", "says", "value"}``: what guessing gives under the headline.
    """

    answers: tuple[Answer, ...]
    statistics: Mapping[str, Floats]
    display: Mapping[str, Floats]
    scored: NDArray[np.bool_]
    measurements: tuple[dict[str, Any], ...]
    not_computed: tuple[dict[str, str], ...]
    chance: tuple[dict[str, Any], ...] = ()


def score(task: Task, entry: "TaskEntry", examples: Sequence[Example], responses: Mapping[str, Response]) -> Scores:
    """Score a task from its responses.

    Args:
        task: the benchmark.
        entry: what the run's manifest says of it.
        examples: the examples asked, in the order of the data.
        responses: exactly one for each of them.

    Raises:
        IncompleteRun: an example has no response.
    """
    lacking = [example.id for example in examples if example.id not in responses]
    if lacking:
        raise IncompleteRun(
            f"{task.name}: {len(lacking)} of {len(examples)} examples have no response yet (first {lacking[0]}); "
            "give the same run command again to ask only those"
        )
    reading = Reading(**entry.reading)
    answers = tuple(read_response(responses[example.id], example, reading) for example in examples)
    scored = np.array([answer.state != "error" for answer in answers], dtype=np.bool_)
    if not entry.labelled:
        return _nothing(task, answers, scored, f"split {entry.split} has no public labels; use export")
    if not scored.any():
        return _nothing(task, answers, scored, "every answer is an error")
    statistics: dict[str, Floats] = {}
    display: dict[str, Floats] = {}
    rows: list[dict[str, Any]] = []
    left_out: list[dict[str, str]] = []
    for name in task.metrics:
        metric = metrics.get(name)
        why = _missing(metric, answers)
        if why is not None:
            left_out.append({"task": task.name, "metric": metric.id, "why": why})
            continue
        try:
            stats = metric.statistics(examples, answers)[scored]
        except NeedsExtra as error:
            # An outside program that breaks on one caption must not cost the other metrics their values.
            if name == task.headline:
                raise
            left_out.append({"task": task.name, "metric": metric.id, "why": str(error)})
            continue
        statistics[metric.id] = stats
        if metric.display is not None:
            display[metric.id] = metric.display(stats)
        found = list(_measure(task, entry, metric, stats, (examples, answers)))
        rows.extend(row for row in found if row["value"] is not None)
        without = [row for row in found if row["value"] is None and (row["headline"] or row is found[0])]
        if without:
            why = "it has no value on these examples (one class only, or none)"
            if without[0]["group"]:
                of = ", ".join(f"{key} {value}" for key, value in without[0]["group"].items())
                why = f"the headline, of {of}, has none here: there is no such example, or none was answered"
            left_out.append({"task": task.name, "metric": metric.id, "why": why})
    return Scores(
        answers=answers,
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
    inside = [dict(task.headline_group).items() <= dict(example.groups).items() for example in examples]
    kept = scored & np.array(inside, dtype=np.bool_)
    if not headline_measured or not kept.any():
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
        for row in chance(metric, examples, kept)
        if math.isfinite(row["values"][output])
    )


def _nothing(task: Task, answers: tuple[Answer, ...], scored: NDArray[np.bool_], why: str) -> Scores:
    said = tuple({"task": task.name, "metric": metrics.get(name).id, "why": why} for name in task.metrics)
    return Scores(answers=answers, statistics={}, display={}, scored=scored, measurements=(), not_computed=said)


def _missing(metric: Metric, answers: Sequence[Answer]) -> str | None:
    if "p_yes" in metric.needs:
        without = sum(answer.p_yes is None for answer in answers if answer.state != "error")
        if without:
            return f"{without} answers hold no probability of yes; the model must score both candidates"
    return missing_requirement(metric)


def _measure(
    task: Task,
    entry: "TaskEntry",
    metric: Metric,
    stats: Floats,
    both: tuple[Sequence[Example], Sequence[Answer]],
) -> Iterator[dict[str, Any]]:
    examples, answers = both
    kept = [example for example, answer in zip(examples, answers, strict=True) if answer.state != "error"]
    clusters = np.array([example.cluster for example in kept], dtype=np.str_)
    groups = {
        name: np.array([example.groups.get(name, "") for example in kept], dtype=np.str_) for name in _names(kept)
    }
    context = metric.context(examples) if metric.context is not None else ""
    written = signature(metric, task, entry, context)
    headline = metrics.get(task.headline)
    wanted = task.headline_output or headline.outputs[0].name
    for group in _groups(kept, stated=dict(task.headline_group)):
        rows = _rows(groups, group, len(kept))
        found = interval(metric, stats[rows], clusters[rows].tolist(), {k: v[rows] for k, v in groups.items()})
        states = _states(examples, answers, group)
        for output, one in zip(metric.outputs, found, strict=True):
            is_headline = metric.id == headline.id and output.name == wanted and group == dict(task.headline_group)
            yield {
                "task": task.name,
                "split": entry.split,
                "data": entry.data,
                "protocol": entry.protocol,
                "metric": metric.name,
                "version": metric.version,
                "output": output.name,
                "signature": written,
                **_numbers(one),
                "unit": output.unit,
                "better": output.better,
                "n": int(rows.sum()),
                "n_expected": _expected(entry, group, states),
                "states": states,
                "group": group or None,
                "headline": is_headline,
            }


def _expected(entry: "TaskEntry", group: Mapping[str, str], states: Mapping[str, int]) -> int:
    # Official counts are of whole splits: of a group it is expected what the data at hand holds of it.
    return sum(states.values()) if group else entry.n_expected or entry.n_split


def _numbers(one: Interval) -> dict[str, Any]:
    # JSON has no NaN: a value that does not exist (an AUC of one class) is null.
    return {
        "value": _finite(one.value),
        "ci_low": _finite(one.low),
        "ci_high": _finite(one.high),
        "ci_method": one.method,
    }


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _names(examples: Sequence[Example]) -> list[str]:
    return sorted(set(itertools.chain.from_iterable(example.groups for example in examples)))


def _groups(examples: Sequence[Example], stated: dict[str, str]) -> list[dict[str, str]]:
    """All of it first, then every value of every group; a yes/no group is told by its yes alone."""
    found: list[dict[str, str]] = [{}]
    for name in _names(examples):
        values = sorted({example.groups.get(name, "") for example in examples} - {""})
        found.extend({name: value} for value in values if not (value == "no" and set(values) <= {"yes", "no"}))
    if stated and stated not in found:
        found.append(stated)
    return found


def _rows(groups: Mapping[str, NDArray[np.str_]], group: Mapping[str, str], size: int) -> NDArray[np.bool_]:
    rows = np.ones(size, dtype=np.bool_)
    for name, value in group.items():
        rows &= groups[name] == value
    return rows


def _states(examples: Sequence[Example], answers: Sequence[Answer], group: Mapping[str, str]) -> dict[str, int]:
    inside: Callable[[Example], bool] = lambda example: all(  # noqa: E731
        example.groups.get(name) == value for name, value in group.items()
    )
    counted = Counter(answer.state for example, answer in zip(examples, answers, strict=True) if inside(example))
    return {state: counted.get(cast(Any, state), 0) for state in STATES}
