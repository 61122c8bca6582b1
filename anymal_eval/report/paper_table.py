"""Tables over several runs: models as rows, tasks as columns, a paper's rows first where one is named."""

import string
from collections.abc import Mapping, Sequence

from anymal_eval import published
from anymal_eval.errors import NotInCatalog, WrongUse
from anymal_eval.published import Column, Paper, PaperTable
from anymal_eval.report.comparison import (
    Line,
    Place,
    columns_of,
    first_of_each,
    header,
    measured_lines,
    published_lines,
)
from anymal_eval.report.gains import PercentGain, gain_text, paired_gains, relative_gain
from anymal_eval.report.rendering import Cell, Table
from anymal_eval.report.run_table import SCALE, interval_text
from anymal_eval.store.results import Results
from anymal_eval.store.stored import StoredRun

LETTERS = string.ascii_lowercase


def paper_table(
    runs: Sequence[Results],
    like: str | None = None,
    against: str | None = None,
    stored: Sequence[StoredRun | None] = (),
) -> Table:
    """The table of several runs, or a paper's table with the runs below its rows.

    Args:
        runs: the results; may be empty with ``like``.
        like: ``anymal-2023/4``: the columns, rows and order of that paper's table.
        against: the label of a row; the other rows show their relative gain over it.
        stored: the runs themselves, with which the gain of one over another is paired by example; None for a run of
            which there are only results.

    Raises:
        NotInCatalog: there is no such paper, table or row.
        WrongUse: neither a run nor ``like`` is given.
    """
    if like is None:
        if not runs:
            raise WrongUse("a table needs a run, --like or --gains")
        firsts = first_of_each(runs)
        columns, lines = columns_of(firsts), []
        title = "Measured"
    else:
        firsts = {}
        paper, table = named_table(like)
        columns, lines = table.columns, published_lines(paper, table)
        title = f"{paper.source}, {table.where}: {table.title}"
    lines += measured_lines(runs, columns, firsts, stored)
    demo = ", with demo data" if any(run.is_demo for run in runs) else ""
    paired: Mapping[tuple[str, str], PercentGain] = {}
    if against is not None and stored:
        paired = paired_gains(stored, runs, against, columns)
    return _table(f"{title}{demo}", columns, lines, against, paired)


def named_table(like: str) -> tuple[Paper, PaperTable]:
    """The paper and the table that ``PAPER/TABLE`` names.

    Raises:
        NotInCatalog: there is no such paper or table.
    """
    name, _, id = like.partition("/")
    paper = published.load(name)
    return paper, paper.table(id)


def _table(
    title: str,
    columns: Sequence[Column],
    lines: Sequence[Line],
    against: str | None,
    paired: Mapping[tuple[str, str], PercentGain],
) -> Table:
    base = _base(lines, against)
    best = {column.key: _ranks(lines, column.key) for column in columns}
    marks: dict[str, str] = {}
    rows = []
    for line in lines:
        cells = [Cell(line.label, italic=line.is_published), Cell(line.origin, italic=line.is_published)]
        for column in columns:
            place = line.places.get(column.key)
            if place is None:
                cells.append(Cell(""))
                continue
            over = base.places.get(column.key) if base is not None and base is not line else None
            gain = paired.get((line.label, column.key)) or relative_gain(place, over) if over is not None else None
            first, second = best[column.key]
            cells.append(
                Cell(
                    _text(place, gain, line.is_published, marks),
                    bold=place.comparable and place.value == first,
                    underline=place.comparable and place.value == second,
                    italic=line.is_published,
                )
            )
        rows.append(tuple(cells))
    notes = _notes(lines, base, marks)
    return Table(title=title, columns=("model", "from", *map(header, columns)), rows=tuple(rows), notes=notes)


def _base(lines: Sequence[Line], against: str | None) -> Line | None:
    if against is None:
        return None
    for line in lines:
        if line.label == against:
            return line
    raise NotInCatalog(f"no row named {against!r}; there are {', '.join(line.label for line in lines)}")


def _ranks(lines: Sequence[Line], key: str) -> tuple[float | None, float | None]:
    """The best and the second-best comparable value of a column; None with fewer than two rows."""
    places = [place for line in lines if (place := line.places.get(key)) and place.comparable]
    values = {place.value for place in places if place.value is not None}
    if len(places) < 2:
        return None, None
    ordered = sorted(values, reverse=all(place.better == "higher" for place in places))
    return ordered[0], ordered[1] if len(ordered) > 1 else None


def _text(place: Place, gain: PercentGain | None, is_published: bool, marks: dict[str, str]) -> str:
    if place.value is None:
        text = place.missing
    else:
        text = f"{place.value:.1f}"
        if place.interval is not None:
            text += f" {interval_text(place.interval[0] / SCALE, place.interval[1] / SCALE, 1)}"
        elif not is_published:
            text += " [no interval]"
    if gain is not None:
        text += f" {gain_text(gain)}"
    letters = [marks.setdefault(note, _letter(len(marks))) for note in place.footnotes]
    return f"{text} ({','.join(letters)})" if letters else text


def _letter(at: int) -> str:
    """``a`` to ``z``, then ``aa``, ``ab`` ..."""
    return LETTERS[at] if at < len(LETTERS) else _letter(at // len(LETTERS) - 1) + LETTERS[at % len(LETTERS)]


def _notes(lines: Sequence[Line], base: Line | None, marks: Mapping[str, str]) -> tuple[str, ...]:
    notes = ["Values x100. Bold: the best, underlined: the second, among rows that may be compared."]
    if any(line.is_published for line in lines):
        notes.append("Italic: as published. Upright, with a 95 % interval: measured here.")
    else:
        notes.append("In brackets: 95 % intervals.")
    if base is not None and base.is_published:
        notes.append(f"Percent: relative gain over {base.label}; its interval takes that published number as exact.")
    elif base is not None:
        notes.append(
            f"Percent: relative gain over {base.label}; its interval is paired by example where both runs hold the "
            "same ones by the same rule, else made from both rows' intervals."
        )
    return (*notes, *(f"({letter}) {note}." for note, letter in marks.items()))
