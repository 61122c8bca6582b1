"""Relative gains: over a published number, over another run paired by example, and the gains that a paper claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from anymal_eval import published
from anymal_eval.errors import BadDefinition, WrongUse
from anymal_eval.published import ClaimedGain, Column, Paper
from anymal_eval.report.comparable import refusal
from anymal_eval.report.comparison import Line, Place, find, header, measured_lines
from anymal_eval.report.rendering import Cell, Table
from anymal_eval.report.run_table import SCALE, interval_text
from anymal_eval.store.results import Results

if TYPE_CHECKING:
    from anymal_eval.report.pairing import TaskRun
    from anymal_eval.store.stored import StoredRun

COLUMNS = ("benchmark", "row", "value x100", "against", "its value x100", "relative gain", "claimed", "notes")

PercentGain = tuple[float, tuple[float, float] | None]
"""A relative gain and its 95 % interval, in percent."""


def relative_gain(place: Place, base: Place) -> PercentGain | None:
    """The gain of one table cell over another.

    A published ``base`` counts as exact. Two measured cells must be comparable, and count as independent samples,
    which is too wide where they are over the same examples (``paired_gains`` pairs those).

    Returns:
        None where a value is missing or has errors behind it, only one is over demo data, the base is not above 0, or
        two measured cells are not comparable.
    """
    if place.conditions is not None and place.conditions.errors:
        return None
    if place.conditions is not None and base.conditions is not None and refusal(base.conditions, place.conditions):
        return None
    if place.value is None or base.value is None or base.value <= 0 or place.is_demo != base.is_demo:
        return None
    share = 100.0 / base.value
    interval = None
    if place.interval is not None and base.interval is not None:
        # Imported here: a table without such gains does not load numpy.
        from anymal_eval.statistics.gain import independent
        from anymal_eval.statistics.intervals import Interval

        new, old = (Interval(value=value, low=low, high=high, method="")
                    for value, (low, high) in ((place.value, place.interval), (base.value, base.interval)))  # fmt: skip
        found = independent(new, old)
        if found.low == found.low:
            interval = (100.0 * found.low, 100.0 * found.high)
    if place.interval is not None and base.interval is None:
        interval = (share * place.interval[0] - 100.0, share * place.interval[1] - 100.0)
    return share * place.value - 100.0, interval


def gain_text(gain: PercentGain) -> str:
    """A gain as tables show it.

    >>> gain_text((7.0, (5.06, 8.9)))
    '+7.0 % [+5.1, +8.9]'
    """
    value, interval = gain
    return f"{value:+.1f} %" + (
        f" {interval_text(interval[0] / SCALE, interval[1] / SCALE, 1, '+')}" if interval else ""
    )


def paired_gains(
    stored: Sequence[StoredRun | None], runs: Sequence[Results], against: str, columns: Sequence[Column]
) -> Mapping[tuple[str, str], PercentGain]:
    """The gains over one of the runs, paired by example, by row label and column key.

    A pair is left out where the two are not comparable (another rule, other data or prompts, errors) or where one is
    not finished: it has no digests.

    Args:
        stored: in the order of ``runs``, as ``open_run`` returns them; None for a run of which there are only results.
        runs: the results.
        against: the label of the row that the others are compared with.
        columns: the columns of the table.

    Raises:
        BadData: a run was edited after it was scored.
    """
    from anymal_eval.store.digests import FILE

    labels = [line.label for line in measured_lines(runs, columns)]
    if against not in labels:
        return {}
    finished = [run if run is not None and (run.root / FILE).is_file() else None for run in stored]
    at = labels.index(against)
    found = {}
    for column in columns:
        before = _task(finished[at], runs[at], column)
        for place, label in enumerate(labels):
            after = _task(finished[place], runs[place], column) if before is not None and place != at else None
            gain = _paired_gain(before, after) if before is not None and after is not None else None
            if gain is not None:
                found[label, column.key] = gain
    return found


def _task(run: StoredRun | None, results: Results, column: Column) -> TaskRun | None:
    from anymal_eval.report.pairing import task_run

    item = find(results, column)
    if run is None or item is None:
        return None
    return replace(task_run(run, item.task), headline=item)


def _paired_gain(before: TaskRun, after: TaskRun) -> PercentGain | None:
    from anymal_eval.report.pairing import metric_output, pair
    from anymal_eval.statistics import gain

    if before.headline is None or refusal(before, after):
        return None
    pairs = pair(before, after)
    if pairs.missing or not pairs.rows[0]:
        return None
    metric, at = metric_output(before.headline)
    found = gain.paired(metric, pairs.stats, pairs.clusters, pairs.groups)[at]
    if found.value != found.value:
        return None
    return 100.0 * found.value, (100.0 * found.low, 100.0 * found.high) if found.low == found.low else None


def gains_table(name: str, runs: Sequence[Results] = (), stored: Sequence[StoredRun | None] = ()) -> Table:
    """The gains that a paper claims, computed again from its tables; below each, the runs' gains over the same row.

    Args:
        name: ``anymal-2023``.
        runs: results to compare with the same rows.
        stored: in the order of ``runs``; None for a run of which there are only results.

    Raises:
        NotInCatalog: there is no such paper.
        WrongUse: the paper claims no gains.
    """
    paper = published.load(name)
    if not paper.gains:
        raise WrongUse(f"no gains are recorded for {name}; there are for anymal-2023")
    rows = []
    for claim in paper.gains:
        rows.append(_claim_row(paper, claim))
        rows += _measured_rows(paper, claim, measured_lines(runs, [_column(paper, claim)], stored=stored))
    notes = (
        "Relative gains in percent. Italic: from published numbers; upright: measured here, with a 95 % interval that "
        "takes the published number as exact.",
    )
    return Table(title=f"{paper.source}: the gains it claims", columns=COLUMNS, rows=tuple(rows), notes=notes)


def recomputed(paper: Paper, claim: ClaimedGain) -> float:
    """The gain in percent that follows from the paper's own tables."""
    table = paper.table(claim.table)
    ours, theirs = (table.row(model).values[claim.column] for model in (claim.model, claim.against))
    return 100.0 * ours / theirs - 100.0


def _claim_row(paper: Paper, claim: ClaimedGain) -> tuple[Cell, ...]:
    table = paper.table(claim.table)
    follows = recomputed(paper, claim)
    same = f"{follows:+.1f}" == f"{claim.claim:+.1f}"
    texts = (
        header(_column(paper, claim)),
        f"{claim.model} ({table.where})",
        f"{table.row(claim.model).values[claim.column]:.1f}",
        claim.against,
        f"{table.row(claim.against).values[claim.column]:.1f}",
        f"{follows:+.1f} %",
        f"{claim.claim:+.1f} %",
        "; ".join(note for note in ("" if same else "differs from the claim", claim.note) if note),
    )
    return tuple(Cell(text, italic=True) for text in texts)


def _measured_rows(paper: Paper, claim: ClaimedGain, lines: Sequence[Line]) -> list[tuple[Cell, ...]]:
    column = _column(paper, claim)
    base = Place(value=paper.table(claim.table).row(claim.against).values[claim.column])
    rows = []
    for line in lines:
        place = line.places.get(column.key)
        if place is None:
            continue
        gain = relative_gain(place, base)
        texts = (
            header(column),
            line.label,
            place.missing if place.value is None else f"{place.value:.1f}",
            claim.against,
            f"{base.value:.1f}",
            gain_text(gain) if gain is not None else "none",
            "",
            "; ".join(place.footnotes),
        )
        rows.append(tuple(Cell(text) for text in texts))
    return rows


def _column(paper: Paper, claim: ClaimedGain) -> Column:
    for column in paper.table(claim.table).columns:
        if column.key == claim.column:
            return column
    raise BadDefinition(f"{paper.source}: no column {claim.column!r}")
