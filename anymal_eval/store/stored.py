"""A finished run as others read it: a run folder or an accepted one, its digests verified."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval.codec import read_json
from anymal_eval.errors import BadData, MissingData, OtherRun
from anymal_eval.store import digests
from anymal_eval.store import manifest as manifests
from anymal_eval.store.manifest import Manifest

if TYPE_CHECKING:
    from anymal_eval.metrics import Floats

RESULTS_SCHEMA = 1


@dataclass(frozen=True)
class StoredRun:
    """A run on disk, read and never written. ``open_run`` makes it."""

    root: Path

    @cached_property
    def manifest(self) -> Manifest:
        """What the run is."""
        return manifests.read(self.root / "manifest.json")

    @cached_property
    def results(self) -> Any:
        """``results.json`` as plain data."""
        return read_json(self.root / "results.json")

    def scores(self, task: str) -> list[dict[str, Any]]:
        """The rows of one task.

        Raises:
            BadData: it holds something that is no JSON.
        """
        name = f"{task}/scores.jsonl"
        lines = [line for line in digests.content(self.root, name).decode().split("\n") if line]
        try:
            # As one list: a call a line takes twice as long, and the larger tasks have hundreds of thousands.
            rows: list[dict[str, Any]] = json.loads(f"[{','.join(lines)}]")
        except ValueError as error:
            raise BadData(f"{self.root / name}: {error}; is the file whole?") from None
        return rows

    def statistics(self, task: str) -> dict[str, Floats]:
        """Statistics by metric id. Opened without pickle."""
        import numpy as np

        with np.load(io.BytesIO(digests.content(self.root, f"{task}/statistics.npz")), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}


def open_run(root: Path) -> StoredRun:
    """A run whose files are those that were scored.

    Raises:
        OtherRun: the folder holds no run, or one without a task.
        MissingData: it is not scored.
        BadData: it is damaged, edited, or written by a newer version.
    """
    if not (root / "manifest.json").is_file():
        raise OtherRun(f"{root} holds no run: it has no manifest.json")
    run = StoredRun(root)
    if not run.manifest.tasks:
        raise OtherRun(f"{root}: the run is empty: it holds no task")
    file = root / "results.json"
    if not file.is_file():
        raise MissingData(f"{root} holds no results.json, so it is not finished; anymal-eval score {root}")
    schema = run.results.get("schema") if isinstance(run.results, dict) else None
    if isinstance(schema, int) and schema > RESULTS_SCHEMA:
        raise BadData(f"{file}: schema {schema} is newer than the {RESULTS_SCHEMA} that is known; update anymal_eval")
    digests.verify(root)
    return run
