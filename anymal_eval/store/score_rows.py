"""The rows of ``scores.jsonl``: what a comparison of runs needs as columns, the rest where a row is looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, overload

from anymal_eval.codec import UNREADABLE, parse
from anymal_eval.errors import BadData
from anymal_eval.json_rows import by_identity, columns_in, lines_in

# What every row has as text; then the other keys, with what stands for one that a row lacks.
_TEXTS = dict.fromkeys(("id", "cluster", "state", "answer"), str)
_OTHERS: Mapping[str, Any] = {
    **dict.fromkeys(("scores", "raw", "key", "choice", "p_yes", "cut", "thinking", "template")),
    "groups": {},
}
# Of these, few are different: rows share them, because their memory counts.
_FEW = ("cluster", "state", "answer")


class ScoreRows(Sequence[Mapping[str, Any]]):
    """N rows in the order of the data, each decoded anew when it is looked at; columns are decoded once."""

    def __init__(self, rows: Sequence[bytes] | Sequence[Any], columns: dict[str, list[Any]]) -> None:
        """``rows``: undecoded, or what was decoded; ``columns``: those that are known, (N,) by key."""
        self._rows = rows
        self._columns = columns

    @classmethod
    def read(cls, content: bytes, file: Path) -> Self:
        """The rows in the content of a file, which only messages name.

        Raises:
            BadData: a line is no JSON.
        """
        lines = lines_in(content)
        columns = columns_in(lines, _TEXTS, _OTHERS, shared=_FEW)
        if columns is not None:
            return cls(lines, columns)
        # Rows of another kind: what is wrong with them is found where they are verified.
        try:
            return cls(json.loads(b"[%s]" % b",".join(lines)), {})
        except UNREADABLE as error:
            raise BadData(f"{file}: {error}; is the file whole?") from None

    def column(self, key: str) -> list[Any]:
        """The values of a key (N,); None for one that a row lacks, of groups an empty object.

        Equal ones may be one object, which nobody changes.

        Raises:
            AttributeError: a row is no object, which verification refuses.
        """
        if key not in self._columns:
            self._columns[key] = [row.get(key, _OTHERS.get(key)) for row in self]
        return self._columns[key]

    def within(self, key: str, name: str) -> list[Any]:
        """The values of a key in the objects of a column (N,); None for one that an object lacks.

        Raises:
            AttributeError: the column holds anything but objects.
        """
        objects = self.column(key)
        values = {number: one.get(name) for number, one in by_identity(objects).items()}
        return list(map(values.__getitem__, map(id, objects)))

    def take(self, places: Sequence[int]) -> Self:
        """The rows at some places, in their order."""
        columns = {key: [values[at] for at in places] for key, values in self._columns.items()}
        return type(self)([self._rows[at] for at in places], columns)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> Mapping[str, Any]: ...

    @overload
    def __getitem__(self, at: slice) -> Self: ...

    def __getitem__(self, at: int | slice) -> Mapping[str, Any] | Self:
        """A whole row, or several."""
        if isinstance(at, slice):
            return self.take(range(len(self._rows))[at])
        row: Any = self._rows[at]
        return parse(row) if isinstance(row, bytes) else row  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """The whole rows, one after the other."""
        return (parse(row) if isinstance(row, bytes) else row for row in self._rows)
