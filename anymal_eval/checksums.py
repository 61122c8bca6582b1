"""Files whose lines, or whose whole content, carry a checksum: damage is found when they are read.

A checksum finds damage and careless edits. It is no signature: who edits a file on purpose can compute it again.
"""

import hashlib
import shlex
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from anymal_eval.codec import UNREADABLE, parse, parse_json, read_bytes, write_json, write_json_pretty
from anymal_eval.errors import BadData, listed

CRC = "crc"
_CRC_BYTES = len(b', "crc": "00000000"}\n')


def write_checked_line(data: Mapping[str, Any]) -> bytes:
    r"""One line of JSON whose last key, ``crc``, is the CRC-32 of the bytes before it; it ends with a newline.

    >>> write_checked_line({"id": "1", "answer": "red"})
    b'{"id": "1", "answer": "red", "crc": "7266f39e"}\n'
    """
    return with_checksum(write_json(data).encode()[:-1])


def with_checksum(start: bytes) -> bytes:
    """Such a line of what stands before its checksum: an object without its last brace."""
    return start + _crc_end(start)


def read_checked_lines(
    file: Path,
    end: int | None = None,
    then: str = "the same run command requests what is missing",
    quick: Callable[[bytes], Any] = lambda line: None,
) -> Iterator[tuple[int, bytes, Any]]:
    """The lines of :func:`write_checked_line` with their numbers from 1 and their rows, objects of JSON.

    Empty lines are skipped.

    Lines that an earlier version wrote have no checksum; they may stand before the first line that has one.

    Args:
        file: the file.
        end: read no further than this byte, where a line must end.
        then: what follows when damaged lines are deleted, for the message.
        quick: decodes a line into an object with the attribute ``crc``, which is then its row; None for a line that it
            does not know.

    Raises:
        BadData: lines are damaged; raised after the last line, and names all of them and what to do.
    """
    damaged: list[int] = []
    read, is_checked = 0, False
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            read += len(line)
            if end is not None and read > end:
                break
            known = quick(line)
            if known is not None and known.crc is not None and ends_with_checksum(line):
                is_checked = True
                yield number, line, known
                continue
            row = _checked_row(line)
            if row is None or (is_checked and CRC not in row):
                damaged += [number] if line.strip() else []
                continue
            is_checked = row.pop(CRC, None) is not None
            yield number, line, row
    if damaged:
        some = f"line{'s' if len(damaged) > 1 else ''} {listed([str(number) for number in damaged])}"
        them = "them" if len(damaged) > 1 else "it"
        script = ";".join(f"{number}d" for number in damaged[:20])
        raise BadData(
            f"{file}: {some}: damaged (no JSON object with a matching checksum), the others are whole; delete {them} "
            f"and {then}: sed -i '{script}' {shlex.quote(str(file))}"
        )


def ends_with_checksum(line: bytes) -> bool:
    """Whether a line is one of :func:`write_checked_line`, unchanged."""
    return line[-_CRC_BYTES:] == _crc_end(line[:-_CRC_BYTES])


def _checked_row(line: bytes) -> dict[str, Any] | None:
    """The row of a line; None where it is no object, or its checksum does not match."""
    try:
        row = parse(line)
    except UNREADABLE:
        return None
    if not isinstance(row, dict):
        return None
    if CRC in row and not ends_with_checksum(line):
        return None
    return row


def _crc_end(start: bytes) -> bytes:
    return b', "crc": "%08x"}\n' % zlib.crc32(start)


_SUM = "sha256"
_SUM_BYTES = len(f',\n "{_SUM}": "{"0" * 64}"\n}}\n')


def write_checked_json(data: Mapping[str, Any]) -> str:
    """Indented JSON whose last key, ``sha256``, is the digest of the bytes before it."""
    start = write_json_pretty(data).removesuffix("\n}\n")
    return start + _sum_end(start.encode())


def read_checked_json(file: Path) -> tuple[Any, bool | None]:
    """A file of :func:`write_checked_json` without its checksum, and whether that matches; None where it has none.

    Raises:
        BadData: it is truncated or no JSON.
    """
    content = read_bytes(file)
    data = parse_json(content, file)
    if not isinstance(data, dict) or _SUM not in data:
        return data, None
    matches = content[-_SUM_BYTES:] == _sum_end(content[:-_SUM_BYTES]).encode()
    return {key: value for key, value in data.items() if key != _SUM}, matches


def _sum_end(start: bytes) -> str:
    return f',\n "{_SUM}": "{hashlib.sha256(start).hexdigest()}"\n}}\n'
