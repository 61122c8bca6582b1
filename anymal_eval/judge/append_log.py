"""A file of checked lines that is only appended to: a line is on disk before it is acknowledged, and never changed.

What a torn last line held was not acknowledged; it is dropped when the file is opened again.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from anymal_eval.checksums import write_checked_line
from anymal_eval.locks import hold
from anymal_eval.store.atomic import storage_errors
from anymal_eval.store.responses import whole_bytes


class AppendLog:
    """A file, open for appending by one process."""

    def __init__(self, file: Path, busy: str) -> None:
        """Lock the file, make it where it is missing, and drop a last line that was cut off.

        Args:
            file: the file.
            busy: the message where another process has it.

        Raises:
            OtherRun: another process has it. FileUnusable: it cannot be written.
        """
        self._file = file
        self._lock = hold(file.with_name(f".{file.name}.lock"), busy)
        self._lock.__enter__()
        try:
            with storage_errors(file):
                self._stream = file.open("ab", buffering=0)
                whole = whole_bytes(file)
                if file.stat().st_size > whole:
                    os.truncate(file, whole)
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one line; the disk has it when this returns.

        Raises:
            StorageFull: it is not written.
        """
        start = os.fstat(self._stream.fileno()).st_size
        data = write_checked_line(row)
        try:
            with storage_errors(self._file):
                while data:
                    data = data[self._stream.write(data) :]
                os.fsync(self._stream.fileno())
        except BaseException:
            os.ftruncate(self._stream.fileno(), start)
            raise

    def __enter__(self) -> Self:
        """Use it in a ``with`` statement."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._stream.close()
        self._lock.__exit__(None, None, None)
