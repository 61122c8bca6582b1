"""The runs below a folder, from their manifests and measurements alone: no answer is read and nothing is verified."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from anymal_eval.errors import AnyMALEvalError, MissingData, WrongUse, listed, reason
from anymal_eval.report.rendering import Cell, Table
from anymal_eval.report.run_table import SCALE, interval_text
from anymal_eval.store import manifest as manifests
from anymal_eval.store import sessions
from anymal_eval.store.results import FILE, Measurement, Results, read_results

DEPTH = 3  # folders below the given one in which runs are looked for
SORTS = ("date", "name", "model", "time")
_MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class ListedRun:
    """One run.

    Attributes:
        root: its folder.
        conditions: model, protocol, data, split, limit and ablate, as its manifest's identity has them.
        tasks: the number of examples by task.
        started: the first command that worked on it, UTC in ISO 8601; empty in runs of earlier versions.
        seconds: the time of all commands; None where it is unknown.
        state: ``scored``, ``errors`` (scored, with answers that are errors), or ``not scored``.
        headlines: by task.
    """

    root: Path
    name: str
    conditions: Mapping[str, Any]
    tasks: Mapping[str, int]
    versions: Sequence[str]
    started: str = ""
    seconds: float | None = None
    host: str = ""
    command: str = ""
    state: str = "scored"
    headlines: Mapping[str, Measurement] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The value of ``--model``, without the path of a checkpoint."""
        return str(self.conditions.get("model", ""))


@dataclass(frozen=True, kw_only=True)
class BrokenRun:
    """A folder that is a run no more, or not yet, with the reason in one line."""

    root: Path
    why: str


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which runs are listed: patterns with ``*`` and ``?``, or parts of a name; None is no condition."""

    model: str | None = None
    task: str | None = None
    protocol: str | None = None
    data: str | None = None
    name: str | None = None

    def takes(self, run: ListedRun) -> bool:
        """Whether a run fulfils all conditions."""
        values = {key: str(run.conditions.get(key, "")) for key in ("model", "protocol", "data")} | {"name": run.name}
        named = all(_matches(value, getattr(self, key)) for key, value in values.items())
        return named and (self.task is None or any(_matches(task, self.task) for task in run.tasks))


def read_runs(folder: Path) -> Iterator[ListedRun | BrokenRun]:
    """The runs in a folder and in its subfolders; a run inside a run is not listed.

    Raises:
        MissingData: there is no such folder.
    """
    if not folder.is_dir():
        raise MissingData(f"{folder}: there is no such folder; runs are in results/runs where no --out was given")
    for root in _found(folder, DEPTH):
        try:
            yield read_run(root)
        except AnyMALEvalError as error:
            yield BrokenRun(root=root, why=str(error).removeprefix(f"{root}{os.sep}").removeprefix(f"{root}: "))
        except OSError as error:
            yield BrokenRun(root=root, why=reason(error))


def read_run(root: Path) -> ListedRun:
    """One run.

    Raises:
        AnyMALEvalError: its manifest or its results cannot be read.
    """
    if not (root / _MANIFEST).is_file():
        raise MissingData(f"{root}: it has no {_MANIFEST}: the run did not start, or it was damaged")
    manifest = manifests.read(root / _MANIFEST)
    results = read_results(root) if (root / FILE).is_file() else None
    rows = sessions.read(root / sessions.FILE)
    first = next((row for row in rows if row.get("started")), {})
    return ListedRun(
        root=root,
        name=manifest.run,
        conditions={
            key: manifest.identity.get(key) for key in ("model", "protocol", "data", "split", "limit", "ablate")
        },
        tasks={task: entry.n for task, entry in manifest.tasks.items()},
        versions=manifest.versions,
        started=str(first.get("started", "")),
        seconds=sum(float(row.get("wall", 0)) for row in rows) if rows else None,
        host=str(first.get("host", "")),
        command=str(first.get("command", "")),
        state=_state(results, manifest.tasks),
        headlines={} if results is None else {item.task: item for item in results.measurements if item.headline},
    )


def sorted_runs(runs: Iterable[ListedRun], by: str, *, descending: bool = False) -> list[ListedRun]:
    """Runs in order of ``date``, ``name``, ``model``, ``time``, or a task's headline; those without it last.

    Raises:
        WrongUse: ``by`` is none of these, and no run has such a task.
    """
    found = list(runs)
    if by not in SORTS and not any(by in run.tasks for run in found):
        tasks = sorted({task for run in found for task in run.tasks})
        raise WrongUse(f"--sort {by}: write {', '.join(SORTS)} or a task of these runs: {listed(tasks) or 'none'}")

    def key(run: ListedRun) -> Any:
        match by:
            case "date":
                return run.started or None
            case "name":
                return run.name
            case "model":
                return run.model
            case "time":
                return run.seconds
        return run.headlines[by].value if by in run.headlines else None

    having = sorted((run for run in found if key(run) is not None), key=lambda run: (key(run), run.name))
    return [*(reversed(having) if descending else having), *(run for run in found if key(run) is None)]


def runs_table(runs: Sequence[ListedRun], folder: Path, task: str | None = None) -> Table:
    """A row a run: its folder, what it is, when it was made, and its headlines x100."""
    columns = ("run", "model", "data", "protocol", "started", "time", "state", "scores")
    rows = tuple(tuple(Cell(text) for text in _texts(run, folder, task)) for run in runs)
    kept = [at for at in range(len(columns)) if at in (0, 1) or any(row[at].text for row in rows)]
    return Table(
        title=f"{len(runs)} run{'s' * (len(runs) != 1)} in {folder}",
        columns=tuple(columns[at] for at in kept),
        rows=tuple(tuple(row[at] for at in kept) for row in rows),
        notes=("Scores are the headlines x100; times are UTC.",) if runs else (),
    )


def runs_data(runs: Sequence[ListedRun], broken: Sequence[BrokenRun]) -> dict[str, Any]:
    """The same as JSON data; values are in the metrics' own units."""
    return {
        "schema": 1,
        "runs": [
            {
                "folder": str(run.root), "name": run.name, **run.conditions, "tasks": dict(run.tasks),
                "versions": list(run.versions), "started": run.started or None, "seconds": run.seconds,
                "host": run.host or None, "command": run.command or None, "state": run.state,
                "scores": {
                    task: {"metric": item.label, "value": item.value, "ci_low": item.ci_low, "ci_high": item.ci_high,
                           "n": item.n, "unit": item.unit, "signature": item.signature}
                    for task, item in run.headlines.items()
                },
            }
            for run in runs
        ],
        "broken": [{"folder": str(each.root), "why": each.why} for each in broken],
    }  # fmt: skip


def _found(folder: Path, depth: int) -> Iterator[Path]:
    """Run folders, sorted; links are not followed below the given folder."""
    names = set()
    below = []
    with os.scandir(folder) as entries:
        for entry in entries:
            names.add(entry.name)
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                below.append(folder / entry.name)
    if {_MANIFEST, FILE, sessions.FILE} & names or (".lock" in names and not {"training.json", "watch.json"} & names):
        yield folder
    elif depth:
        for each in sorted(below):
            yield from _found(each, depth - 1)


def _state(results: Results | None, tasks: Iterable[str]) -> str:
    if results is None:
        return "not scored"
    scored = {item.task for item in results.measurements} | {item.task for item in results.not_computed}
    if scored < set(tasks):
        return "not scored"
    return "errors" if any(item.states.get("error", 0) for item in results.measurements) else "scored"


def _texts(run: ListedRun, folder: Path, task: str | None) -> tuple[str, ...]:
    of = run.conditions
    name = str(run.root.relative_to(folder)) if run.root != folder else run.root.name
    limit = f", limit {of['limit']}" if of.get("limit") else ""
    ablate = f", {of['ablate']}" if of.get("ablate") not in (None, "none") else ""
    return (
        name if name == run.name else f"{name} ({run.name})",
        run.model,
        f"{of.get('data') or ''}{limit}{ablate}",
        str(of.get("protocol") or ""),
        run.started[:16].replace("T", " "),
        "" if run.seconds is None else str(timedelta(seconds=round(run.seconds))),
        "" if run.state == "scored" else run.state,
        _scores(run, task),
    )


def _scores(run: ListedRun, task: str | None) -> str:
    shown = [item for name, item in run.headlines.items() if task is None or _matches(name, task)]
    parts = []
    for item in shown:
        ends = interval_text(item.ci_low, item.ci_high) if task is not None and item.ci_low is not None else ""
        parts.append(f"{item.task} {SCALE * item.value:.1f}{f' {ends}' if ends else ''}")
    return listed(parts, shown=3)


def _matches(value: str, pattern: str | None) -> bool:
    if pattern is None:
        return True
    whole = pattern if set(pattern) & set("*?[") else f"*{pattern}*"
    return fnmatch.fnmatchcase(value.lower(), whole.lower())
