"""Tables for a terminal: never wider than it. A wider one is turned, split, or shown as blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from anymal_eval.report.rendering import Cell, Table
from anymal_eval.visible import wrapped

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

GAP = 2  # blank columns between two columns
STYLES = {"": "", "better": "green", "worse": "red", "unsure": "yellow", "quiet": "dim"}


def screen(forms: Sequence[Table], width: int, *, split: bool = False) -> RenderableType:
    """The first form of a table that fits, else the last one as blocks; its title above, its notes below.

    Args:
        forms: the same table, from its widest form to its narrowest.
        width: the columns of the terminal.
        split: where none fits, show the first one as several tables that do, before blocks.
    """
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    shown = next((form for form in forms if _width(form) <= width), None)
    for line in wrapped(forms[0].title, width):
        parts.append(Text(line, style="bold"))
    tables = [shown] if shown is not None else _parts(forms[0], width) if split else []
    shown = shown if shown is not None else forms[0] if tables else forms[-1]
    for table in tables:
        parts += [Text(), _grid(table)]
    parts += [Text()] if tables else [Text(), *_blocks(shown, width)]
    parts += [Text(line, style="dim") for note in shown.notes for line in wrapped(note, width)]
    return Group(*parts)


def forms_of(table: Table) -> tuple[Table, ...]:
    """A table, and the same with its rows as columns."""
    heads = [row[0].text for row in table.rows]
    if not heads or len(set(heads)) < len(heads):
        return (table,)
    turned = tuple(
        (Cell(column), *(row[at] for row in table.rows)) for at, column in enumerate(table.columns) if at > 0
    )
    return (table, replace(table, columns=(table.columns[0], *heads), rows=turned))


def _parts(table: Table, width: int) -> list[Table]:
    """The table as several: each has the first column, and of the others as many as fit; none where one does not."""

    def taken(columns: Sequence[int]) -> Table:
        rows = tuple(tuple(row[at] for at in (0, *columns)) for row in table.rows)
        return replace(table, columns=tuple(table.columns[at] for at in (0, *columns)), rows=rows)

    groups: list[list[int]] = []
    for at in range(1, len(table.columns)):
        if groups and _width(taken([*groups[-1], at])) <= width:
            groups[-1].append(at)
        else:
            groups.append([at])
    found = [taken(group) for group in groups]
    return found if all(_width(each) <= width for each in found) else []


def _width(table: Table) -> int:
    from rich.cells import cell_len

    columns = [[heading, *(row[at].text for row in table.rows)] for at, heading in enumerate(table.columns)]
    return sum(max(map(cell_len, texts)) for texts in columns) + GAP * (len(columns) - 1)


def _grid(table: Table) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading in table.columns:
        grid.add_column(Text(heading), no_wrap=True)
    for row in table.rows:
        grid.add_row(*map(_text, row))
    return grid


def _blocks(table: Table, width: int) -> list[Text]:
    from rich.text import Text

    lines = []
    longest = max(map(len, table.columns[1:]), default=0)
    for row in table.rows:
        lines += [Text(line, style="bold") for line in wrapped(row[0].text, width)]
        for heading, cell in zip(table.columns[1:], row[1:], strict=True):
            if cell.text:
                lines += [Text(line, style=STYLES[cell.tone])
                          for line in wrapped(f"  {heading:<{longest}}  {cell.text}", width)]  # fmt: skip
        lines.append(Text())
    return lines


def _text(cell: Cell) -> Text:
    from rich.text import Text

    styles = (STYLES[cell.tone], "bold" * cell.bold, "italic" * cell.italic, "underline" * cell.underline)
    # As a part of the text, so that an underline ends with it.
    return Text().append(cell.text, style=" ".join(filter(None, styles)))
