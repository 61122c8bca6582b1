"""The bytes of a tar shard, plain or compressed as WebDataset writes them, at any place and from any thread.

A compressed shard is inflated once, into a temporary file without a name, and one at an address is fetched into one.
Each process keeps the last eight: a training draws from four at once, and media of others are still read ahead. A
mixture draws from four of each of its data.
"""

import bz2
import gzip
import lzma
import os
import tempfile
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import IO, Any

from anymal_eval.errors import BadData
from anymal_eval.training.sources._remote_shard import cut_short, fetch, is_address, without_secrets

KEPT = 8
# Media are compressed already, and texts shrink by less; what inflates to more is no shard.
LARGEST_RATIO, SPARE_BYTES = 50, 1 << 30
_BLOCK = 1 << 20
_FORMATS: dict[bytes, Callable[[IO[bytes]], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


class CutOff(BadData):
    """A compressed shard ends early."""


class Kept:
    """The last files that were made, at most ``KEPT`` or what a mixture needs; each is made by one thread."""

    def __init__(self) -> None:
        self._files: OrderedDict[Hashable, ShardFile] = OrderedDict()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()
        self.most, self.made = KEPT, 0

    def get(self, key: Hashable, make: "Callable[[], ShardFile]") -> "ShardFile":
        """The file of a key; another thread that makes it is waited for."""
        with self._lock:
            own = self._locks.setdefault(key, threading.Lock())
        with own:
            with self._lock:
                if key in self._files:
                    self._files.move_to_end(key)
                    return self._files[key]
            made = make()
            with self._lock:
                self._files[key] = made
                self.made += 1
                while len(self._files) > self.most:
                    self._locks.pop(self._files.popitem(last=False)[0], None)
            return made

    def drop(self, key: Hashable) -> None:
        """Make the file of a key again, the next time that it is needed."""
        with self._lock:
            self._files.pop(key, None)

    def clear(self) -> None:
        """Drop all files."""
        with self._lock:
            self._files.clear()
            self.made = 0


class ShardFile:
    """The uncompressed bytes of a shard, read like a file. No read is longer than what is left."""

    def __init__(self, handle: int) -> None:
        """Take a file descriptor, and close it in the end."""
        self._handle = handle
        self._position = 0
        self.size = os.fstat(handle).st_size

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # at its end Python has dropped ``os``
        """Readers in other threads may still hold it when it is dropped."""
        close(self._handle)

    def reopened(self) -> "ShardFile":
        """The same bytes, read from the start."""
        return ShardFile(os.dup(self._handle))

    def at(self, offset: int, size: int) -> bytes:
        """Bytes at a place; fewer where the shard ends before."""
        parts = []
        size = min(size, self.size - offset)
        while size > 0 and (part := os.pread(self._handle, min(size, 1 << 30), offset)):
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return b"".join(parts)

    def read(self, size: int = -1) -> bytes:
        """The next bytes; all that is left for a negative size."""
        found = self.at(self._position, self.size if size < 0 else size)
        self._position += len(found)
        return found

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place of the shard, never before its start."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """The place of the next byte."""
        return self._position


def keep(count: int) -> None:
    """Keep so many files that were fetched or inflated, and at least ``KEPT``."""
    kept.most = max(KEPT, count)


def forget(path: str) -> None:
    """Fetch a shard anew, the next time that it is needed."""
    kept.drop(path)


def open_shard(path: Path | str) -> ShardFile:
    """The bytes of a shard: of a file, or of an address that is fetched into a temporary file without a name.

    Raises:
        BadData: it is compressed, and damaged or cut off, or inflates to far more than media do.
        MissingData: an address cannot be fetched, or not whole.
        OSError: it cannot be read, or there is no space to fetch or inflate it.
    """
    if isinstance(path, str) and is_address(path):
        return kept.get(path, lambda: _fetched(path)).reopened()
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    plain = ShardFile(handle)
    kind = _format(plain)
    if kind is None:
        return plain
    facts = os.fstat(handle)
    # Another file under the same name is inflated again.
    return kept.get((str(path), facts.st_size, facts.st_mtime_ns), lambda: _inflated(Path(path), kind)).reopened()


kept = Kept()


def _format(shard: ShardFile) -> bytes | None:
    start = shard.at(0, 6)
    return next((magic for magic in _FORMATS if start.startswith(magic)), None)


def _fetched(address: str) -> ShardFile:
    with tempfile.TemporaryFile() as target:
        fetch(address, target)
        target.flush()
        plain = ShardFile(os.dup(target.fileno()))
        if not plain.size:
            raise cut_short(address, f"{without_secrets(address)}: the shard is empty (0 bytes)")
        kind = _format(plain)
        if kind is None:
            return plain
        target.seek(0)
        name = without_secrets(address)
        try:
            return _inflate(name, target, kind, plain.size)
        except CutOff as error:
            raise cut_short(address, str(error)) from None


def _inflated(path: Path, kind: bytes) -> ShardFile:
    with path.open("rb") as stream:
        return _inflate(str(path), stream, kind, path.stat().st_size)


def _inflate(name: str, compressed: IO[bytes], kind: bytes, size: int) -> ShardFile:
    largest = size * LARGEST_RATIO + SPARE_BYTES
    total = 0
    try:
        with tempfile.TemporaryFile() as target, _FORMATS[kind](compressed) as stream:
            while block := stream.read(_BLOCK):
                total += len(block)
                if total > largest:
                    raise BadData(f"{name}: {size:,} bytes inflate to more than {largest:,}; it is no shard of media")
                target.write(block)
            target.flush()
            return ShardFile(os.dup(target.fileno()))
    except EOFError as error:
        raise CutOff(f"{name}: it cannot be inflated: {error}; was it cut off?") from None
    except (lzma.LZMAError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise BadData(f"{name}: it cannot be inflated: {error}; was it cut off?") from None
    except OSError as error:
        # bz2 reports damaged bytes as an OSError without a number.
        if error.errno is not None:
            raise
        raise BadData(f"{name}: it cannot be inflated: {error}; was it cut off?") from None
