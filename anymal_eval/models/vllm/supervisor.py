"""Runs one server, and ends it with all of its processes when this process's parent closes a pipe or dies.

A server such as vLLM has processes of its own, which outlive it when it is killed. All of them are in the session that
this process leads, by which they are found, and which no Ctrl-C of a terminal reaches. This file is its program, so it
imports nothing but the standard library: ``python -I -S supervisor.py COMMAND ...``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

GRACE_S = 10.0  # for a server to end by itself
LOOK_S = 0.5  # between two looks at the server
DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


def end_session(session: int, grace_s: float = GRACE_S) -> None:
    """End every other process of a session: SIGTERM, and SIGKILL to those that are left after the grace."""
    limit = time.monotonic() + grace_s
    _signal(members(session), signal.SIGTERM)
    while left := members(session):
        if time.monotonic() > limit:
            _signal(left, signal.SIGKILL)
            limit = time.monotonic() + grace_s
        time.sleep(0.05)


def members(session: int) -> list[int]:
    """The processes of a session, but this one, that have not ended; none where there is no ``/proc``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        state, _, _, own = stat[stat.rindex(")") + 2 :].split()[:4]
        if int(own) == session and state not in "ZX" and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def _signal(processes: Iterable[int], number: signal.Signals) -> None:
    for pid in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _die_with_parent() -> None:
    # Where the system has it; a supervisor that is killed could not end its server.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)


def supervise(command: Sequence[str]) -> int:
    """Run the server until it ends or is no longer wanted.

    Returns:
        Its exit status; that of a signal is 128 and its number.
    """
    parent = os.getppid()
    wanted = True

    def stop(*_: object) -> None:
        nonlocal wanted
        wanted = False

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    server = subprocess.Popen(  # the user's own server
        list(command), stdin=subprocess.DEVNULL,
        preexec_fn=_die_with_parent,  # there is one thread here
    )  # fmt: skip
    while wanted and server.poll() is None and os.getppid() == parent:
        # Readable means closed: nothing is ever written to it.
        wanted = not select.select([sys.stdin], [], [], LOOK_S)[0]
    if server.poll() is None:
        server.terminate()
    end_session(os.getsid(0))
    code = server.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[1:]))
