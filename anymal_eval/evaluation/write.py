"""Step 5, write: ``results.json``, its digests, and the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from anymal_eval.evaluation.load import TaskRequests
from anymal_eval.evaluation.score import ScoredRun
from anymal_eval.report.rendering import render
from anymal_eval.report.run_table import files_of, screen_table
from anymal_eval.store import digests
from anymal_eval.store.atomic import write_atomic
from anymal_eval.store.manifest import Manifest
from anymal_eval.store.results import FILE, Measurement, read_results

BLIND = "no-media"  # inside a run folder, the same run without media
SHOWN_GROUPS = 8  # a group of more values than this is in the files and not on the screen


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
    digests.write(folder.root, manifest.tasks)
    return FinishedRun(root=folder.root, manifest=manifest, table=write_tables(folder.root), errors=scored.errors)


def write_tables(root: Path) -> str:
    """Write the tables in all formats; give the short one, which of the groups holds only the headline's.

    Where the same run was made without media, its headlines stand below those of this one.
    """
    results = read_results(root)
    blind = read_results(root / BLIND) if (root / BLIND / FILE).is_file() else None
    for name, text in files_of(results, blind).items():
        write_atomic(root / name, text)
    headlines = {(row.task, row.rule, row.output) for row in results.measurements if row.headline}
    sizes = Counter((row.task, row.rule, row.output, name) for row in results.measurements for name in row.group or {})
    shown = tuple(
        row
        for row in results.measurements
        if row.headline
        or row.group is None
        or ((row.task, row.rule, row.output) in headlines and _is_small(row, sizes))
    )
    return render(screen_table(replace(results, measurements=shown), blind), "md")


def _is_small(row: Measurement, sizes: Mapping[tuple[str, str, str, str], int]) -> bool:
    return all(sizes[row.task, row.rule, row.output, name] <= SHOWN_GROUPS for name in row.group or {})
