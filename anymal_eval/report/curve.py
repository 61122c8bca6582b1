"""Scores against training steps: from the runs of a training's checkpoints, and from the log of the training."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anymal_eval.errors import BadData, MissingData, listed
from anymal_eval.report.rendering import Cell, Table
from anymal_eval.report.run_table import SCALE, interval_text
from anymal_eval.store import digests
from anymal_eval.store.results import FILE, Results, read_results

EVALUATIONS = "evaluations"  # in a training's folder, where ``watch`` writes
RECORD = "training.json"
_LOG, _EVAL = "log.jsonl", "eval_"
_STEP = re.compile(r"(?:step|checkpoint)[-_]?(\d+)(?!.*(?:step|checkpoint)[-_]?\d)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A score at a step, x100; ``low`` and ``high`` are None where no interval is known."""

    step: int
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Series:
    """The points of one headline under the same conditions, by step.

    Attributes:
        name: task and metric.
        conditions: the signature of the measurement; of a log, its name.
    """

    name: str
    conditions: str
    points: tuple[Point, ...]


def read_curve(paths: Sequence[Path]) -> tuple[Series, ...]:
    """The series of trainings, of folders with runs, and of runs whose name or model ends in a step.

    Args:
        paths: a training's folder, with the runs of ``watch`` in ``evaluations``; a folder of runs; or runs.

    Raises:
        MissingData: there is no such folder, or nothing in it has a step.
        BadData: results are damaged.
    """
    found: dict[tuple[str, str], dict[int, Point]] = {}
    without: list[str] = []
    for path in paths:
        before = sum(map(len, found.values()))
        for key, point in _points(path, without):
            found.setdefault(key, {})[point.step] = point
        if sum(map(len, found.values())) == before:
            more = f"; without a step in their names: {listed(without)}" if without else ""
            raise MissingData(
                f"{path} holds no scores with steps: a training that watch or --eval-every evaluated, or runs named "
                f"step-N{more}"
            )
    return tuple(
        Series(name=name, conditions=conditions, points=tuple(points[step] for step in sorted(points)))
        for (name, conditions), points in found.items()
    )


def curve_table(series: Sequence[Series], title: str) -> Table:
    """A row a step and a column a series."""
    steps = sorted({point.step for one in series for point in one.points})
    by_step = [{point.step: point for point in one.points} for one in series]
    rows = tuple((Cell(f"{step:,}"), *(_cell(points.get(step)) for points in by_step)) for step in steps)
    names = labels(series)
    notes = ["Values and 95 % intervals x100."]
    if any(point.low is None for one in series for point in one.points):
        notes.append("Without an interval: from the training's log, or not estimable.")
    if len({one.name for one in series}) < len(series):
        notes += [f"{name}: {one.conditions}." for name, one in zip(names, series, strict=True)]
    return Table(title=title, columns=("step", *names), rows=rows, notes=tuple(notes))


def curve_data(series: Sequence[Series]) -> dict[str, Any]:
    """The same as JSON data, x100."""
    return {
        "schema": 1,
        "scale": SCALE,
        "series": [
            {"name": label, "conditions": one.conditions,
             "points": [{"step": point.step, "value": point.value, "low": point.low, "high": point.high, "n": point.n,
                         "source": point.source} for point in one.points]}
            for label, one in zip(labels(series), series, strict=True)
        ],
    }  # fmt: skip


def labels(series: Sequence[Series]) -> list[str]:
    """The names of the series, numbered where several have the same."""
    names = [one.name for one in series]
    return [
        f"{name} ({names[: at + 1].count(name)})" if names.count(name) > 1 else name for at, name in enumerate(names)
    ]


def is_training(folder: Path) -> bool:
    """Whether a folder is of a training, and of no run."""
    return (folder / RECORD).is_file() and not (folder / FILE).is_file()


def evaluated_runs(training: Path) -> list[Path]:
    """The runs of a training's checkpoints that ``watch`` evaluated, by their steps."""
    found = [each.parent for each in (training / EVALUATIONS).glob(f"*/{FILE}")]
    return sorted(found, key=lambda run: (step_of(run.name) or 0, run.name))


def logged_series(training: Path) -> list[Series]:
    """The scores of ``--eval-every`` in the log of a training, by task and output; none without a log.

    Raises:
        BadData: a line of the log is damaged.
    """
    found: dict[tuple[str, str], dict[int, Point]] = {}
    for key, point in _of_log(training / _LOG):
        found.setdefault(key, {})[point.step] = point
    return [
        Series(name=name, conditions=conditions, points=tuple(points[step] for step in sorted(points)))
        for (name, conditions), points in found.items()
    ]


def step_of(text: str) -> int | None:
    """The step that a name ends in.

    >>> step_of("anymal:step-200"), step_of("checkpoint-50"), step_of("anymal:7b")
    (200, 50, None)
    """
    found = _STEP.search(text)
    return int(found[1]) if found else None


def _points(path: Path, without: list[str]) -> Iterator[tuple[tuple[str, str], Point]]:
    if not path.is_dir():
        raise MissingData(f"{path}: there is no such folder")
    if (path / FILE).is_file():
        yield from _of_run(path, without)
        return
    if is_training(path):
        yield from _of_log(path / _LOG)
    for folder in (path, path / EVALUATIONS):
        if folder.is_dir():
            for run in sorted(each.parent for each in folder.glob(f"*/{FILE}")):
                yield from _of_run(run, without)


def _of_run(root: Path, without: list[str]) -> Iterator[tuple[tuple[str, str], Point]]:
    results = read_results(root)
    digests.verify_where_written(root, FILE)
    step = _step(root, results)
    if step is None:
        without.append(str(root))
        return
    for item in results.measurements:
        if item.headline:
            ends = (None, None) if item.ci_low is None or item.ci_high is None else (item.ci_low, item.ci_high)
            low, high = (None if end is None else SCALE * end for end in ends)
            point = Point(step=step, value=SCALE * item.value, low=low, high=high, n=item.n, source=str(root))
            yield (f"{item.task} {item.output or item.metric}", item.signature), point


def _step(root: Path, results: Results) -> int | None:
    names = (root.name, results.run.name, results.run.model)
    return next((step for name in names if (step := step_of(name)) is not None), None)


def _of_log(file: Path) -> Iterator[tuple[tuple[str, str], Point]]:
    """The scores of ``--eval-every``; a line that is not whole is being written."""
    if not file.is_file():
        return
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n")):
        if _EVAL not in line or not line.endswith("}"):
            continue
        try:
            row: Mapping[str, Any] = json.loads(line)
            scores = {key: float(value) for key, value in row.items() if key.startswith(_EVAL) and "/" in key}
            step = int(row["step"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadData(f"{file}, line {number + 1}: {error}") from None
        for key, value in scores.items():
            task, _, output = key.removeprefix(_EVAL).partition("/")
            if output != "errors" and math.isfinite(value):
                yield (f"{task} {output}", "the log of the training"), Point(step=step, value=value, source=str(file))


def _cell(point: Point | None) -> Cell:
    if point is None:
        return Cell("")
    ends = ""
    if point.low is not None and point.high is not None:
        ends = f" {interval_text(point.low / SCALE, point.high / SCALE)}"
    return Cell(f"{point.value:.2f}{ends}")
