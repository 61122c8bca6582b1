"""The media that a process decodes at the moment, in a file that outlives it: after a crash the next start names them.

Small media are decoded in threads of the process itself, which a fault of a decoder ends without a word of its own.
"""

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

_PREFIX = ".decoding-"  # before the rank of the process
_BYTES = 1024  # for one thread


class BeingDecoded:
    """A file with a place for each thread. Close it where the process ends in order."""

    def __init__(self, folder: Path, rank: int, threads: int) -> None:
        """Write the file, with its places empty.

        Args:
            folder: of the training.
            rank: of the process.
            threads: how many decode.
        """
        self._file = folder / f"{_PREFIX}{rank}"
        self._file.write_bytes(bytes(threads * _BYTES))
        self._handle = os.open(self._file, os.O_WRONLY)
        self._places, self._own = itertools.cycle(range(threads)), threading.local()

    @contextlib.contextmanager
    def noted(self, name: str) -> Iterator[None]:
        """Note what this thread decodes in this context."""
        if not hasattr(self._own, "place"):
            self._own.place = next(self._places)
        self._write(name.encode()[:_BYTES])
        try:
            yield
        finally:
            self._write(b"")

    def _write(self, content: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk: nothing is named then
            os.pwrite(self._handle, content.ljust(_BYTES, b"\0"), self._own.place * _BYTES)

    def close(self) -> None:
        """Delete the file."""
        os.close(self._handle)
        self._file.unlink(missing_ok=True)


def left_behind(folder: Path) -> list[str]:
    """What processes that died were decoding; their files are deleted."""
    names = set()
    for file in folder.glob(f"{_PREFIX}*"):
        content = file.read_bytes()
        parts = [content[start : start + _BYTES].rstrip(b"\0") for start in range(0, len(content), _BYTES)]
        names |= {part.decode(errors="replace") for part in parts if part}
        file.unlink()
    return sorted(names)
