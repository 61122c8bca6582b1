"""Rows that hold no sample: each is left out and counted, and few of them stop no training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from anymal_eval.errors import BadData
from anymal_eval.sources.fields import Fields

if TYPE_CHECKING:  # a sample holds a conversation, whose module imports torch
    from anymal_eval.training.samples import Sample


class BadRows:
    """The bad rows of one table or of its shards.

    Attributes:
        rows: of the table, read so far, bad ones included.
        reasons: why a row holds no sample, by its file and row.
    """

    def __init__(self, *, counted: bool = True) -> None:
        """``counted``: leave a bad row out and count it; else it is an error."""
        self._counted = counted
        self.rows = 0
        self.reasons: dict[str, str] = {}
        self._shards: set[int] = set()

    def add(self, where: str, error: BadData) -> None:
        """Count a row that holds no sample.

        Raises:
            BadData: that error, where bad rows are not counted.
        """
        if not self._counted:
            raise error
        self.rows += 1
        self.reasons[where] = str(error).removeprefix(f"{where}: ")

    def read(self, shard: int, rows: int) -> None:
        """Count the rows of a shard, which is read once an epoch, the first time."""
        if shard not in self._shards:
            self._shards.add(shard)
            self.rows += rows

    def fields(self, items: Iterable[tuple[str, object]], file: Path) -> Iterator[Fields]:
        """The rows that are objects, of pairs of a place in the file and a row."""
        for place, item in items:
            try:
                row = Fields(item, file, place)
            except BadData as error:
                self.add(f"{file}: {place}", error)
            else:
                yield row

    def samples(self, rows: Iterable[Fields], make: Callable[[Fields], Iterable[Sample]]) -> Iterator[Sample]:
        """The samples of the good rows; ``make`` gives those of one row."""
        for row in rows:
            try:
                made = list(make(row))
            except BadData as error:
                self.add(row.where, error)
            else:
                self.rows += 1
                yield from made

    def first(self) -> BadData | None:
        """The error of the first bad row."""
        return next((BadData(f"{where}: {reason}") for where, reason in self.reasons.items()), None)
