"""Responses on disk: one line each, appended as they come, whole again after any crash."""

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

SYNC_EVERY_S = 1.0  # a crash of the process loses nothing; a crash of the machine at most this


def read_responses(file: Path) -> dict[str, Response]:
    """All whole responses by id. A last line without its end is what a kill left behind and is passed over.

    Raises:
        BadData: a line before the last is no response, or an id stands twice.
    """
    found: dict[str, Response] = {}
    if not file.is_file():
        return found
    for number, row in read_json_lines(file, _whole_bytes(file)):
        response = decode(Response, row, f"{file}: line {number}")
        if response.id in found:
            raise BadData(f"{file}: line {number}: {response.id} stands in it twice; was the file edited?")
        found[response.id] = response
    return found


def _whole_bytes(file: Path) -> int:
    # Lines are searched from the end in blocks, because a file may hold hundreds of thousands.
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
    """Appends batches of responses. Every batch is with the operating system before ``append`` returns."""

    def __init__(self, file: Path) -> None:
        """Open for appending, without the failures of earlier tries: those are asked again."""
        self._file = file
        found = read_responses(file)
        kept = {name: item for name, item in found.items() if item.failure is None}
        self.answered = frozenset(kept)
        if len(kept) < len(found):
            write_atomic(file, "".join(_line(item) for item in kept.values()))
        elif file.is_file():
            os.truncate(file, _whole_bytes(file))
        with storage_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            self._stream = file.open("ab", buffering=0)
        self._synced = time.monotonic()

    def append(self, batch: Sequence[Response]) -> None:
        """Write a batch.

        Raises:
            StorageFull: it was not written; the lines before it are whole.
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
        """Bring everything to the disk and close."""
        try:
            with storage_errors(self._file):
                os.fsync(self._stream.fileno())
        finally:
            self._stream.close()


def _line(response: Response) -> str:
    return write_json(encode(response)) + "\n"
