"""Numbers from papers, with their tables: another type than a Measurement, so that the two are never mixed up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from anymal_eval import catalog
from anymal_eval.errors import BadDefinition, NotInCatalog

# What a flag means, as a footnote says it.
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
        table: where in it.
        model, benchmark, metric, split: as the paper names them; the benchmark by our name for it.
        value: as printed, so x100 of what a Measurement holds.
        flags: keys of ``FLAGS``.
        note: an error of the paper's, or what else a reader must know.
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
        same_splits: our names for that split; empty where the paper does not say which it is.
        rules: the metrics (``name`` or ``name@version``) that are the paper's rule; empty where it is not known.
        rule_note: what is known of the rule besides.
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
        """The task whose measurements belong here."""
        return self.measured_as or self.task


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a paper's table; each mapping goes by the columns' keys."""

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
        """The row of that model.

        Raises:
            NotInCatalog: the table has none.
        """
        for row in self.rows:
            if row.model == model:
                return row
        raise NotInCatalog(f"{self.where} has no row {model!r}; it has {', '.join(row.model for row in self.rows)}")


@dataclass(frozen=True, kw_only=True)
class Gain:
    """A relative gain in percent that a paper claims, and the two rows from which it follows."""

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
    gains: tuple[Gain, ...] = ()

    def table(self, id: str) -> PaperTable:
        """The table of that id: ``4`` for Table 4.

        Raises:
            NotInCatalog: there is none.
        """
        for table in self.tables:
            if table.id == id:
                return table
        raise NotInCatalog(f"{self.source} has no table {id!r}; there are {', '.join(t.id for t in self.tables)}")

    def number(self, table: PaperTable, row: Row, column: Column) -> PublishedNumber | None:
        """What stands in one place of a table; None for an empty place."""
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
        """Every number, table by table and row by row."""
        for table in self.tables:
            for row in table.rows:
                for column in table.columns:
                    number = self.number(table, row, column)
                    if number is not None:
                        yield number


def load(name: str) -> Paper:
    """The tables of a paper, by its name here: ``anymal-2023``.

    Raises:
        NotInCatalog: there is none.
        BadDefinition: a row names a column that its table does not have, or a flag that does not exist.
    """
    from anymal_eval.codec import read_toml

    file = catalog.published().file(name)
    paper = read_toml(Paper, file)
    _check(paper, file)
    return paper


def names() -> list[str]:
    """The papers whose numbers are here."""
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
            strange = {flag for flags in row.flags.values() for flag in flags} - set(FLAGS)
            if strange:
                raise BadDefinition(f"{file}: {table.where}: {row.model}: no flag {sorted(strange)[0]!r}")
    for gain in paper.gains:
        table = paper.table(gain.table)
        if any(gain.column not in table.row(model).values for model in (gain.model, gain.against)):
            raise BadDefinition(f"{file}: gains: {table.where} lacks a number that the claim rests on")
