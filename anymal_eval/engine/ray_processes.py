"""Ends the processes of a local Ray cluster, also when the driver that started it is killed.

Ray's raylet and workers end soon after their driver, but two agents of the raylet wait a minute for connections that
nobody makes. A process of its own, in a session of its own, therefore waits for the driver to close a pipe, which the
kernel does in any case. This file is also that process's program, so it imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

GRACE_S = 5.0  # for a process to end by itself
DONE = b"done"

Process = tuple[int, int]  # its id, and when it started, because ids are used again


class Guard:
    """Watches over a cluster that this process has started. Close it when the cluster is shut down."""

    def __init__(self, before: Iterable[Process]) -> None:
        """``before``: what ``descendants`` found before the cluster was started."""
        self._processes = sorted(descendants() - set(before))
        self._watcher: subprocess.Popen[bytes] | None = None
        if self._processes:
            named = [f"{pid}:{start}" for pid, start in self._processes]
            self._watcher = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, *named], stdin=subprocess.PIPE, start_new_session=True
            )

    def close(self) -> None:
        """End what is left of the cluster, and stop watching."""
        end(self._processes)
        if self._watcher is not None and self._watcher.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._watcher.stdin.write(DONE)
                self._watcher.stdin.close()
            self._watcher.wait()


def descendants() -> set[Process]:
    """The processes below this one; none where there is no ``/proc``."""
    parents, found = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        facts = _facts(pid)
        if facts is not None:
            parents[pid], found[pid] = facts[0], (pid, facts[1])

    def is_below(pid: int) -> bool:
        return pid == os.getpid() or (pid in parents and is_below(parents[pid]))

    return {found[pid] for pid in found if is_below(parents[pid])}


def end(processes: Iterable[Process]) -> None:
    """Wait for processes to end, and kill those that do not within ``GRACE_S``."""
    left, limit = list(processes), time.monotonic() + GRACE_S
    while left := [(pid, start) for pid, start in left if (facts := _facts(pid)) and facts[1] == start]:
        if time.monotonic() > limit:
            for pid, _ in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.1)


def _facts(pid: int) -> tuple[int, int] | None:
    """A process's parent and start, in ticks since the machine's; None where it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else (int(fields[1]), int(fields[19]))


def _watch(named: Iterable[str]) -> None:
    """Wait for the driver, and end its cluster where it did not."""
    if os.read(sys.stdin.fileno(), len(DONE)) != DONE:
        end((int(pid), int(start)) for pid, _, start in (each.partition(":") for each in named))


if __name__ == "__main__":
    _watch(sys.argv[1:])
