"""Whether the files of a scored run belong together: responses, scores, statistics and results, each against the next.

Digests find damage; whoever edits a file can write them again. So the numbers are computed again where that is cheap:
raw answers from the responses, per-example scores and values from the statistics, counts from the scores. What needs
the data (answers against references) or takes long (intervals) is not: ``anymal-eval score`` computes all of it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import repeat
from operator import is_, ne
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from anymal_eval import metrics
from anymal_eval.errors import BadData, NotInCatalog
from anymal_eval.json_rows import by_identity
from anymal_eval.metrics import Metric
from anymal_eval.records import State
from anymal_eval.scoring.columns import Columns
from anymal_eval.store.responses import read_raw
from anymal_eval.store.score_rows import ScoreRows
from anymal_eval.store.stored import StoredRun, open_run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anymal_eval.metrics import Floats
    from anymal_eval.store.results import Measurement

# Values were perhaps computed on another processor, whose sums round otherwise.
RELATIVE, ABSOLUTE = 1e-9, 1e-12
_NEEDED = {"id", "cluster", "state", "answer", "scores"}
_STATES = frozenset(get_args(State))


def open_verified(root: Path) -> StoredRun:
    """Open a run whose files have not changed since it was scored and belong together.

    Raises:
        OtherRun, MissingData, BadData: as for ``open_run`` and :func:`verify_run`.
    """
    run = open_run(root)
    verify_run(run)
    return run


def verify_run(run: StoredRun) -> None:
    """Verify every scored task of a run that ``open_run`` returned.

    Raises:
        BadData: files do not belong together; the message names the task, the example and what to do.
    """
    for task in run.manifest.tasks:
        if task not in run.verified and run.holds(task):
            verify_task(run, task, run.score_rows(task), run.statistics(task))


def verify_task(run: StoredRun, task: str, rows: ScoreRows, statistics: Mapping[str, Floats]) -> None:
    """Verify one task, once for each ``StoredRun``.

    Args:
        run: the run.
        task: its name.
        rows: of ``scores.jsonl``.
        statistics: by metric id, (n, k).

    Raises:
        BadData: as for :func:`verify_run`.
    """
    if task in run.verified:
        return
    why = (
        _rows(rows) or _responses(run, task, rows) or _scores(rows, statistics) or _values(run, task, rows, statistics)
    )
    if why is not None:
        if (run.root / task / "responses.jsonl").is_file():
            remedy = f"anymal-eval score {run.root} computes them again"
        else:
            remedy = "restore it, or accept the run again"
        raise BadData(f"{run.root / task}: {why}: one of the files was changed; {remedy}")
    run.verified.add(task)


def _rows(rows: ScoreRows) -> str | None:
    try:
        names, states, scores, groups = (rows.column(key) for key in ("id", "state", "scores", "groups"))
        for key in _NEEDED:
            if any(map(is_, rows.column(key), repeat(None))) and any(key not in row for row in rows):
                return _unsound_row(rows)
        sound = set(map(type, scores)) | set(map(type, groups)) <= {dict} and set(states) <= _STATES
        single = len(set(names)) == len(names)
    except (AttributeError, TypeError):
        sound = False
    if not sound:
        return _unsound_row(rows) or "an id in scores.jsonl is no text"
    if single:
        return None
    double = next(name for name, count in Counter(names).items() if count > 1)
    return f"{double} occurs twice in scores.jsonl"


def _unsound_row(rows: ScoreRows) -> str | None:
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not row.keys() >= _NEEDED or not isinstance(row["scores"], dict):
            return f"line {number} of scores.jsonl is no row of scores"
        if row["state"] not in get_args(State) or not isinstance(row.get("groups", {}), dict):
            return f"line {number} of scores.jsonl has no known state, or no groups"
    return None


def _responses(run: StoredRun, task: str, rows: ScoreRows) -> str | None:
    """Raw answers against the responses, where the folder holds them (an accepted run does not)."""
    raw = read_raw(run.root / task / "responses.jsonl")
    if raw is None:
        return None
    names, kept, states = (rows.column(key) for key in ("id", "raw", "state"))
    for at in itertools.compress(itertools.count(), map(ne, map(raw.get, names, kept), kept)):
        if states[at] != "error":
            return f"the raw answer of {names[at]} in scores.jsonl is not the one in responses.jsonl"
    return None


def _scores(rows: ScoreRows, statistics: Mapping[str, Floats]) -> str | None:
    """The scores of each example against its statistics."""
    states = rows.column("state")
    scored = [at for at, state in enumerate(states) if state != "error"] if "error" in states else range(len(states))
    for name, stats in statistics.items():
        if stats.ndim != 2 or len(stats) != len(scored):
            return f"{len(stats)} rows of {name}, but {len(scored)} examples are scored"
        metric = _metric(name)
        if metric is None or not len(scored):
            continue
        if metric.display is not None:
            every, shown = rows.within("scores", name), metric.display(stats)
            kept = [every[at] for at in scored] if len(scored) < len(every) else every
        elif "p_yes" in metric.needs:
            every, shown = rows.column("p_yes"), stats[:, 0]
            kept = [one if every[at] is None else every[at] for at, one in zip(scored, shown, strict=True)]
        else:
            continue
        wrong = _differing(kept, shown)
        if wrong is not None:
            return f"the {name} of {rows.column('id')[scored[wrong]]} in scores.jsonl is not that of statistics.npz"
    return None


def _differing(kept: Sequence[Any], shown: Floats) -> int | None:
    """The first place at which two sequences of numbers differ."""
    if not all(issubclass(kind, int | float) for kind in set(map(type, kept))):
        return next(at for at, number in enumerate(kept) if not isinstance(number, int | float))
    equal = np.isclose(np.array(kept, dtype=np.float64), shown, rtol=RELATIVE, atol=ABSOLUTE)
    return None if equal.all() else int(np.flatnonzero(~equal)[0])


def _values(run: StoredRun, task: str, rows: ScoreRows, statistics: Mapping[str, Floats]) -> str | None:
    """The values and counts in ``results.json`` against statistics and scores."""
    groups = rows.column("groups")
    texts = {number: _texts(group) for number, group in by_identity(groups).items()}
    columns = Columns(rows.column("state"), (), list(map(texts.__getitem__, map(id, groups))))
    known = {name: _metric(name) for name in statistics}
    entry = run.manifest.tasks[task]
    for item in run.results.measurements:
        if item.task != task:
            continue
        where = f"{item.label}{f' of {dict(item.group)}' if item.group else ''} in results.json"
        if (item.split, item.data, item.protocol) != (entry.split, entry.data, entry.protocol):
            return f"{where} is of another split, data or protocol than the manifest's"
        group = item.group or {}
        counted, _ = columns.counts(group)
        if counted != {state: item.states.get(state, 0) for state in get_args(State)}:
            return f"{where} counts other states than scores.jsonl holds"
        if item.rule not in statistics:
            return f"{where} has no statistics"
        metric = known[item.rule]
        if metric is None:
            continue
        chosen = columns.rows(group)
        grouped = {} if metric.is_mean else {name: found[chosen] for name, found in columns.labels.items()}
        why = _value(item, metric, statistics[item.rule][chosen], grouped)
        if why is not None:
            return f"{where} {why}"
    return None


def _value(item: Measurement, metric: Metric, stats: Floats, groups: Mapping[str, NDArray[np.str_]]) -> str | None:
    outputs = {output.name: (at, output) for at, output in enumerate(metric.outputs)}
    at, output = outputs.get(item.output or metric.outputs[0].name, (None, None))
    if at is None or output is None or (item.unit, item.better) != (output.unit, output.better):
        return "is no output of that metric"
    value = float(metric.reduce(stats, np.ones((1, len(stats))), dict(groups))[0, at]) if len(stats) else np.nan
    if not math.isclose(value, item.value, rel_tol=RELATIVE, abs_tol=ABSOLUTE):
        return f"is {item.value!r}, but statistics.npz gives {value!r}"
    return None


def _texts(group: Mapping[str, Any]) -> Mapping[str, str]:
    return group if all(type(value) is str for value in group.values()) else {k: str(v) for k, v in group.items()}


def _metric(name: str) -> Metric | None:
    """None where the metric of a plug-in is not installed here, so that its numbers are not computed again."""
    try:
        return metrics.get(name)
    except NotInCatalog:
        return None
