"""Standard input, output and error that end no command: closed, full, left by their reader, or of a small alphabet."""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO, cast


class StandardStreams:
    """The streams of this process.

    Attributes:
        lost: the error of standard output, where what was printed did not arrive and its reader has not left.
    """

    def __init__(self) -> None:
        self.lost: OSError | None = None

    @contextlib.contextmanager
    def kept_open(self) -> Iterator[None]:
        """Replace the streams, and put them back. Streams without a file descriptor, as in tests, stay as they are."""
        for descriptor in range(3):
            # Where one is closed, the next file that is opened would get its number, and other programs print into it.
            with contextlib.suppress(OSError):
                if not _is_open(descriptor):
                    os.open(os.devnull, os.O_RDWR)
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self._tolerant(sys.stdout, 1), self._tolerant(sys.stderr, 2)
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                if stream not in before:
                    stream.flush()
            sys.stdout, sys.stderr = before

    def _tolerant(self, stream: TextIO | None, descriptor: int) -> TextIO:
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
            try:
                if stream.fileno() != descriptor:
                    return stream
            except (OSError, ValueError):
                return stream
        raw = _Descriptor(descriptor, self)
        encoding = getattr(stream, "encoding", None) or "utf-8"
        # A terminal that lacks a letter shows its number: ``\u2019``.
        return io.TextIOWrapper(
            io.BufferedWriter(cast(io.RawIOBase, raw)), encoding=encoding, errors="backslashreplace",
            line_buffering=descriptor == 2 or raw.isatty(),
        )  # fmt: skip


class _Descriptor(io.FileIO):
    """A file descriptor that is never closed, and whose failures are noted; what is written after one is dropped."""

    def __init__(self, descriptor: int, streams: StandardStreams) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._streams, self._failed = streams, False

    def write(self, data: "bytes | memoryview", /) -> int:  # type: ignore[override]
        size = memoryview(data).nbytes
        if self._failed:
            return size
        try:
            return super().write(data) or 0
        except OSError as error:
            self._failed = True
            if self.fileno() == 1 and error.errno != errno.EPIPE:
                self._streams.lost = error
            return size


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError as error:
        return error.errno != errno.EBADF
    return True


OWN: list[TextIO] = []
"""The stream of messages, where standard error itself is kept in a file."""


def messages() -> TextIO:
    """Where messages are printed."""
    return OWN[-1] if OWN else sys.stderr


def opened(descriptor: int, encoding: str) -> TextIO:
    """A text stream of messages on a file descriptor, which no failure to write ends."""
    raw = cast(io.RawIOBase, _Descriptor(descriptor, StandardStreams()))
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=True)
