"""Reading a finished run: a run folder or an accepted run, its digests verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval.errors import OtherRun
from anymal_eval.paths import inside
from anymal_eval.store import digests
from anymal_eval.store import manifest as manifests
from anymal_eval.store.arrays import read_arrays
from anymal_eval.store.manifest import Manifest
from anymal_eval.store.results import Results, read_results
from anymal_eval.store.score_rows import ScoreRows

if TYPE_CHECKING:
    from anymal_eval.metrics import Floats


@dataclass(frozen=True)
class StoredRun:
    """A run on disk, read only. ``open_run`` verifies it.

    Attributes:
        root: its folder.
        verified: the tasks whose files were found to belong together, which ``scoring.verification`` adds.
        held: by task, the rows that :meth:`hold_rows` holds once they are read.
    """

    root: Path
    verified: set[str] = field(default_factory=set, compare=False, repr=False)
    held: dict[str, ScoreRows | None] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def manifest(self) -> Manifest:
        """The run's identity, environment and tasks."""
        return manifests.read(self.root / "manifest.json", verify=False)  # ``open_run`` compares its digest

    @cached_property
    def whole_manifest(self) -> Manifest:
        """The manifest, after a comparison with its own checksum too.

        Raises:
            BadData: they differ.
        """
        return manifests.read(self.root / "manifest.json")

    @cached_property
    def results(self) -> Results:
        """The content of ``results.json``."""
        return read_results(self.root)

    @property
    def sizes(self) -> dict[str, int]:
        """The number of examples by task."""
        return {task: entry.n for task, entry in self.manifest.tasks.items()}

    def holds(self, task: str) -> bool:
        """Whether a task has scores and statistics."""
        folder = inside(self.root, task)
        scores = any((folder / name).is_file() for name in ("scores.jsonl", "scores.jsonl.gz"))
        return scores and (folder / "statistics.npz").is_file()

    def scores(self, task: str) -> list[Mapping[str, Any]]:
        """The rows of one task's ``scores.jsonl``.

        Raises:
            BadData: a line is not JSON.
        """
        return list(self.score_rows(task))

    def score_rows(self, task: str) -> ScoreRows:
        """The same, decoded as far as they are looked at.

        Raises:
            BadData: a line is not JSON.
        """
        found = self.held.get(task)
        if found is None:
            name = f"{task}/scores.jsonl"
            content = digests.content(self.root, name, digests.limit(self.sizes, name))
            found = ScoreRows.read(content, self.root / name)
        if task in self.held:
            self.held[task] = found
        return found

    def hold_rows(self) -> None:
        """Read the rows of each task once, for who needs them several times; :meth:`release_rows` frees them."""
        for task in self.manifest.tasks:
            self.held.setdefault(task)

    def release_rows(self) -> None:
        """Hold no rows any longer."""
        self.held.clear()

    def statistics(self, task: str) -> dict[str, Floats]:
        """One task's statistics by metric id, loaded without pickle.

        Raises:
            BadData: the file is damaged, or declares more than a run of its size holds.
        """
        name = f"{task}/statistics.npz"
        most = digests.limit(self.sizes, name)
        return read_arrays(digests.content(self.root, name), str(self.root / name), most)


def open_run(root: Path) -> StoredRun:
    """Open a run whose files have not changed since it was scored.

    Raises:
        OtherRun: the folder holds no run, or a run without tasks.
        MissingData: the run is not scored.
        BadData: the run is damaged, edited, or written by a newer version.
    """
    if not (root / "manifest.json").is_file():
        raise OtherRun(f"{root} holds no run: it has no manifest.json")
    run = StoredRun(root)
    if not run.manifest.tasks:
        raise OtherRun(f"{root}: the run is empty: it holds no task")
    _ = run.results  # read before the digests: a newer schema must not be reported as an edited file
    digests.verify(root, rows=run.sizes)
    return run
