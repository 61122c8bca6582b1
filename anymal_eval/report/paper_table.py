"""Tables over many runs: models as rows, tasks as columns, a paper's rows above where one is named."""

import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anymal_eval import published
from anymal_eval.errors import NotInCatalog, WrongUse
from anymal_eval.published import Column, Paper, PaperTable
from anymal_eval.report.comparison import (
    Line,
    Place,
    columns_of,
    first_of_each,
    measured_lines,
    published_lines,
)
from anymal_eval.report.rendering import Cell, Table
from anymal_eval.store.results import Results

if TYPE_CHECKING:
    from anymal_eval.report.run_gains import Paired
    from anymal_eval.statistics.gain import Gain
    from anymal_eval.statistics.intervals import Interval

LETTERS = string.ascii_lowercase


def paper_table(
    runs: Sequence[Results],
    like: str | None = None,
    against: str | None = None,
    folders: Sequence[Path] | None = None,
) -> Table:
    """The table of some runs, or a paper's table with the runs below its rows.

    Args:
        runs: what was measured; may be empty with ``like``.
        like: ``anymal-2023/4``: that paper's columns, rows and order.
        against: a row's name; the others show their relative gain over it.
        folders: where the runs lie; with it the gain of one run over another is paired by example.

    Raises:
        NotInCatalog: there is no such paper, table or row.
        WrongUse: nothing is named at all.
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
    lines += measured_lines(runs, columns, firsts)
    demo = ", with demo data" if any(run.is_demo for run in runs) else ""
    paired: Paired = {}
    if against is not None and folders is not None:
        from anymal_eval.report.run_gains import paired_gains

        paired = paired_gains(folders, runs, against, columns)
    return _table(f"{title}{demo}", columns, lines, against, paired)


def named_table(like: str) -> tuple[Paper, PaperTable]:
    """The paper and the table that ``PAPER/TABLE`` names.

    Raises:
        NotInCatalog: there is none.
    """
    name, _, id = like.partition("/")
    paper = published.load(name)
    return paper, paper.table(id)


def header(column: Column) -> str:
    """What stands above a column: its key, and the metric where the key does not say it."""
    return column.key if column.metric in column.key else f"{column.key} {column.metric}"


def gain(place: Place, base: Place) -> tuple[float, tuple[float, float] | None] | None:
    """The relative gain in percent, with its interval.

    A published ``base`` is taken as exact; two measured places as two samples of their own, which is too wide where
    they are over the same examples (``run_gains`` pairs those).

    Returns:
        None where either is missing, over demo data, or the base is not above zero.
    """
    if place.value is None or base.value is None or base.value <= 0 or place.is_demo != base.is_demo:
        return None
    share = 100.0 / base.value
    interval = None
    if place.interval is not None and base.interval is not None:
        from anymal_eval.statistics.gain import independent

        found = independent(_interval(place.value, place.interval), _interval(base.value, base.interval))
        if found.low == found.low:
            interval = (100.0 * found.low, 100.0 * found.high)
    if place.interval is not None and base.interval is None:
        interval = (share * place.interval[0] - 100.0, share * place.interval[1] - 100.0)
    return share * place.value - 100.0, interval


def _interval(value: float, limits: tuple[float, float]) -> "Interval":
    # Imported here: a table without such gains does without numpy.
    from anymal_eval.statistics.intervals import Interval

    return Interval(value=value, low=limits[0], high=limits[1], method="")


def gain_text(found: tuple[float, tuple[float, float] | None]) -> str:
    """A gain as a table shows it.

    >>> gain_text((7.0, (5.06, 8.9)))
    '+7.0 % [+5.1, +8.9]'
    """
    value, interval = found
    return f"{value:+.1f} %" + (f" [{interval[0]:+.1f}, {interval[1]:+.1f}]" if interval else "")


def _table(
    title: str, columns: Sequence[Column], lines: Sequence[Line], against: str | None, paired: "Paired"
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
            found = _paired_gain(paired.get((line.label, column.key))) if over is not None else None
            found = found or (gain(place, over) if over is not None else None)
            first, second = best[column.key]
            cells.append(
                Cell(
                    _text(place, found, line.is_published, marks),
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
    """The best and the second value among the comparable ones of a column, when there are at least two rows."""
    places = [place for line in lines if (place := line.places.get(key)) and place.comparable]
    values = {place.value for place in places if place.value is not None}
    if len(places) < 2:
        return None, None
    ordered = sorted(values, reverse=all(place.better == "higher" for place in places))
    return ordered[0], ordered[1] if len(ordered) > 1 else None


def _paired_gain(found: "Gain | None") -> tuple[float, tuple[float, float] | None] | None:
    if found is None or found.value != found.value:
        return None
    interval = (100.0 * found.low, 100.0 * found.high) if found.low == found.low else None
    return 100.0 * found.value, interval


def _text(
    place: Place, found: tuple[float, tuple[float, float] | None] | None, is_published: bool, marks: dict[str, str]
) -> str:
    if place.value is None:
        text = "not computed"
    else:
        text = f"{place.value:.1f}"
        if place.interval is not None:
            text += f" [{place.interval[0]:.1f}, {place.interval[1]:.1f}]"
        elif not is_published:
            text += " [no interval]"
    if found is not None:
        text += f" {gain_text(found)}"
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
