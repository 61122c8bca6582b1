"""Recomputes the relative gains that a paper claims, and a run's own over the same rows."""

from collections.abc import Sequence

from anymal_eval import published
from anymal_eval.errors import BadDefinition, WrongUse
from anymal_eval.published import ClaimedGain, Column, Paper
from anymal_eval.report.comparison import Place, measured_lines
from anymal_eval.report.paper_table import gain, gain_text, header
from anymal_eval.report.rendering import Cell, Table
from anymal_eval.store.results import Results

COLUMNS = ("benchmark", "row", "value x100", "against", "its value x100", "relative gain", "claimed", "notes")


def gains_table(name: str, runs: Sequence[Results] = ()) -> Table:
    """What a paper claims in percent, from its own tables; below each claim the runs' gains over the same row.

    Args:
        name: ``anymal-2023``.
        runs: measured ones, to be held against the same rows.

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
        rows += _measured_rows(paper, claim, runs)
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


def _measured_rows(paper: Paper, claim: ClaimedGain, runs: Sequence[Results]) -> list[tuple[Cell, ...]]:
    column = _column(paper, claim)
    base = Place(value=paper.table(claim.table).row(claim.against).values[claim.column])
    rows = []
    for line in measured_lines(runs, [column]):
        place = line.places.get(column.key)
        if place is None or place.value is None:
            continue
        found = gain(place, base)
        texts = (
            header(column),
            line.label,
            f"{place.value:.1f}",
            claim.against,
            f"{base.value:.1f}",
            gain_text(found) if found is not None else "none",
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
