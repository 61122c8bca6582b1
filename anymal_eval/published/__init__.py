"""Published numbers and their tables. They have a type of their own, so that they never pass for measurements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from anymal_eval import catalog
from anymal_eval.errors import BadDefinition, NotInCatalog

# The footnote of each flag.
FLAGS: Mapping[str, str] = {
    "in-domain": "trained on this benchmark's training data",
    "ocr-input": "given OCR tokens",
    "two-text-examples": "shown two text-only examples",
}


@dataclass(frozen=True, kw_only=True)
class PublishedNumber:
    """One number as a paper prints it.

    Attributes:
        source: the paper.
        table: the table in the paper.
        model, metric, split: as the paper names them; benchmark: our name.
        value: as printed: x100 of the value in a Measurement.
        flags: keys of ``FLAGS``.
        note: an error in the paper, or another remark for the reader.
    """

    source: str
    table: str
    model: str
    benchmark: str
    metric: str
    value: float
    split: str = ""
    flags: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a paper's table.

    Attributes:
        key: its name within the table.
        task, metric, split: as in ``PublishedNumber``.
        measured_as: our task, where it has another name.
        same_splits: our names for that split; empty where the paper does not state the split.
        rules: the metrics (``name`` or ``name@version``) that are the paper's rule; empty where the rule is unknown.
        rule_note: what else is known about the rule.
    """

    key: str
    task: str
    metric: str
    split: str = ""
    measured_as: str = ""
    same_splits: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    rule_note: str = ""

    @property
    def our_task(self) -> str:
        """The task whose measurements belong in this column."""
        return self.measured_as or self.task


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a paper's table; the mappings are by column key."""

    model: str
    values: Mapping[str, float]
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """A table of a paper, rows and columns in its order."""

    id: str
    where: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def row(self, model: str) -> Row:
        """The row of a model.

        Raises:
            NotInCatalog: the table has no such row.
        """
        for row in self.rows:
            if row.model == model:
                return row
        raise NotInCatalog(f"{self.where} has no row {model!r}; it has {', '.join(row.model for row in self.rows)}")


@dataclass(frozen=True, kw_only=True)
class ClaimedGain:
    """A relative gain in percent that a paper claims, and the two rows behind it."""

    table: str
    column: str
    model: str
    against: str
    claim: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Paper:
    """All tables of one paper."""

    summary: str
    source: str
    tables: tuple[PaperTable, ...]
    gains: tuple[ClaimedGain, ...] = ()

    def table(self, id: str) -> PaperTable:
        """The table with that id: ``4`` for Table 4.

        Raises:
            NotInCatalog: the paper has no such table.
        """
        for table in self.tables:
            if table.id == id:
                return table
        raise NotInCatalog(f"{self.source} has no table {id!r}; there are {', '.join(t.id for t in self.tables)}")

    def number(self, table: PaperTable, row: Row, column: Column) -> PublishedNumber | None:
        """The number in one cell of a table; None for an empty cell."""
        value = row.values.get(column.key)
        if value is None:
            return None
        return PublishedNumber(
            source=self.source,
            table=table.where,
            model=row.model,
            benchmark=column.task,
            metric=column.metric,
            value=value,
            split=column.split,
            flags=row.flags.get(column.key, ()),
            note=row.notes.get(column.key, ""),
        )

    def numbers(self) -> Iterator[PublishedNumber]:
        """All numbers, table by table and row by row."""
        for table in self.tables:
            for row in table.rows:
                for column in table.columns:
                    number = self.number(table, row, column)
                    if number is not None:
                        yield number


def load(name: str) -> Paper:
    """The tables of a paper, by its name in the catalog: ``anymal-2023``.

    Raises:
        NotInCatalog: there is no such paper.
        BadDefinition: a row names an unknown column or flag.
    """
    from anymal_eval.codec import read_toml

    file = catalog.published().file(name)
    paper = read_toml(Paper, file)
    _check(paper, file)
    return paper


def names() -> list[str]:
    """The names of all papers in the catalog."""
    return catalog.published().names()


def _check(paper: Paper, file: Path) -> None:
    for table in paper.tables:
        keys = [column.key for column in table.columns]
        if len(set(keys)) != len(keys):
            raise BadDefinition(f"{file}: {table.where} names a column twice")
        for row in table.rows:
            unknown = {*row.values, *row.flags, *row.notes} - set(keys)
            if unknown:
                raise BadDefinition(f"{file}: {table.where}: {row.model}: no column {sorted(unknown)[0]!r}")
            unknown = {flag for flags in row.flags.values() for flag in flags} - set(FLAGS)
            if unknown:
                raise BadDefinition(f"{file}: {table.where}: {row.model}: no flag {sorted(unknown)[0]!r}")
    for gain in paper.gains:
        table = paper.table(gain.table)
        if any(gain.column not in table.row(model).values for model in (gain.model, gain.against)):
            raise BadDefinition(f"{file}: gains: {table.where} lacks a number behind the claim")
