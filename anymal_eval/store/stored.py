"""Reading a finished run: a run folder or an accepted run, its digests verified."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval.errors import BadData, OtherRun
from anymal_eval.store import digests
from anymal_eval.store import manifest as manifests
from anymal_eval.store.manifest import Manifest
from anymal_eval.store.results import Results, read_results

if TYPE_CHECKING:
    from anymal_eval.metrics import Floats


@dataclass(frozen=True)
class StoredRun:
    """A run on disk, read only. ``open_run`` verifies it."""

    root: Path

    @cached_property
    def manifest(self) -> Manifest:
        """The run's identity, environment and tasks."""
        return manifests.read(self.root / "manifest.json")

    @cached_property
    def results(self) -> Results:
        """The content of ``results.json``."""
        return read_results(self.root)

    def scores(self, task: str) -> list[dict[str, Any]]:
        """The rows of one task's ``scores.jsonl``.

        Raises:
            BadData: a line is not JSON.
        """
        name = f"{task}/scores.jsonl"
        lines = [line for line in digests.content(self.root, name).decode().split("\n") if line]
        try:
            # Parsed as one list: one call per line takes twice as long, and large tasks have hundreds of thousands.
            rows: list[dict[str, Any]] = json.loads(f"[{','.join(lines)}]")
        except ValueError as error:
            raise BadData(f"{self.root / name}: {error}; is the file whole?") from None
        return rows

    def statistics(self, task: str) -> dict[str, Floats]:
        """One task's statistics by metric id, loaded without pickle."""
        import numpy as np

        with np.load(io.BytesIO(digests.content(self.root, f"{task}/statistics.npz")), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}


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
    digests.verify(root)
    return run
