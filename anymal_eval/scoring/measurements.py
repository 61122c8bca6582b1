"""Measurements of one metric over one task: a row for ``results.json`` per output, over all examples and each group."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from anymal_eval import fingerprint, metrics
from anymal_eval.metrics import Metric
from anymal_eval.protocols.extraction import READ_YES_NO
from anymal_eval.records import Answer, Example, State
from anymal_eval.scoring.answer_notes import NOTED, NotedAnswers
from anymal_eval.statistics.intervals import Interval, interval
from anymal_eval.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anymal_eval.metrics import Floats
    from anymal_eval.store.manifest import TaskEntry


def measure(
    task: Task,
    entry: TaskEntry,
    metric: Metric,
    stats: Floats,
    noted: NotedAnswers,
) -> Iterator[dict[str, Any]]:
    """The rows of one metric: first over all examples, then over each group.

    Args:
        task: the benchmark.
        entry: the task's entry in the manifest.
        metric: the metric.
        stats: its statistics, (n, k), without the rows of failed requests.
        noted: all N examples of the run, with their answers.
    """
    examples, answers = noted.examples, noted.answers
    scored = [example for example, answer in zip(examples, answers, strict=True) if answer.state != "error"]
    clusters = metrics.text_array([example.cluster for example in scored])
    groups = group_labels(scored)
    context = metric.context(examples) if metric.context is not None else ""
    written = signature(metric, task, entry, context)
    headline = metrics.get(task.headline)
    headline_output = task.headline_output or headline.outputs[0].name
    for group in _groups(scored, dict(task.headline_group)):
        rows = _rows(groups, group, len(scored))
        found = interval(metric, stats[rows], clusters[rows].tolist(), {k: v[rows] for k, v in groups.items()})
        states, counted = _states(examples, answers, group), _noted(noted, group)
        for output, one in zip(metric.outputs, found, strict=True):
            is_headline = (metric.id, output.name, group) == (headline.id, headline_output, dict(task.headline_group))
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
                **counted,
                "group": group or None,
                "headline": is_headline,
            }


def group_labels(examples: Sequence[Example]) -> dict[str, NDArray[np.str_]]:
    """Each grouping's labels (N,); an empty label where an example has none."""
    names = sorted(set(itertools.chain.from_iterable(example.groups for example in examples)))
    return {name: metrics.text_array([example.groups.get(name, "") for example in examples]) for name in names}


def _expected(entry: TaskEntry, group: Mapping[str, str], states: Mapping[str, int]) -> int:
    # Official counts are of whole splits; for a group, all of its examples in the data are expected.
    return sum(states.values()) if group else entry.n_expected or entry.n_split


def _numbers(one: Interval) -> dict[str, Any]:
    # JSON has no NaN: an undefined value (an AUC of one class) is null.
    return {
        "value": _finite(one.value),
        "ci_low": _finite(one.low),
        "ci_high": _finite(one.high),
        "ci_method": one.method,
    }


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _groups(examples: Sequence[Example], headline_group: dict[str, str]) -> list[dict[str, str]]:
    """No group (all examples) first, then every value of every grouping; of a yes/no grouping only ``yes``."""
    found: list[dict[str, str]] = [{}]
    for name, labels in group_labels(examples).items():
        values = sorted(set(labels.tolist()) - {""})
        found.extend({name: value} for value in values if not (value == "no" and set(values) <= {"yes", "no"}))
    if headline_group and headline_group not in found:
        found.append(headline_group)
    return found


def _rows(groups: Mapping[str, NDArray[np.str_]], group: Mapping[str, str], size: int) -> NDArray[np.bool_]:
    rows = np.ones(size, dtype=np.bool_)
    for name, value in group.items():
        labels = groups[name]
        # numpy would shorten a value that ends in NUL, too.
        rows &= np.array([label == value for label in labels.tolist()]) if value.endswith("\0") else labels == value
    return rows


def _states(examples: Sequence[Example], answers: Sequence[Answer], group: Mapping[str, str]) -> dict[str, int]:
    counted = Counter(
        answer.state
        for example, answer in zip(examples, answers, strict=True)
        if group.items() <= dict(example.groups).items()
    )
    return {state: counted[state] for state in get_args(State)}


def _noted(noted: NotedAnswers, group: Mapping[str, str]) -> dict[str, int]:
    """How many answers are cut, follow thinking, or hold a template's leftovers; kinds of none are left out."""
    counted = Counter(
        what
        for example, notes in zip(noted.examples, noted.notes, strict=True)
        if notes and group.items() <= dict(example.groups).items()
        for what in notes
    )
    return {what: counted[what] for what in NOTED if counted[what]}


def signature(metric: Metric, task: Task, entry: TaskEntry, context: str) -> str:
    """The rule behind a number, on one line: two numbers are comparable where their signatures are equal.

    It names the metric and its version, protocol, split, data, cleaning and extraction. ``context`` is the metric's own
    part (CIDEr: the digest of its document frequencies).
    """
    parts = [metric.id, f"protocol {entry.protocol}", f"{entry.data} {entry.split}", *_reading(task, entry.reading)]
    parts += [_override(name, value) for name, value in sorted(entry.overrides.items())]
    if entry.limit is not None:
        parts.append(f"limit {entry.limit}")
    if entry.subset:
        parts.append(f"subset {entry.subset}")
    if entry.ablate != "none":
        parts.append(entry.ablate)
    if context:
        parts.append(context)
    if entry.remark:
        parts.append(entry.remark)
    return " | ".join(parts)


def _override(name: str, value: object) -> str:
    # A system message may be long, and may hold the separator of the parts.
    shown = fingerprint.of(value)[:8] if name == "system" else value
    return f"{name} {shown:g}" if isinstance(shown, float) else f"{name} {shown}"


def _reading(task: Task, reading: Mapping[str, Any]) -> list[str]:
    parts = [f"clean {reading['clean']}"]
    if task.kind == "choice" or (task.kind == "yes_no" and reading["extract"] in READ_YES_NO):
        parts.append(f"extract {reading['extract']}")
    if reading["unwrap"] != "none":
        parts.append(f"unwrap {reading['unwrap']}")
    if reading["length_normalise"]:
        parts.append("by token")
    return parts
