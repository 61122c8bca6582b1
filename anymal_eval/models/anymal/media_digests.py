"""The digests of media files, kept beside their features, so that a file that has not changed is not opened again.

A file counts as unchanged while its size, its times of change (of content, and of the entry, which nobody can set) and
its inode are those it had when it was read, and it was no longer new then: what is written within the grain of a file
system's clock shows no other time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from anymal_eval.media.location import file_path
from anymal_eval.records import Media

if TYPE_CHECKING:
    from anymal_eval.media.reader import MediaReader

NAME = "digests.jsonl"
NEW_S = 2.0  # the coarsest clock of a file system
_CHECK = 16  # letters of a line's own checksum


class Digests:
    """Digests of media, remembered in ``folder`` where one is given. For any number of threads and processes."""

    def __init__(self, reader: MediaReader, folder: Path | None) -> None:
        self._reader = reader
        self._file = folder / NAME if folder is not None else None
        self._lock = threading.Lock()
        self._known = _read(self._file) if self._file is not None else {}

    def of(self, media: Media) -> str:
        """SHA-256 of a medium's bytes.

        Raises:
            MediaError: it cannot be read.
        """
        if media.digest is not None:
            return media.digest
        path = file_path(media) if self._file is not None else None
        if path is None:
            return self._reader.digest(media)
        name, before = str(path.resolve()), _state(path)
        known = self._known.get(name)
        if known is not None and known[0] == before:
            return known[1]
        digest = self._reader.digest(media)
        if _state(path) == before and not _is_new(before):
            self._remember(name, before, digest)
        return digest

    def _remember(self, name: str, state: tuple[int, ...], digest: str) -> None:
        line = json.dumps([name, list(state), digest])
        packed = f"{_checksum(line)} {line}\n".encode()
        with self._lock:
            self._known[name] = (state, digest)
            # One write of one line: processes that append at once do not mix. A full or read-only disk costs the line.
            with contextlib.suppress(OSError):
                handle = os.open(str(self._file), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
                try:
                    os.write(handle, packed)
                finally:
                    os.close(handle)


def _read(file: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """What was remembered; a line that is not whole is as if it were not there."""
    known: dict[str, tuple[tuple[int, ...], str]] = {}
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return known
    for each in lines:
        check, _, line = each.partition(" ")
        if line and check == _checksum(line):
            name, state, digest = json.loads(line)
            known[name] = (tuple(state), digest)
    return known


def _checksum(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()[:_CHECK]


def _state(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _is_new(state: tuple[int, ...]) -> bool:
    return time.time_ns() - max(state[1], state[2]) < NEW_S * 1e9
