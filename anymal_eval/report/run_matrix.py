"""Any number of runs side by side: tasks x runs, each score with its interval and a verdict against one of the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anymal_eval.errors import OtherRun
from anymal_eval.report.policy import Policy
from anymal_eval.report.regression import Check, TaskCheck, check
from anymal_eval.report.rendering import Cell, Table, Tone
from anymal_eval.report.run_table import SCALE, interval_text
from anymal_eval.store.results import Measurement
from anymal_eval.store.stored import StoredRun

TONES: Mapping[str, Tone] = {"better": "better", "worse": "worse", "cannot tell": "unsure", "not comparable": "unsure"}
_NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True, kw_only=True)
class MatrixCell:
    """One run on one task.

    Attributes:
        headline: None where the run does not have it.
        verdict: against the base: better, same, worse, cannot tell, not comparable; empty for the base itself and
            where one of the two does not have the task.
        why: the reason of the verdict.
        check: the comparison; None without one.
    """

    headline: Measurement | None
    verdict: str = ""
    why: str = ""
    check: TaskCheck | None = None


@dataclass(frozen=True, kw_only=True)
class RunMatrix:
    """Runs side by side.

    Attributes:
        labels: of the runs, which all differ.
        base: the number of the run that the others are compared with.
        cells: by task, in the order of the runs.
        alpha: of the tests, after Holm over the tasks of one run.
    """

    runs: tuple[StoredRun, ...]
    labels: tuple[str, ...]
    base: int
    cells: Mapping[str, tuple[MatrixCell, ...]]
    alpha: float

    @property
    def is_demo(self) -> bool:
        """Whether any of it is over the demo world."""
        return any(run.results.is_demo for run in self.runs)


def run_matrix(runs: Sequence[StoredRun], base: int = 0) -> RunMatrix:
    """Compare runs with one of them, as ``check`` does: example by example, and only under the same conditions.

    Args:
        runs: opened and verified.
        base: the number of the one that the others are compared with.

    Raises:
        BadData: a file is inconsistent.
    """
    checks = [_checked(run, runs[base]) if number != base else None for number, run in enumerate(runs)]
    tasks = dict.fromkeys(task for run in runs for task in run.manifest.tasks)
    return RunMatrix(
        runs=tuple(runs),
        labels=_labels(runs),
        base=base,
        cells={task: tuple(_cell(run, task, one) for run, one in zip(runs, checks, strict=True)) for task in tasks},
        alpha=Policy().alpha,
    )


def matrix_table(matrix: RunMatrix) -> Table:
    """A row a task and a column a run: the score x100, its interval, and the verdict; reasons in footnotes."""
    reasons: dict[str, str] = {}
    rows = []
    for task, cells in matrix.cells.items():
        shown = [Cell(_heading(task, cells))]
        for label, cell in zip(matrix.labels, cells, strict=True):
            shown.append(_shown(cell, _mark(reasons, f"{task}, {label}: {cell.why}") if _is_open(cell) else ""))
        rows.append(tuple(shown))
    base = matrix.labels[matrix.base]
    notes = [
        f"Values and 95 % intervals x100; verdicts against {base}, paired by example, after Holm over the tasks of "
        f"each run, alpha {matrix.alpha:g}.",
        *(f"({letter}) {text}." for text, letter in reasons.items()),
    ]
    demo = ", demo data" if matrix.is_demo else ""
    labels = [f"{label} (base)" if at == matrix.base else label for at, label in enumerate(matrix.labels)]
    title = f"{len(matrix.runs)} runs against {base}{demo}"
    return Table(title=title, columns=("task", *labels), rows=tuple(rows), notes=tuple(notes))


def matrix_data(matrix: RunMatrix) -> dict[str, Any]:
    """The same as JSON data; values are in the metrics' own units."""
    return {
        "schema": 1,
        "against": matrix.labels[matrix.base],
        "alpha": matrix.alpha,
        "demo": matrix.is_demo,
        "runs": [{"label": label, "folder": str(run.root), "name": run.manifest.run,
                  "model": run.results.run.label}
                 for run, label in zip(matrix.runs, matrix.labels, strict=True)],
        "tasks": [{"task": task, "cells": [{"run": label, **_cell_data(cell)}
                                           for label, cell in zip(matrix.labels, cells, strict=True)]}
                  for task, cells in matrix.cells.items()],
    }  # fmt: skip


def _checked(run: StoredRun, base: StoredRun) -> Check | None:
    try:
        return check(run, dict.fromkeys(base.manifest.tasks, base), base.manifest.run, Policy(), {})
    except OtherRun:  # they have no task in common
        return None


def _cell(run: StoredRun, task: str, found: Check | None) -> MatrixCell:
    headline = run.results.headline(task)
    item = next((each for each in found.tasks if each.task == task), None) if found is not None else None
    if item is None or item.word == "not compared" or task not in run.manifest.tasks:
        return MatrixCell(headline=headline)
    word = _NOT_COMPARABLE if item.word == "refused" else item.word
    return MatrixCell(headline=headline, verdict=word, why=item.why, check=item)


def _labels(runs: Sequence[StoredRun]) -> tuple[str, ...]:
    """The runs' names; their folders where two have the same, and a number where even these are equal."""
    names = [run.manifest.run for run in runs]
    names = [str(run.root) if names.count(name) > 1 else name for run, name in zip(runs, names, strict=True)]
    return tuple(f"{name} #{at + 1}" if names.count(name) > 1 else name for at, name in enumerate(names))


def _heading(task: str, cells: Sequence[MatrixCell]) -> str:
    found = list(dict.fromkeys(cell.headline.label for cell in cells if cell.headline is not None))
    return f"{task}, {found[0]}" if len(found) == 1 else task


def _is_open(cell: MatrixCell) -> bool:
    return cell.verdict in (_NOT_COMPARABLE, "cannot tell")


def _shown(cell: MatrixCell, mark: str) -> Cell:
    if cell.headline is None:
        return Cell("", tone="quiet")
    item = cell.headline
    parts = [f"{SCALE * item.value:.2f}", interval_text(item.ci_low, item.ci_high), cell.verdict, mark]
    return Cell(" ".join(filter(None, parts)), bold=cell.verdict == "worse", tone=TONES.get(cell.verdict, ""))


def _mark(reasons: dict[str, str], text: str) -> str:
    """The letter of a footnote in brackets; equal texts share one."""
    number = len(reasons)
    letters = chr(ord("a") + number % 26) * (number // 26 + 1)
    return f"({reasons.setdefault(text, letters)})"


def _cell_data(cell: MatrixCell) -> dict[str, Any]:
    item = cell.headline
    data: dict[str, Any] = {"verdict": cell.verdict or None, "why": cell.why or None}
    if item is None:
        return {**data, "value": None}
    data |= {"metric": item.label, "value": item.value, "ci_low": item.ci_low, "ci_high": item.ci_high, "n": item.n,
             "unit": item.unit, "signature": item.signature}  # fmt: skip
    one = cell.check.comparison if cell.check is not None else None
    if one is None or cell.check is None:
        return data
    numbers = {"difference": one.difference, "low": one.low, "high": one.high, "p": cell.check.p}
    return data | {key: None if value != value else value for key, value in numbers.items()}
