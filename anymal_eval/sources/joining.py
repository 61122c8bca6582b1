"""Rows of large JSON files, one at a time in memory, and the rows of a second file that belong to them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from anymal_eval.errors import BadData, listed
from anymal_eval.json_rows import JsonList
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import refuse_doubles


class JsonRows:
    """The rows of a list in a JSON file, each decoded when it is needed."""

    def __init__(self, items: JsonList, file: Path, key: str) -> None:
        """``items`` of the list under ``key``; empty where the list is the whole of the file."""
        self._items, self._file, self._what = items, file, f"{key} row" if key else "row"

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._items)

    def __getitem__(self, at: int) -> Fields:
        """One row, decoded anew each time.

        Raises:
            BadData: it is no object.
        """
        return Fields(self._items[at], self._file, (self._what, at + 1))

    def __iter__(self) -> Iterator[Fields]:
        """The rows, in order."""
        return map(self.__getitem__, range(len(self)))


class Annotations:
    """The rows of an annotations file, found by id.

    Official files have the order of the questions: the row with a question's number is looked at first, so that such a
    file needs no index, and one row at a time is in memory.
    """

    def __init__(self, rows: "Iterator[Fields] | JsonRows", file: Path, key: str) -> None:
        """``rows`` of ``file``, whose ids stand under ``key``."""
        self.file = file
        self._id = key
        self._rows = rows if isinstance(rows, JsonRows) else list(rows)
        self._places: dict[str, int] | None = None

    def find(self, number: int, name: str) -> Fields | None:
        """The row with this id; None where there is none. ``number``: its place, if the order is the questions'.

        Raises:
            BadData: a row has no id, or two have the same.
        """
        if self._places is None:
            if number < len(self._rows):
                row = self._rows[number]
                if row.name(self._id) == name:
                    return row
            self._places = self._by_id()
        at = self._places.get(name)
        return None if at is None else self._rows[at]

    def require_same(self, names: Sequence[str], questions: Path, key: str) -> None:
        """Make sure that the rows have these ids, each once.

        Args:
            names: what :func:`find` was called with, in this order.
            questions: the file that they stand in.
            key: what they are called there.

        Raises:
            BadData: an id is in one of the files twice, or has no question.
        """
        known = set(names)
        if self._places is None and len(known) < len(self._rows):
            self._places = self._by_id()
        refuse_doubles(names, questions, key)
        if unknown := [name for name in self._places or () if name not in known]:
            raise BadData(f"{self.file}: {len(unknown)} unknown {self._id}, not in {questions.name}: {listed(unknown)}")

    def _by_id(self) -> dict[str, int]:
        names = [row.name(self._id) for row in self._rows]
        refuse_doubles(names, self.file, self._id)
        return {name: at for at, name in enumerate(names)}
