"""Responses on disk: JSON lines, appended as they arrive, readable after any crash."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from anymal_eval.codec import decode, encode, read_json_lines, write_json
from anymal_eval.errors import BadData
from anymal_eval.records import Response
from anymal_eval.store.atomic import storage_errors, write_atomic

SYNC_EVERY_S = 1.0  # a crash of the process loses nothing; a crash of the machine loses at most this


def read_responses(file: Path) -> dict[str, Response]:
    """All complete responses by id. A last line without a newline was cut off by a kill and is skipped.

    Raises:
        BadData: a line before the last is no response, or an id occurs twice.
    """
    found: dict[str, Response] = {}
    if not file.is_file():
        return found
    for number, row in read_json_lines(file, _whole_bytes(file)):
        response = decode(Response, row, f"{file}: line {number}")
        if response.id in found:
            raise BadData(f"{file}: line {number}: {response.id} occurs twice; was the file edited?")
        found[response.id] = response
    return found


def _whole_bytes(file: Path) -> int:
    # Read from the end in blocks, because a file may hold hundreds of thousands of lines.
    size = file.stat().st_size
    block = 1 << 16
    with file.open("rb") as stream:
        end = size
        while end > 0:
            start = max(0, end - block)
            stream.seek(start)
            last = stream.read(end - start).rfind(b"\n")
            if last != -1:
                return start + last + 1
            end = start
    return 0


class ResponseLog:
    """Appends batches of responses. The operating system has a batch before ``append`` returns.

    Attributes:
        answered: the ids that had an answer when the log was opened.
    """

    def __init__(self, file: Path) -> None:
        """Open for appending, and drop earlier failures: a resumed run requests those again."""
        self._file = file
        found = read_responses(file)
        answers = {name: item for name, item in found.items() if item.failure is None}
        self.answered = frozenset(answers)
        if len(answers) < len(found):
            write_atomic(file, "".join(_line(item) for item in answers.values()))
        elif file.is_file():
            os.truncate(file, _whole_bytes(file))
        with storage_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            self._stream = file.open("ab", buffering=0)
        self._synced = time.monotonic()

    def append(self, batch: Sequence[Response]) -> None:
        """Write a batch.

        Raises:
            StorageFull: the batch is not written; the lines before it are complete.
        """
        data = "".join(_line(item) for item in batch).encode()
        with storage_errors(self._file):
            while data:
                data = data[self._stream.write(data) :]
            if time.monotonic() - self._synced > SYNC_EVERY_S:
                os.fsync(self._stream.fileno())
                self._synced = time.monotonic()

    def __enter__(self) -> Self:
        """Use it in a ``with`` statement."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush everything to the disk and close the file."""
        try:
            with storage_errors(self._file):
                os.fsync(self._stream.fileno())
        finally:
            self._stream.close()


def _line(response: Response) -> str:
    return write_json(encode(response)) + "\n"
