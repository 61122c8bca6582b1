"""Rows of JSON and CSV files. With these a task whose data lie in such files needs no reader of its own."""

import itertools
import os
import string
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from anymal_eval.codec import parse_json, read_bytes
from anymal_eval.errors import BadData
from anymal_eval.json_rows import list_in
from anymal_eval.sources.csv_rows import read_csv
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import first_of, medium, read_lines, require
from anymal_eval.sources.hub_archives import beside_rows
from anymal_eval.sources.joining import Annotations, JsonRows
from anymal_eval.task import DataFile, Split

T = TypeVar("T")
Reader = Callable[[Iterator["Row"]], Iterator[Any]]


class Row(Fields):
    """One row of a file or of a copy on the hub, with its media.

    Attributes:
        root: ``DIR/<task>``, absolute.
        split: the split that is read; ``split.labelled`` says whether the row must have an answer.
        number: counted from 0, for ids; messages count from 1.
        uri: the medium, where a hub row holds it.
        place_on_hub: ``ID@REVISION/CONFIG/SPLIT`` of a hub row; empty for a file's.
        annotation: the row of the annotations file with the same id; None where there is no such file.
    """

    __slots__ = ("_known", "annotation", "number", "place_on_hub", "root", "split", "uri")

    def __init__(
        self, fields: Fields, root: Path, split: Split, number: int, uri: str = "", place_on_hub: str = ""
    ) -> None:
        """Add to the fields of a row what its source knows."""
        self.data, self.file, self._place = fields.data, fields.file, fields._place
        self.root, self.split, self.number, self.uri = root, split, number, uri
        self.place_on_hub = place_on_hub
        self.annotation: Fields | None = None
        self._known: dict[tuple[str, str], str] | None = None

    def medium(self, *patterns: str) -> str:
        """Where the row's medium is: in the hub row itself, or in the first of the named files that exists.

        Args:
            patterns: paths below ``DIR/<task>``, such as ``images/{imageId}.jpg``. Keys in braces are filled from the
                row, ``{split}`` with the split's name in the official files. The folder before the first key is part
                of the layout; the rest may not lead out of it.

        Raises:
            BadData: a key is missing, or the path leads out of its folder.
        """
        return self.uri or first_of([self._path(pattern) for pattern in patterns])

    def medium_in(self, folder: str, *names: str) -> str:
        """The same for file names that the caller has made from the row; a hub row's may lie in the copy itself."""
        if self.uri:
            return self.uri
        found = first_of([medium(self.root, folder, name, self) for name in names])
        if self.place_on_hub and not os.path.exists(found):
            return beside_rows(self.place_on_hub, tuple(name.rpartition("/")[2] for name in names)) or found
        return found

    def _path(self, pattern: str) -> str:
        folder, parts = _parsed(pattern, self.split.in_files)
        name = ""
        for text, key, spec in parts:
            name += text + (format(self.whole(key), spec) if spec else self.name(key) if key else "")
        # Some files name their folder too, as in "img/08291.png".
        name = name.removeprefix(f"{folder}/") if folder else name
        if self._known is None:
            return medium(self.root, folder, name, self)
        found = self._known.get((folder, name))
        if found is None:
            found = self._known[folder, name] = medium(self.root, folder, name, self)
        return found


@lru_cache
def _parsed(pattern: str, split: str) -> tuple[str, list[tuple[str, str, str]]]:
    """The folder before the first key, and the rest as (text, key, format of a number)."""
    pattern = pattern.replace("{split}", split)
    folder = pattern.partition("{")[0].rpartition("/")[0]
    parts = string.Formatter().parse(pattern[len(folder) :].lstrip("/"))
    return folder, [(text, key or "", spec or "") for text, key, spec, _ in parts]


def each(read: Callable[[Row], T]) -> Callable[[Iterator[Row]], Iterator[T]]:
    """A reader of all rows made from a reader of one row."""
    return lambda rows: map(read, rows)


def without_faults(items: Iterator[T], faults: list[str]) -> Iterator[T]:
    """The items until the iterator ends; ``faults`` gets the message of each ``BadData`` that it raises."""
    while True:
        try:
            yield next(items)
        except StopIteration:
            return
        except BadData as error:
            faults.append(str(error))


def rows_in(data: Any, key: str, file: Path, name: str = "id") -> Iterator[Fields]:
    """The rows of a list, or of an object of rows by id: under ``key``, or the whole where that is empty.

    Args:
        data: a whole JSON file.
        key: what the rows stand under.
        file: the file, for messages.
        name: the key under which a row gets its id from an object's keys.

    Raises:
        BadData: it is neither, or is empty.
    """
    found = Fields(data, file, "the whole").raw(key) if key else data
    if not isinstance(found, list | dict) or not found:
        what = repr(key) if key else "the whole"
        raise BadData(f"{file}: {what} must be a list of rows, not {type(found).__name__} or empty")
    if isinstance(found, list):
        return (Fields(row, file, f"{key} row {n}" if key else f"row {n}") for n, row in enumerate(found, 1))
    rows = ((id_, {**row, name: id_} if isinstance(row, dict) else row) for id_, row in found.items())
    return (Fields(row, file, f"{key} {id_}" if key else f"row {id_}") for id_, row in rows)


@dataclass(frozen=True, kw_only=True)
class Table(ABC):
    """A file of rows below ``DIR/<task>``, with what lies beside it: what ``JsonFiles`` and ``CsvFiles`` share.

    File and folder names may hold ``{split}``, which stands for the split's name in the official files.

    Attributes:
        file: the file of rows.
        origin: where it comes from.
        id: the key of a row's id; used to join ``annotations``, and as the key's name where ids are an object's keys.
        annotations: a second file, joined by id and read for splits with public labels: ``Row.annotation``.
        optional: other files that are read where they exist, with their origins.
        folders: the folders of media, with their origins.
        read: makes the benchmark's own rows of them; without it ``to_example`` gets each ``Row``.
        regular: makes the same rows of large files faster, the first ones, as long as these hold nothing unusual; it
            returns whether it made all. ``read`` makes the others, and says what is wrong with them.
        layout: what a row holds, for ``data describe``; for files that are documented nowhere else.
    """

    file: str
    origin: str
    id: str = "id"
    annotations: "Table | None" = None
    optional: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    read: Reader = field(default=iter, repr=False)
    regular: "Callable[[Table, Path, Split], Generator[Any, None, bool]] | None" = field(default=None, repr=False)
    layout: str = ""

    def files(self, split: Split) -> tuple[DataFile, ...]:
        """What must lie where; without labels there is no annotations file."""
        tables = [self] if self.annotations is None or not split.labelled else [self, self.annotations]
        beside = [(name, origin, False) for name, origin in self.optional.items()]
        beside += [(f"{name}/", origin, True) for name, origin in self.folders.items()]
        return (
            *(DataFile(name=table._name(split), origin=table.origin) for table in tables),
            *(
                DataFile(name=name.format(split=split.in_files), origin=origin, needed=False, is_folder=is_folder)
                for name, origin, is_folder in beside
            ),
        )

    def rows(self, root: Path, split: Split) -> Iterator[Any]:
        """The rows, in the order of the file.

        Raises:
            MissingData, BadData: naming the file, the row and the key.
        """
        require(root, self.files(split))
        return self._past_regular(root, split) if self.regular else self.read(self._rows(root, split))

    def rows_past_faults(self, root: Path, split: Split, faults: list[str]) -> Iterator[Any]:
        """The rows that have no fault; ``faults`` gets a line for each other one, as far as the file can be read on.

        Raises:
            MissingData: the file is missing.
        """
        require(root, self.files(split))
        rows = yield from self._regular(root, split)
        while rows is not None:
            known = len(faults)
            # A reader that has raised is at its end; the rows after the faulty one are left for a new one.
            yield from without_faults(self.read(rows), faults)
            if len(faults) == known or (known and faults[-1] == faults[known - 1]):
                return

    def _past_regular(self, root: Path, split: Split) -> Iterator[Any]:
        rest = yield from self._regular(root, split)
        if rest is not None:
            yield from self.read(rest)

    def _regular(self, root: Path, split: Split) -> Generator[Any, None, "Iterator[Row] | None"]:
        """The rows that ``regular`` makes; then those for ``read``, None where there are none."""
        if self.regular is None:
            return self._rows(root, split)
        done, quick = 0, self.regular(self, root, split)
        while True:
            try:
                row = next(quick)
            except StopIteration as end:
                if end.value:
                    return None
                break
            yield row
            done += 1
        rows = self._rows(root, split)
        deque(itertools.islice(rows, done), maxlen=0)
        return rows

    @abstractmethod
    def _read(self, file: Path) -> Iterator[Fields] | JsonRows:
        """The rows of such a file, in order."""

    def _name(self, split: Split) -> str:
        return self.file.format(split=split.in_files)

    def _rows(self, root: Path, split: Split) -> Iterator[Row]:
        file, home = root / self._name(split), root.absolute()
        other = self.annotations if split.labelled else None
        notes = None
        if other is not None:
            notes_file = root / other._name(split)
            notes = Annotations(other._read(notes_file), notes_file, other.id)
        names: list[str] = []
        known: dict[tuple[str, str], str] = {}  # rows of one medium share its path, which is looked up once
        for number, fields in enumerate(self._read(file)):
            row = Row(fields, home, split, number)
            row._known = known
            if notes is not None:
                name = row.name(self.id)
                names.append(name)
                row.annotation = notes.find(number, name)
                if row.annotation is None:
                    raise row.bad(f"{self.id} {name} has no annotation in {notes.file}")
            yield row
        if notes is not None:
            notes.require_same(names, file, self.id)


@dataclass(frozen=True, kw_only=True)
class JsonFiles(Table):
    """Rows of JSON: JSON lines in a file ``*.jsonl``; else a list, or an object of rows by id.

    ``key`` names the list or object inside the file; without it, it is the whole of the file. The keys of an object of
    rows become each row's ``id``.
    """

    key: str = ""

    def _read(self, file: Path) -> Iterator[Fields] | JsonRows:
        if file.suffix == ".jsonl":
            return read_lines(file)
        return self._whole(file)

    def _whole(self, file: Path) -> Iterator[Fields] | JsonRows:
        content = read_bytes(file)
        found = list_in(content, self.key, file)
        if found:
            return JsonRows(found, file, self.key)
        is_object = content[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
        return rows_in(parse_json(content, file, ids_as_keys=is_object and not self.key), self.key, file, self.id)


@dataclass(frozen=True, kw_only=True)
class CsvFiles(Table):
    """Rows of a table of texts, separated by commas, or by tabs in a file ``*.tsv``.

    ``columns`` are those that must be there; where there is no header line (``header=False``), all of them, in order.
    """

    columns: tuple[str, ...] = ()
    header: bool = True

    def _read(self, file: Path) -> Iterator[Fields]:
        return read_csv(file, self.columns, header=self.header)


class BySplit(ABC):
    """A source whose layout differs from split to split."""

    @abstractmethod
    def table(self, split: Split) -> Table:
        """The layout of one split."""

    def files(self, split: Split) -> tuple[DataFile, ...]:
        """What must lie where."""
        return self.table(split).files(split)

    def rows(self, root: Path, split: Split) -> Iterator[Any]:
        """The rows, in the order of the file.

        Raises:
            MissingData, BadData: naming the file, the row and the key.
        """
        return self.table(split).rows(root, split)
