"""Reads the files of weights while something else is done, so that the system has them in memory when they are loaded.

Nothing is kept, built or checked: what cannot be read is left to the loading itself, which names it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from anymal_eval.checkpoints.files import loaded_files, require_regular
from anymal_eval.checkpoints.locating import find
from anymal_eval.errors import AnyMALEvalError

CHUNK = 8 << 20  # bytes; between two of them the reading can be stopped
SHARE = 0.5  # of the machine's memory: more would push out what was read first
STOPS_WITHIN_S = 1.0  # a chunk of a network drive that does not answer is not waited for


class ReadingAhead:
    """A thread that reads files; leaving the ``with`` ends it.

    Attributes:
        done: set when all was read, or nothing more will be.
    """

    def __init__(self) -> None:
        self.done = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> ReadingAhead:
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(STOPS_WITHIN_S)

    def start(self, names: Sequence[str]) -> None:
        """Begin to read.

        Args:
            names: of checkpoints: folders, or repositories as far as the hub's cache holds them. No network.
        """
        files = [file for name in names for file in files_of(name)]
        # A daemon, because a read of a network drive may never return.
        self._thread = threading.Thread(target=self._read, args=(files,), name="reading ahead", daemon=True)
        self._thread.start()

    def _read(self, files: Sequence[Path]) -> None:
        left = int(SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        buffer = bytearray(CHUNK)
        for file in files:
            try:
                require_regular(file)
                with file.open("rb", buffering=0) as stream:
                    while left > 0 and not self._stopped.is_set() and (count := stream.readinto(buffer)):
                        left -= count
            except (OSError, AnyMALEvalError):
                continue
        self.done.set()


def files_of(name: str) -> list[Path]:
    """The files of weights that loading a checkpoint reads, as far as they are on this machine."""
    try:
        place = find(name)
        if place is None:
            return []
        return loaded_files(place, pickled=False) if place.is_dir() else [place]
    except (OSError, AnyMALEvalError):
        return []
