"""Responses on disk: JSON lines with a checksum each, appended as they arrive, readable after any crash."""

import itertools
import os
import sys
import time
import typing
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from anymal_eval.checksums import CRC, ends_with_checksum, read_checked_lines, with_checksum, write_checked_line
from anymal_eval.codec import decode, encode, parse, write_json
from anymal_eval.errors import BadData, WrongUse
from anymal_eval.json_rows import columns_in, line_decoder, lines_in
from anymal_eval.locks import deleted
from anymal_eval.records import Finish, Response
from anymal_eval.sources.load import collector_resting
from anymal_eval.store.atomic import storage_errors, write_atomic

_AT_ONCE = 1 << 13  # lines of which ids are read
SYNC_EVERY_S = 1.0  # a crash of the process loses nothing; a crash of the machine loses at most this


def read_responses(file: Path, wanted: Collection[str] | None = None) -> dict[str, Response]:
    """All complete responses by id. A last line without a newline was cut off by a kill and is skipped.

    Args:
        file: of a task; an empty result without one.
        wanted: the ids to return, or all; of the other lines the ids are read, and no checksum is compared.

    Raises:
        BadData: lines are damaged or no response, or an id occurs twice; the message says what to do.
    """
    some = None if wanted is None or not file.is_file() else _some(file, wanted)
    if some is not None:
        return some
    found: dict[str, Response] = {}
    with collector_resting():
        for number, _, row in _lines(file):
            response = _response(row, file, number)
            if response.id in found:
                raise _twice(file, number, response.id)
            found[response.id] = response
    return found if wanted is None else {name: one for name, one in found.items() if name in wanted}


def _some(file: Path, wanted: Collection[str]) -> dict[str, Response] | None:
    """The responses with certain ids; None where a line is not one of this version, or an id occurs twice."""
    found: dict[str, Response] = {}
    known: set[str] = set()
    count, quick = 0, _plain_lines()
    with file.open("rb") as stream:
        while lines := [line for line in itertools.islice(stream, _AT_ONCE) if line.endswith(b"\n")]:
            names = (columns_in(lines, {"id": str}, {}) or {}).get("id", [])
            known.update(names)
            for at in [at for at, name in enumerate(names) if name in wanted]:
                if not ends_with_checksum(lines[at]):
                    return None
                row = quick(lines[at]) or {key: value for key, value in parse(lines[at]).items() if key != CRC}
                found[names[at]] = _response(row, file, count + at + 1)
            count += len(lines)
            if len(known) < count:
                return None
    return found


def _lines(file: Path) -> Iterator[tuple[int, bytes, Any]]:
    """The whole lines, with an object for each that is plain, and a dict for any other."""
    return read_checked_lines(file, whole_bytes(file), quick=_plain_lines()) if file.is_file() else iter(())


@cache
def _plain_lines() -> Callable[[bytes], Any]:
    """Reads the lines that almost all are: an answer, without anything that :func:`decode` has to look at."""
    others = {"finish": Finish, "thinking": str, "prompt_tokens": int, "new_tokens": int, "crc": str}
    return line_decoder({"id": str, "answer": str}, others)


def _response(row: Any, file: Path, number: int) -> Response:
    """The response in a row of :func:`_lines`."""
    if isinstance(row, dict):
        return decode(Response, row, f"{file}: line {number}")
    return Response(
        id=row.id,
        answer=sys.intern(row.answer),  # short answers come again and again
        finish=row.finish,
        thinking=row.thinking,
        prompt_tokens=row.prompt_tokens,
        new_tokens=row.new_tokens,
    )


def _written(item: Response) -> bytes:
    """The line of a response; that of a plain answer, as almost all are, piece by piece."""
    rest = (item.failure, item.option_scores, item.option_tokens, item.thinking, item.prompt_tokens, item.new_tokens)
    if rest != _NOTHING or not isinstance(item.answer, str) or item.finish not in _FINISHES:
        return write_checked_line(encode(item))
    end = f', "finish": "{item.finish}"' if item.finish else ""
    return with_checksum(f'{{"id": {write_json(item.id)}, "answer": {write_json(item.answer)}{end}'.encode())


_NOTHING = (None,) * 6
_FINISHES = (None, *typing.get_args(Finish))


def _id(row: Any) -> str:
    return str(row["id"] if isinstance(row, dict) else row.id)


def _twice(file: Path, number: int, name: str) -> BadData:
    return BadData(f"{file}: line {number}: {name} occurs twice; was the file edited? Delete one of the two")


def read_raw(file: Path) -> dict[str, Any] | None:
    """The ``raw`` of ``scores.jsonl`` by id: the text of each answer, or its option scores; None without a file.

    Raises:
        BadData: lines are damaged.
    """
    if not file.is_file():
        return None
    content = file.read_bytes()[: whole_bytes(file)]
    found = columns_in(lines_in(content), {"id": str}, {"answer": None, "option_scores": None})
    if found is not None:
        raw, scores = found["answer"], found["option_scores"]
        if scores.count(None) < len(scores):
            raw = [text if own is None else own for text, own in zip(raw, scores, strict=True)]
        return dict(zip(found["id"], raw, strict=True))
    rows = [row for _, _, row in read_checked_lines(file, len(content))]
    return {str(row.get("id")): row.get("option_scores", row.get("answer")) for row in rows}


def whole_bytes(file: Path) -> int:
    """The bytes of a file up to the end of its last whole line."""
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
        cut: whether the last line had been cut off, and was dropped.
    """

    def __init__(self, file: Path) -> None:
        """Open for appending, and drop earlier failures: a resumed run requests those again."""
        self._file = file
        answered: set[str] = set()
        failed: set[str] = set()
        with collector_resting():
            for number, _, row in _lines(file):
                item = _response(row, file, number) if isinstance(row, dict) else row
                if item.id in answered or item.id in failed:
                    raise _twice(file, number, item.id)
                (failed if isinstance(row, dict) and item.failure is not None else answered).add(item.id)
        self.answered = frozenset(answered)
        whole = whole_bytes(file) if file.is_file() else 0
        self.cut = file.is_file() and file.stat().st_size > whole
        if failed:
            # The lines as they are: one of an earlier version gets no checksum, which would vouch for its content.
            write_atomic(file, b"".join(line for _, line, row in _lines(file) if _id(row) not in failed))
        elif self.cut:
            os.truncate(file, whole)
        with storage_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            self._stream = file.open("a+b", buffering=0)
        self._start = file.stat().st_size
        self._synced = time.monotonic()

    @property
    def appended(self) -> int:
        """How many whole lines were written since the log was opened, also by an append that was interrupted."""
        own, block = self._stream.fileno(), 1 << 20
        return sum(os.pread(own, block, at).count(b"\n") for at in range(self._start, os.fstat(own).st_size, block))

    def append(self, batch: Sequence[Response]) -> None:
        """Write a batch.

        Raises:
            StorageFull: the batch is not written; the lines before it are complete.
            WrongUse: the file was deleted or replaced since it was opened.
        """
        data = b"".join(map(_written, batch))
        if not self._is_there():
            raise WrongUse(deleted(self._file.parent))
        with storage_errors(self._file):
            while data:
                data = data[self._stream.write(data) :]
            if time.monotonic() - self._synced > SYNC_EVERY_S:
                os.fsync(self._stream.fileno())
                self._synced = time.monotonic()

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(self._file.stat(), os.fstat(self._stream.fileno()))
        except OSError:
            return False

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
