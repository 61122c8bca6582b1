"""Exports of a run in formats of other tools: each takes an ``Exported`` and returns file names with their text."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anymal_eval.errors import IncompleteRun, OtherRun
from anymal_eval.records import Example
from anymal_eval.store.manifest import TaskEntry
from anymal_eval.store.results import Measurement, Results
from anymal_eval.store.stored import StoredRun


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A run to export.

    Attributes:
        run: as ``open_run`` returns it.
        tasks: the tasks to write.
        examples: reads the examples of a task by id; only formats that show questions call it.
        organization: who ran the evaluation, for the formats that name it.
        relationship: of the organization to the model's makers, in the terms of Every Eval Ever.
        date: when the run was scored.
    """

    run: StoredRun
    tasks: tuple[str, ...]
    examples: Callable[[str], Mapping[str, Example]] = field(repr=False)
    organization: str = "unknown"
    relationship: str = "other"
    date: datetime.datetime

    @property
    def results(self) -> Results:
        """The run's results."""
        return self.run.results

    @property
    def slug(self) -> str:
        """The model's name, safe in a path or a URL."""
        return slug(self.results.run.model)

    def entry(self, task: str) -> TaskEntry:
        """The manifest's entry of a task."""
        return self.run.manifest.tasks[task]

    def headline(self, task: str) -> Measurement:
        """The number that papers report.

        Raises:
            OtherRun: it was not computed.
        """
        item = self.results.headline(task)
        if item is None:
            raise OtherRun(f"{self.run.root}: {task} has no headline number to export")
        return item

    def rows(self, task: str, *, whole: bool) -> list[Mapping[str, Any]]:
        """The rows of ``scores.jsonl``.

        Args:
            task: its name.
            whole: refuse a task with errors.

        Raises:
            IncompleteRun: the task has errors.
        """
        rows = self.run.scores(task)
        errors = [row["id"] for row in rows if row["state"] == "error"]
        if whole and errors:
            raise IncompleteRun(
                f"{self.run.root}: {len(errors):,} answers to {task} are errors, the first is {errors[0]}; "
                "an export holds an answer to every example"
            )
        return rows


def scored_at(root: Path) -> datetime.datetime:
    """The time at which a run was scored, in UTC, to the second."""
    seconds = int((root / "results.json").stat().st_mtime)
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def slug(text: str) -> str:
    """Letters, digits, dots and single hyphens.

    >>> slug("replay:my answers.json")
    'replay-my-answers.json'
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.") or "unnamed"


def size(item: Measurement) -> str:
    """``n of N``, and the official size of the split."""
    official = f" (official {item.n_expected:,})" if item.n_expected not in (None, item.requested) else ""
    return f"n {item.n:,} of {item.requested:,}{official}"
