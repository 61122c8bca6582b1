"""What libraries print on standard error, those in C too, goes into the log of the run; our messages are shown."""

import contextlib
import faulthandler
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, TextIO

from anymal_eval.cli import _streams
from anymal_eval.visible import visible

LOG = "run.log"
_BAR = re.compile(r"\d+%\||\dit/s|\ds/it")


class LibraryOutput:
    """Standard error of a command: libraries print into a file, messages of ours on the terminal and into the file."""

    def __init__(self) -> None:
        self.log: Path | None = None
        """The file, once there is a folder for it."""
        self._file: int | None = None
        self._held: BinaryIO | None = None
        self._copied = self._own_bytes = 0  # of the held file in the log; of messages and of an earlier log

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep what libraries print. What an error that ends the ``with`` leaves without a file is printed after all.

        Standard error that is no file descriptor, as in tests, stays as it is; messages are logged all the same.
        """
        before, was_enabled = sys.stderr, faulthandler.is_enabled()
        own = self._redirect()
        failed = True
        try:
            yield
            failed = False
        except BaseException as error:
            if self.log is not None and (self._is_noisy() or not hasattr(error, "exit_code")):
                error.add_note(f"what libraries printed is in {self.log}")
            raise
        finally:
            if own is not None:
                sys.stderr.flush()
                os.dup2(own.fileno(), 2)
                sys.stderr = before
                _streams.OWN.pop()
                faulthandler.enable() if was_enabled else faulthandler.disable()
            self._end(failed)
            if own is not None:
                own.flush()
                os.close(own.fileno())

    def keep(self, folder: Path) -> None:
        """Write what came so far, and what comes, to the log in a folder; a log that cannot be written ends no run."""
        if self._file is not None:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(OSError):
            self._file = os.open(folder / LOG, flags, 0o644)
            self.log = folder / LOG
            self._own_bytes += os.fstat(self._file).st_size
            self._copy_held()
            if _streams.OWN:
                sys.stderr.flush()
                os.dup2(self._file, 2)

    def note(self, text: str) -> None:
        """Write a message of ours to the log too, with the time."""
        line = f"{datetime.now().isoformat(' ', 'seconds')} {visible(text.strip())}\n".encode()
        file = self._file if self._file is not None else self._held.fileno() if self._held is not None else None
        if file is not None:
            with contextlib.suppress(OSError):
                sys.stderr.flush()
                self._own_bytes += os.write(file, line)

    def _redirect(self) -> TextIO | None:
        try:
            if sys.stderr.fileno() != 2:
                return None
            sys.stderr.flush()
            self._held = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # closed in _end
        except (OSError, ValueError, AttributeError):
            return None
        own = _streams.opened(os.dup(2), sys.stderr.encoding)
        os.dup2(self._held.fileno(), 2)
        sys.stderr = _streams.opened(2, sys.stderr.encoding)
        _streams.OWN.append(own)
        faulthandler.enable(file=own)  # a crash is shown, whatever else is kept
        return own

    def _is_noisy(self) -> bool:
        sys.stderr.flush()
        return self._file is not None and os.fstat(self._file).st_size > self._own_bytes

    def _copy_held(self) -> None:
        """Processes that were started before the log was opened print into the held file for as long as they live."""
        if self._held is None or self._file is None:
            return
        # Not by seeking: those who print into it share its position.
        size = os.fstat(self._held.fileno()).st_size
        text = os.pread(self._held.fileno(), size - self._copied, self._copied)
        self._copied += len(text)
        os.write(self._file, text)

    def _end(self, failed: bool) -> None:
        with contextlib.suppress(OSError):
            self._copy_held()
        if self._held is not None:
            if failed and self._file is None:
                self._held.seek(0)
                for line in _without_bars(self._held.read().decode(errors="replace")):
                    sys.stderr.write(f"{visible(line)}\n")
            self._held.close()
        if self._file is not None:
            os.close(self._file)


def _without_bars(text: str) -> Iterator[str]:
    """The lines without progress bars and without messages of ours, which were shown."""
    for line in text.split("\n"):
        shown = line.rpartition("\r")[2].rstrip() if not line.endswith("\r") else ""
        if shown and not _BAR.search(shown) and not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", shown):
            yield shown
