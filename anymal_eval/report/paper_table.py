"""Tables over several runs: models as rows, tasks as columns, a paper's rows first where one is named."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
from anymal_eval.report.paper_layout import Gains, layout, tidy
from anymal_eval.report.rendering import Cell, Table
from anymal_eval.report.run_table import SCALE, interval_text
from anymal_eval.store.results import Results
from anymal_eval.store.stored import StoredRun

LETTERS = string.ascii_lowercase


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What of a table is shown.

    Attributes:
        columns: keys of the columns, in their order; empty for all.
        names: of the runs, in place of their models' names; an empty one leaves it.
        intervals: whether they stand beside the values.
    """

    columns: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    intervals: bool = True

    def columns_of(self, known: Sequence[Column]) -> tuple[Column, ...]:
        """The chosen ones among some columns.

        Raises:
            NotInCatalog: there is no such column.
        """
        by_key = {column.key: column for column in known}
        for key in self.columns:
            if key not in by_key:
                raise NotInCatalog(f"no column {key!r}; there are {', '.join(by_key)}")
        return tuple(by_key[key] for key in self.columns) or tuple(known)


def paper_table(
    runs: Sequence[Results],
    like: str | None = None,
    against: str | None = None,
    stored: Sequence[StoredRun | None] = (),
    choice: Choice | None = None,
) -> Table:
    """The table of several runs, or a paper's table with the runs below its rows.

    Args:
        runs: the results; may be empty with ``like``.
        like: ``anymal-2023/4``: the columns, rows and order of that paper's table.
        against: the label of a row; the other rows show their relative gain over it.
        stored: the runs themselves, with which the gain of one over another is paired by example; None for a run of
            which there are only results.
        choice: of columns, names and intervals; None for all of them as they are.

    Raises:
        NotInCatalog: there is no such paper, table, column or row.
        WrongUse: neither a run nor ``like`` is given.
    """
    choice = choice or Choice()
    if like is None:
        if not runs:
            raise WrongUse("a table needs a run, --like or --gains")
        firsts = first_of_each(runs)
        columns, lines = choice.columns_of(columns_of(firsts)), []
        title, label = "Measured", "measured"
    else:
        firsts = {}
        paper, table = named_table(like)
        columns = choice.columns_of(table.columns)
        keys = {column.key for column in columns}
        lines = [line for line in published_lines(paper, table) if keys & line.places.keys()]
        title, label = f"{paper.source}, {table.where}: {table.title}", like.replace("/", "-")
    lines += measured_lines(runs, columns, firsts, stored, choice.names)
    demo = ", with demo data" if any(run.is_demo for run in runs) else ""
    paired: Mapping[tuple[str, str], PercentGain] = {}
    if against is not None and stored:
        paired = paired_gains(stored, runs, against, columns)
    base = _base(lines, against)
    gains = _gains(columns, lines, base, paired)
    rows, marks = _rows(columns, lines, gains, choice.intervals)
    remarks = _remarks(lines, base, choice.intervals)
    made = Table(
        title=f"{title}{demo}",
        columns=("model", "from", *map(header, columns)),
        rows=rows,
        notes=(*remarks, *(f"({letter}) {note}." for note, letter in marks.items())),
        tidy=tuple(tidy(columns, lines, gains)),
    )
    footnotes = {letter: note for note, letter in marks.items()}
    return replace(made, paper=layout(made.title, columns, lines, label, footnotes, remarks))


def listed_tables() -> list[str]:
    """A line for each published table: what ``--like`` takes, the paper's table, its title."""
    found = [(f"{name}/{table.id}", table) for name in published.names() for table in published.load(name).tables]
    width = max((len(id) for id, _ in found), default=0)
    return [f"{id:{width}}  {table.where}: {table.title}" for id, table in found]


def named_table(like: str) -> tuple[Paper, PaperTable]:
    """The paper and the table that ``PAPER/TABLE`` names.

    Raises:
        NotInCatalog: there is no such paper or table.
    """
    name, _, id = like.partition("/")
    paper = published.load(name)
    return paper, paper.table(id)


def _gains(columns: Sequence[Column], lines: Sequence[Line], base: Line | None, paired: Gains) -> Gains:
    """The relative gain over ``base`` of each number that has one, by row and column."""
    found = {}
    for line in lines:
        for column in columns:
            place, key = line.places.get(column.key), (line.label, column.key)
            over = base.places.get(column.key) if base is not None and base is not line else None
            if place is not None and over is not None and (gain := paired.get(key) or relative_gain(place, over)):
                found[key] = gain
    return found


def _rows(
    columns: Sequence[Column], lines: Sequence[Line], gains: Gains, intervals: bool
) -> tuple[tuple[tuple[Cell, ...], ...], dict[str, str]]:
    """The rows, and the letter of each footnote."""
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
            first, second = best[column.key]
            cells.append(
                replace(
                    _cell(place, gains.get((line.label, column.key)), line.is_published, marks, intervals),
                    bold=place.comparable and place.value == first,
                    underline=place.comparable and place.value == second,
                    italic=line.is_published,
                )
            )
        rows.append(tuple(cells))
    return tuple(rows), marks


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


def _cell(place: Place, gain: PercentGain | None, is_published: bool, marks: dict[str, str], intervals: bool) -> Cell:
    below = []
    if place.value is None:
        text = place.missing
    else:
        text = f"{place.value:.1f}"
        if intervals and place.interval is not None:
            below.append(interval_text(place.interval[0] / SCALE, place.interval[1] / SCALE, 1))
        elif intervals and not is_published:
            below.append("[no interval]")
    if gain is not None:
        below.append(gain_text(gain))
    letters = tuple(marks.setdefault(note, _letter(len(marks))) for note in place.footnotes)
    text = " ".join([text, *below, *([f"({','.join(letters)})"] if letters else [])])
    return Cell(text, below=" ".join(below), marks=letters)


def _letter(at: int) -> str:
    """``a`` to ``z``, then ``aa``, ``ab`` ..."""
    return LETTERS[at] if at < len(LETTERS) else _letter(at // len(LETTERS) - 1) + LETTERS[at % len(LETTERS)]


def _remarks(lines: Sequence[Line], base: Line | None, intervals: bool) -> tuple[str, ...]:
    notes = ["Values x100. Bold: the best, underlined: the second, among rows that may be compared."]
    if any(line.is_published for line in lines):
        notes.append(f"Italic: as published. Upright{', with a 95 % interval' * intervals}: measured here.")
    elif intervals:
        notes.append("In brackets: 95 % intervals.")
    if base is not None and base.is_published:
        notes.append(f"Percent: relative gain over {base.label}; its interval takes that published number as exact.")
    elif base is not None:
        notes.append(
            f"Percent: relative gain over {base.label}; its interval is paired by example where both runs hold the "
            "same ones by the same rule, else made from both rows' intervals."
        )
    return tuple(notes)
