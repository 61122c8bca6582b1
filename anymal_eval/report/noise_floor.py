"""The spread of repeated runs of one model: ``check --noise`` measures it, and a policy uses it as a floor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anymal_eval.codec import decode, encode, read_json, write_json_pretty
from anymal_eval.errors import BadDefinition, MissingData, OtherRun, WrongUse, listed
from anymal_eval.report.comparable import refusal
from anymal_eval.report.pairing import TaskRun, metric_output, pair, task_run
from anymal_eval.report.rendering import Cell, Table
from anymal_eval.report.run_table import SCALE
from anymal_eval.statistics.noise import noise
from anymal_eval.store.manifest import RECORDED_ONLY
from anymal_eval.store.score_rows import ScoreRows
from anymal_eval.store.stored import StoredRun

SCHEMA = 1
COLUMNS = ("task", "metric", "values x100", "spread x100", "deviation x100", "scores changed", "answers changed", "n")


@dataclass(frozen=True, kw_only=True)
class Floor:
    """One task's noise, in the metric's own unit; ``scores`` and ``answers`` are shares of examples in [0, 1]."""

    task: str
    metric: str
    signature: str
    values: tuple[float, ...]
    spread: float
    deviation: float
    scores: float
    answers: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Floors:
    """The noise file, which ``check --noise ... --json FILE`` writes."""

    schema: int = SCHEMA
    runs: tuple[str, ...]
    differs: tuple[str, ...]
    noise: tuple[Floor, ...]


def measure(runs: Sequence[StoredRun]) -> Floors:
    """The spread of repeated runs of one model, for every task that all of them have.

    Raises:
        WrongUse: fewer than two runs.
        OtherRun: the runs differ in more than batch, order, workers, device or seed, or have errors; the message names
            the differences.
    """
    if len(runs) < 2:
        raise WrongUse("--noise needs two or more runs of one model")
    models = sorted({str(run.manifest.identity["model"]) for run in runs})
    if len(models) > 1 and not all(model.startswith("replay") for model in models):
        raise OtherRun(f"--noise takes runs of one model, these are of {', '.join(models)}")

    tasks = [task for task in runs[0].manifest.tasks if all(task in run.manifest.tasks for run in runs)]
    if not tasks:
        raise OtherRun("--noise: these runs have no task in common")
    found = []
    for task in tasks:
        found.append(_floor([task_run(run, task) for run in runs], [str(run.root) for run in runs]))
    return Floors(runs=tuple(run.manifest.run for run in runs), differs=_differs(runs), noise=tuple(found))


def _floor(items: Sequence[TaskRun], names: Sequence[str]) -> Floor:
    first, headline = items[0], items[0].headline
    for item, name in zip(items, names, strict=True):
        why = refusal(first, item, named=(names[0], name))
        if why:
            raise OtherRun(f"{first.name}: {name} is not comparable with {names[0]}: {why}")
    assert headline is not None  # noqa: S101  # refused in the loop
    pairs = [pair(first, item) for item in items[1:]]
    for each, name in zip(pairs, names[1:], strict=True):
        alone = [*each.only_before, *each.only_after]
        if alone:
            raise OtherRun(
                f"{first.name}: {len(alone):,} examples are not in both of {names[0]}, {name}: {listed(alone)}"
            )
    metric, at = metric_output(headline)
    one = noise(metric, [pairs[0].stats[0], *(each.stats[1] for each in pairs)], pairs[0].groups)[at]
    changed = {
        name
        for each in pairs
        for name, one, other in zip(each.rows[0].column("id"), *map(_answers, each.rows), strict=True)
        if one != other
    }
    return Floor(
        task=first.name,
        metric=headline.label,
        signature=headline.signature,
        values=one.values,
        spread=one.spread,
        deviation=one.deviation,
        scores=one.changed,
        answers=len(changed) / len(pairs[0].rows[0]),
        n=len(pairs[0].rows[0]),
    )


def _answers(rows: ScoreRows) -> Iterator[tuple[str, str]]:
    return zip(rows.column("state"), rows.column("answer"), strict=True)


def noise_table(found: Floors) -> Table:
    """The noise as a table."""
    rows = []
    for item in found.noise:
        values = ", ".join(f"{SCALE * value:.2f}" for value in item.values)
        texts = (item.task, item.metric, values, f"{SCALE * item.spread:.3f}", f"{SCALE * item.deviation:.3f}",
                 f"{item.scores:.2%}", f"{item.answers:.2%}", f"{item.n:,}")  # fmt: skip
        rows.append(tuple(Cell(text) for text in texts))
    differs = "; ".join(found.differs) or "nothing that the manifests know of"
    notes = ("Spread: largest less smallest; a policy takes it as floor.", f"These runs differ in: {differs}.")
    title = f"Noise over {len(found.runs)} runs"
    return Table(title=title, columns=COLUMNS, rows=tuple(rows), notes=notes)


def noise_json(found: Floors) -> str:
    """The text of the noise file."""
    return write_json_pretty(encode(found))


def read_floors(file: Path) -> Mapping[str, Floor]:
    """The floors of a noise file, by task.

    Raises:
        MissingData: there is no such file.
        BadDefinition, BadData: ``check --noise`` did not write it.
    """
    if not file.is_file():
        raise MissingData(f"{file}: there is no such noise file; check --noise RUN RUN --json {file} makes it")
    data = read_json(file)
    if isinstance(data, dict) and isinstance(data.get("schema"), int) and data["schema"] > SCHEMA:
        raise BadDefinition(f"{file}: schema {data['schema']} is newer than {SCHEMA}; update anymal_eval")
    return {item.task: item for item in decode(Floors, data, str(file)).noise}


def _differs(runs: Sequence[StoredRun]) -> tuple[str, ...]:
    found = []
    for what in ("identity", "environment"):
        parts = [getattr(run.manifest, what) for run in runs]
        keys = sorted(set().union(*parts) - RECORDED_ONLY)
        found += [key for key in keys if len({str(part.get(key)) for part in parts}) > 1]
    return tuple(found)
