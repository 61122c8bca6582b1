"""What ``report`` shows of a training's folder: the runs of its checkpoints, and the scores in its log."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from anymal_eval import catalog, metrics
from anymal_eval.checksums import read_checked_json
from anymal_eval.errors import BadDefinition, MissingData, NotInCatalog
from anymal_eval.report.curve import RECORD, Series, evaluated_runs, is_training, logged_series
from anymal_eval.report.gallery.content import Training
from anymal_eval.task import Task

LONGEST_TITLE = 24


def with_trainings(folders: Sequence[Path]) -> tuple[list[Path], list[Training]]:
    """The runs among the folders, with those of the checkpoints of trainings in the place of the trainings.

    Args:
        folders: of runs and of trainings.

    Returns:
        The runs; and the trainings.

    Raises:
        MissingData: a training has no scores.
        BadData: a log or a record is damaged.
    """
    runs: list[Path] = []
    trainings: list[Training] = []
    for folder in folders:
        if not is_training(folder):
            runs.append(folder)
            continue
        evaluated = evaluated_runs(folder)
        series = [replace(one, name=_words(one)) for one in logged_series(folder)]
        if not evaluated and not series:
            raise MissingData(
                f"{folder} is a training without scores: no run of watch, and none of --eval-every in its log"
            )
        record, _ = read_checked_json(folder / RECORD)
        known = record if isinstance(record, dict) else {}
        trainings.append(Training(name=folder.resolve().name, series=series, record=known))
        runs += evaluated
    return runs, trainings


def title(task: str) -> str:
    """The benchmark's own name, with which a task file's first line begins; the task's where it has another form."""
    with suppress(NotInCatalog, BadDefinition, OSError):
        found, colon, _ = catalog.tasks().summary(task).partition(":")
        if colon and len(found) <= LONGEST_TITLE:
            return found
    return task


def _words(series: Series) -> str:
    """Task and metric of a series as people call them, such as ``VQAv2, VQA accuracy``."""
    task, _, output = series.name.partition(" ")
    name = output.replace("_", " ")
    with suppress(NotInCatalog, BadDefinition, OSError):
        headline = metrics.get(catalog.tasks().get(task, "TASK", Task).headline)
        name = next((each.usual_name for each in headline.outputs if each.name == output), name)
    return f"{title(task)}, {name}"
