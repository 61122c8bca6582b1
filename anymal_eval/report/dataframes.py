"""A run as pandas frames, for notebooks: ``anymal_eval.load_run(path)``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval.codec import encode
from anymal_eval.store.manifest import Manifest
from anymal_eval.store.results import Results, parse_results
from anymal_eval.store.stored import StoredRun, open_run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class RunFrames:
    """A run in memory.

    Attributes:
        name: the run's.
        manifest: what it is.
        results: what it measured.
        scores: a row an example: ``task``, ``id``, ``cluster``, ``state``, ``raw``, ``answer``, ``choice`` and
            ``p_yes`` where the task has them, ``group.NAME`` and ``METRIC@VERSION``; NaN where a task has none.
        measurements: a row a measurement, as in ``results.json``; ``group.NAME`` in place of ``group``.
    """

    name: str
    manifest: Manifest
    results: Results
    scores: pd.DataFrame
    measurements: pd.DataFrame


def load_run(path: str | Path) -> RunFrames:
    """Read a run folder or an accepted run.

    Args:
        path: its folder.

    Raises:
        OtherRun, MissingData, BadData: it holds no run, or one that is not scored, was edited or is newer.
    """
    import pandas as pd

    run = open_run(Path(path))
    results = parse_results(run.results, str(run.root / "results.json"))
    scores = pd.DataFrame([_flat(task, row) for task in run.manifest.tasks for row in run.scores(task)])
    return RunFrames(
        name=run.manifest.run,
        manifest=run.manifest,
        results=results,
        scores=scores,
        measurements=pd.DataFrame(list(_measurements(run, results))),
    )


def _flat(task: str, row: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in row.items() if key not in ("groups", "scores")}
    groups = {f"group.{name}": value for name, value in row.get("groups", {}).items()}
    return {"task": task, **plain, **groups, **row["scores"]}


def _measurements(run: StoredRun, results: Results) -> Iterator[dict[str, Any]]:
    for item in results.measurements:
        row = {**encode(item), "ci_low": item.ci_low, "ci_high": item.ci_high}
        states, group = row.pop("states"), row.pop("group", None) or {}
        row |= {f"states.{name}": count for name, count in states.items()}
        yield {"run": run.manifest.run, **row, **{f"group.{name}": value for name, value in group.items()}}
