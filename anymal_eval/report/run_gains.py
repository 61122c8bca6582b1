"""The relative gain of one measured row over another, paired by example where both runs lie here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from anymal_eval import metrics
from anymal_eval.published import Column
from anymal_eval.report.comparison import find, measured_lines
from anymal_eval.report.pairing import TaskRun, differences, pair, task_run
from anymal_eval.statistics import gain as gains
from anymal_eval.statistics.gain import Gain
from anymal_eval.store.digests import FILE
from anymal_eval.store.results import Measurement, Results
from anymal_eval.store.stored import StoredRun, open_run

Paired = Mapping[tuple[str, str], Gain]


def paired_gains(folders: Sequence[Path], runs: Sequence[Results], against: str, columns: Sequence[Column]) -> Paired:
    """The gains over one of the runs, by row label and column key.

    A pair is left out where it cannot be made: another rule, other data or prompts, errors, or a folder that holds
    results alone.

    Args:
        folders: where ``runs`` lie, in the same order.
        runs: what was measured.
        against: the label of the row that the others are held against.
        columns: of the table.

    Raises:
        BadData: a run was edited after it was scored.
    """
    labels = [line.label for line in measured_lines(runs, columns)]
    if against not in labels:
        return {}
    opened = [open_run(folder) if (folder / FILE).is_file() else None for folder in folders]
    at = labels.index(against)
    found = {}
    for column in columns:
        before = _task(opened[at], runs[at], column)
        for place, label in enumerate(labels):
            after = _task(opened[place], runs[place], column) if before is not None and place != at else None
            made = _gain(before, after) if before is not None and after is not None else None
            if made is not None:
                found[label, column.key] = made
    return found


def _task(run: StoredRun | None, results: Results, column: Column) -> TaskRun | None:
    item: Measurement | None = find(results, column)
    if run is None or item is None:
        return None
    return replace(task_run(run, item.task), headline=item)


def _gain(before: TaskRun, after: TaskRun) -> Gain | None:
    headline = before.headline
    if headline is None or before.errors or after.errors or differences(before, after):
        return None
    pairs = pair(before, after)
    if pairs.missing or not pairs.rows[0]:
        return None
    metric = metrics.get(headline.rule)
    at = [output.name for output in metric.outputs].index(headline.output or metric.outputs[0].name)
    return gains.paired(metric, pairs.stats, pairs.clusters, pairs.groups)[at]
