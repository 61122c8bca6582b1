"""Fingerprints of content. Two runs are comparable only where theirs are equal."""

import contextlib
import hashlib
import itertools
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from anymal_eval import locks, paths
from anymal_eval.codec import packed
from anymal_eval.errors import WrongUse

DIGITS = 16
LINES = 256  # hashed at once
LARGE_BYTES = 1 << 24  # from here on a file's digest is remembered in the user's cache folder
CLOCK_GRAIN_S = 2.0  # the coarsest clock of a file system

_State = tuple[int, ...]


def of(data: object) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of plain data, written as sorted JSON.

    >>> of({"b": 1, "a": [2]}) == of({"a": [2], "b": 1})
    True
    """
    text = json.dumps(data, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return _digest(text, DIGITS)


def of_lines(lines: Iterable[str]) -> str:
    """The fingerprint of a sequence of strings, read one at a time."""
    digest, rest = hashlib.sha256(), iter(lines)
    while some := list(itertools.islice(rest, LINES)):
        digest.update("\0".join([*some, ""]).encode())
    return digest.hexdigest()[:DIGITS]


def of_records(records: Sequence[object]) -> str | None:
    """The SHA-256 of the content of records, in hexadecimal digits; None where they hold anything but plain data.

    It is another one in other versions: for what is remembered, not for what is written down.
    """
    digest = hashlib.sha256()
    for start in range(0, len(records), LINES):
        some = packed(records[start : start + LINES])
        if some is None:
            return None
        digest.update(some)
    return digest.hexdigest()


def of_file(file: Path) -> str:
    """The fingerprint of a file's bytes."""
    return remembered("files.jsonl").of_all([file], sha256)[0][:DIGITS]


def sha256(file: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class RememberedDigests:
    """Digests of files, kept on disk: a file that has not changed is not read again, by no process.

    A file has not changed while its size, its times of change (of the content, and of the inode, which nobody can set)
    and its inode number are the same. The digest of a file that changed within the last ``CLOCK_GRAIN_S`` is not kept:
    a second change within one tick of the file system's clock would not show.

    Any number of threads and processes may use one file of digests, which has one line a digest; damaged lines are
    ignored. Where the file cannot be read or written, digests are remembered for the life of this object.
    """

    def __init__(self, file: Path | None, least_bytes: int = 0) -> None:
        """``file``: where digests are kept; ``least_bytes``: smaller files are read every time."""
        self._file = file
        self._least_bytes = least_bytes
        self._lock = threading.Lock()
        self._known: dict[tuple[str, _State], str] = {}
        self._read()

    def of(self, file: Path, compute: Callable[[Path], str]) -> str:
        """A file's digest, computed only where it is not known.

        Args:
            file: the file.
            compute: its digest, one string.

        Raises:
            OSError: the file cannot be read.
        """
        path = file.resolve()
        before = _state(path)
        digest = self._known.get((str(path), before))
        if digest is None:
            digest = compute(file)
            if before[0] >= self._least_bytes and _state(path) == before and not _is_new(before):
                self._remember(str(path), before, digest)
        return digest

    def of_all(self, files: Sequence[Path], compute: Callable[[Path], str]) -> list[str]:
        """The digests of several files, computed in parallel.

        Processes of one machine that start together, such as the ranks of one job, wait for the first one and share
        what it computes.
        """
        states = [(str(path), _state(path)) for path in (file.resolve() for file in files)]
        long = any(state[0] >= self._least_bytes and (path, state) not in self._known for path, state in states)
        # Hashing releases the interpreter's lock.
        with self._exclusive() if long else contextlib.nullcontext(), ThreadPoolExecutor() as pool:
            return list(pool.map(lambda file: self.of(file, compute), files))

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Wait for other processes of this machine, and read what they remembered."""
        if self._file is None:
            yield
            return
        with locks.exclusive(self._file.with_name(f".{self._file.stem}.{platform.node()}.lock")):
            self._read()
            yield

    def _remember(self, path: str, state: _State, digest: str) -> None:
        line = json.dumps([path, list(state), digest])
        packed = f"{_digest(line, DIGITS)} {line}\n".encode()
        with self._lock:
            self._known[path, state] = digest
            if self._file is None:
                return
            # One write of one line: processes that append at once do not mix. A full or read-only disk costs the line.
            with contextlib.suppress(OSError):
                self._file.parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
                try:
                    os.write(handle, packed)
                finally:
                    os.close(handle)

    def _read(self) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            for each in self._file.read_text(encoding="utf-8", errors="replace").split("\n"):
                check, _, line = each.partition(" ")
                if line and check == _digest(line, DIGITS):
                    path, state, digest = json.loads(line)
                    self._known[path, tuple(state)] = digest


def remembered(name: str) -> RememberedDigests:
    """The digests of large files in the user's cache folder, one object a process.

    Args:
        name: of the file that holds them; one name for one kind of digest.
    """
    try:
        return _remembered(paths.cache() / "digests" / name)
    except WrongUse:  # this user has no home folder
        return _remembered(None)


@cache
def _remembered(file: Path | None) -> RememberedDigests:
    return RememberedDigests(file, LARGE_BYTES)


def _digest(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def _state(path: Path) -> _State:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _is_new(state: _State) -> bool:
    return time.time_ns() - max(state[1], state[2]) < CLOCK_GRAIN_S * 1e9
