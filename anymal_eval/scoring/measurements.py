"""Measurements of one metric over one task: a row for ``results.json`` per output, over all examples and each group."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from anymal_eval import fingerprint, metrics
from anymal_eval.metrics import Metric
from anymal_eval.protocols.extraction import READ_YES_NO
from anymal_eval.scoring.answer_notes import NotedAnswers
from anymal_eval.scoring.columns import Columns
from anymal_eval.statistics.intervals import Interval, interval
from anymal_eval.task import Task

if TYPE_CHECKING:
    from anymal_eval.metrics import Floats
    from anymal_eval.store.manifest import TaskEntry


def headline_output_of(task: Task) -> str:
    """The output of its headline metric by which a task is judged: the first, unless the task names another."""
    return task.headline_output or metrics.get(task.headline).outputs[0].name


def measure(
    task: Task,
    entry: TaskEntry,
    metric: Metric,
    stats: Floats,
    noted: NotedAnswers,
    columns: Columns,
) -> Iterator[dict[str, Any]]:
    """The rows of one metric: first over all examples, then over each group.

    Args:
        task: the benchmark.
        entry: the task's entry in the manifest.
        metric: the metric.
        stats: its statistics, (n, k), without the rows of failed requests.
        noted: all N examples of the run, with their answers.
        columns: of these.
    """
    context = metric.context(noted.examples) if metric.context is not None else ""
    written = signature(metric, task, entry, context)
    headline = metrics.get(task.headline)
    headline_output = headline_output_of(task)
    for group in columns.groups(dict(task.headline_group)):
        rows = columns.rows(group)
        labels = {name: found[rows] for name, found in columns.labels.items()} if not metric.is_mean else {}
        found = interval(metric, stats[rows], columns.clusters[rows], labels)
        states, counted = columns.counts(group)
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
                "n": len(rows),
                "n_expected": _expected(entry, group, states),
                "states": states,
                **counted,
                "group": group or None,
                "headline": is_headline,
            }


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
