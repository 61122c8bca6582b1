"""One task of two runs, example by example: which rows match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anymal_eval import metrics
from anymal_eval.json_rows import by_identity
from anymal_eval.metrics import Metric
from anymal_eval.scoring.verification import verify_task
from anymal_eval.store.manifest import TaskEntry
from anymal_eval.store.results import Measurement
from anymal_eval.store.score_rows import ScoreRows
from anymal_eval.store.stored import StoredRun

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anymal_eval.metrics import Floats, Groups


@dataclass(frozen=True, kw_only=True)
class TaskRun:
    """One task of one run.

    Attributes:
        rows: of ``scores.jsonl``, in the order of the data.
        statistics: by metric id, without the rows of failed requests.
        headline: the number that papers report; None where it was not computed.
        why_not: the reason for a missing headline.
    """

    name: str
    entry: TaskEntry
    identity: Mapping[str, Any]
    rows: ScoreRows
    statistics: Mapping[str, Floats]
    headline: Measurement | None
    why_not: str = ""

    @property
    def errors(self) -> int:
        """The number of failed requests."""
        return self.rows.column("state").count("error")

    @property
    def requested(self) -> int:
        """The number of examples requested."""
        return len(self.rows)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The matched rows of two runs, within the headline's group.

    Attributes:
        stats: statistics of the headline's metric, before and after, each (N, k).
        rows: of ``scores.jsonl``, before and after.
        matched: the number of examples that both runs have, also outside the headline's group.
        only_before, only_after: ids that the other run lacks, of the whole task.
    """

    stats: tuple[Floats, Floats]
    rows: tuple[ScoreRows, ScoreRows]
    clusters: Sequence[str]
    groups: Groups  # empty for a mean, which needs none
    matched: int
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]

    @property
    def missing(self) -> float:
        """The share of all examples that only one run has, in [0, 1]."""
        alone = len(self.only_before) + len(self.only_after)
        return alone / (alone + self.matched) if alone else 0.0


def task_run(run: StoredRun, task: str) -> TaskRun:
    """Read one task of a run.

    Raises:
        BadData: its files do not belong together.
    """
    rows = run.score_rows(task)
    statistics = run.statistics(task)
    verify_task(run, task, rows, statistics)
    headline = run.results.headline(task)
    why = next((item.why for item in run.results.not_computed if item.task == task), "it has no headline number")
    return TaskRun(
        name=task,
        entry=run.manifest.tasks[task],
        identity=run.manifest.identity,
        rows=rows,
        statistics=statistics,
        headline=headline,
        why_not="" if headline is not None else why,
    )


def metric_output(item: Measurement) -> tuple[Metric, int]:
    """The metric of a measurement, and the index of its output among the metric's outputs."""
    metric = metrics.get(item.rule)
    return metric, [output.name for output in metric.outputs].index(item.output or metric.outputs[0].name)


def pair(before: TaskRun, after: TaskRun) -> Pairs:
    """Match two runs by example id, or by what copies of a benchmark share. Both must have a headline and no errors."""
    headline = before.headline
    assert headline is not None  # noqa: S101  # the caller has refused such a run
    names = _keys(before, after)
    first, in_step = set(names[0]), names[0] == names[1]
    everything = [first, first if in_step else set(names[1])]
    are_same = everything[0] == everything[1]
    alone = [() if are_same else tuple(name for name in dict.fromkeys(own) if name not in other)
             for own, other in zip(names, reversed(everything), strict=True)]  # fmt: skip
    index = _index(before, after, names, in_step and len(first) == len(names[0]))
    rows = tuple(
        item.rows if len(found) == len(item.rows) and _in_order(found) else item.rows.take(found.tolist())
        for item, found in zip((before, after), index, strict=True)
    )
    return Pairs(
        stats=(before.statistics[headline.rule][index[0]], after.statistics[headline.rule][index[1]]),
        rows=(rows[0], rows[1]),
        clusters=rows[0].column("cluster"),
        groups={} if metrics.get(headline.rule).is_mean else groups_of(rows[0]),
        matched=len(everything[0]) - len(alone[0]),
        only_before=alone[0],
        only_after=alone[1],
    )


def _index(before: TaskRun, after: TaskRun, names: Sequence[Sequence[str]], in_step: bool) -> list[NDArray[np.intp]]:
    """The places of the matched examples within the headline's group, in both runs, in the order of the first.

    Args:
        before, after: the runs.
        names: of their examples.
        in_step: whether both have the same ones in the same order, each once.
    """
    group = (before.headline.group if before.headline else None) or {}
    if in_step and not group:
        return [np.arange(len(names[0]))] * 2
    places = [_places(item, keys, group) for item, keys in zip((before, after), names, strict=True)]
    both = [name for name in places[0] if name in places[1]]
    return [np.fromiter(map(place.__getitem__, both), dtype=np.intp, count=len(both)) for place in places]


def _in_order(places: NDArray[np.intp]) -> bool:
    return bool((places == np.arange(len(places))).all())


def groups_of(rows: ScoreRows) -> dict[str, NDArray[np.str_]]:
    """The labels (N,) of every grouping that all rows have."""
    groups: list[Mapping[str, Any]] = rows.column("groups")
    different = by_identity(groups).values()
    names = set.intersection(*(set(group) for group in different)) if groups else set()
    return {name: metrics.text_array([group[name] for group in groups]) for name in sorted(names)}


def _keys(before: TaskRun, after: TaskRun) -> list[list[str]]:
    """What pairs the rows of two runs: the key that copies of a benchmark share, where all rows have one; or the id."""
    key = "key" if all(None not in item.rows.column("key") for item in (before, after)) else "id"
    return [list(map(str, item.rows.column(key))) for item in (before, after)]


def _places(run: TaskRun, names: Sequence[str], group: Mapping[str, str]) -> dict[str, int]:
    if not group:
        return {name: at for at, name in enumerate(names)}
    return {
        names[at]: at
        for at, own in enumerate(run.rows.column("groups"))
        if all(own.get(key) == value for key, value in group.items())
    }
