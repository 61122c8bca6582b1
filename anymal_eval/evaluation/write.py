"""Step 5, write: ``results.json``, its digests, and the tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from anymal_eval.evaluation.requests import TaskRequests
from anymal_eval.evaluation.score import ScoredRun
from anymal_eval.report.run_table import write_tables
from anymal_eval.store import digests
from anymal_eval.store.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run that is whole on disk.

    Attributes:
        root: its folder.
        table: the short table, in Markdown.
        errors: how many answers are errors.
        requests: of each task, by its name; empty where the run was only scored.
    """

    root: Path
    manifest: Manifest
    table: str
    errors: int
    requests: Mapping[str, TaskRequests] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0, or 2 where answers are errors."""
        return 2 if self.errors else 0


def write(scored: ScoredRun) -> FinishedRun:
    """Write what a scored run measured; tasks that the folder holds from before stay in it."""
    folder, manifest = scored.generated.folder, scored.generated.manifest
    folder.write_results(manifest, {task: scores.result_rows for task, scores in scored.scores.items()})
    table = write_tables(folder.root)
    digests.write(folder.root, manifest.tasks, scored=scored.scores)
    return FinishedRun(root=folder.root, manifest=manifest, table=table, errors=scored.errors)
