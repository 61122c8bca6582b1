"""Short names for content: what two runs must share before their numbers may be compared."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

DIGITS = 16


def of(data: object) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of plain data, written as sorted JSON.

    >>> of({"b": 1, "a": [2]}) == of({"a": [2], "b": 1})
    True
    """
    text = json.dumps(data, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def of_lines(lines: Iterable[str]) -> str:
    """The same over many strings, without holding them at once."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:DIGITS]


def of_file(file: Path) -> str:
    """The same over a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:DIGITS]
