"""Locks for file systems without flock, as some network file systems are: a file that its holder renews.

The lease of ``FILE`` is ``FILE.lease``. It is made only where there is none, and names the host, the process and a
token. Its holder renews its time every ``RENEW_S``. A lease is abandoned where its process has died on this host, or
where it was not renewed for ``ABANDONED_S`` by the clock of the file system; the next process then takes it over.
"""

import contextlib
import errno
import json
import os
import platform
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path

RENEW_S = 5.0
ABANDONED_S = 60.0
# What flock gives on file systems that have none, or whose lock server is down.
NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
_HOST = platform.node()


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lease.

    Attributes:
        age: the time since it was renewed, in seconds.
        is_here: whether ``pid`` is the number of a process that this one could see.
    """

    host: str
    pid: int
    token: str
    age: float
    is_here: bool

    @property
    def is_alive(self) -> bool:
        """Whether its process may still be writing."""
        return self.age < ABANDONED_S and (not self.is_here or _runs(self.pid))

    def __str__(self) -> str:
        """Who, for a message."""
        return f"{self.host}, process {self.pid}, {self.age:.0f} s ago; abandoned after {ABANDONED_S:.0f} s"


class Lease:
    """A lease that is held; a thread renews it until it is released."""

    def __init__(self, file: Path, token: str) -> None:
        """Made by :func:`take`."""
        self._file, self._token = file, token
        self._ended = threading.Event()
        threading.Thread(target=self._renew, daemon=True, name=f"lease of {file.name}").start()

    def release(self) -> None:
        """Delete the lease, if it is still this one."""
        self._ended.set()
        with contextlib.suppress(OSError):  # the folder was deleted
            holder = _holder(self._file)
            if holder is not None and holder.token == self._token:
                self._file.unlink()

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_S):
            with contextlib.suppress(OSError):  # deleted, or the file system is away for a moment
                os.utime(self._file)


def take(file: Path, handle: int) -> Lease | Holder:
    """The lease of a file, or who holds it.

    Args:
        file: the file that is locked.
        handle: it, opened; the process that held the lock before may have deleted the name.

    Raises:
        OSError: the lease cannot be made.
    """
    lease = file.with_name(f"{file.name}.lease")
    token = uuid.uuid4().hex
    content = json.dumps({"host": _HOST, "processes": _processes(), "pid": os.getpid(), "token": token})
    while True:
        with contextlib.suppress(FileExistsError):
            made = os.open(lease, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            try:
                os.write(made, content.encode())
            finally:
                os.close(made)
            return Lease(lease, token)
        os.utime(handle)  # the file system's time, whatever the clocks of its hosts say
        holder = _holder(lease, os.fstat(handle).st_mtime)
        if holder is None:
            continue  # released between the two lines
        if holder.is_alive:
            return holder
        _discard(lease, holder)


def _discard(lease: Path, holder: Holder) -> None:
    """Delete an abandoned lease; put it back where another process took it over in between."""
    aside = lease.with_name(f"{lease.name}.{os.getpid()}.abandoned")
    with contextlib.suppress(FileNotFoundError):
        lease.rename(aside)
        moved = _holder(aside)
        if moved is not None and moved.token != holder.token:
            with contextlib.suppress(OSError):
                os.link(aside, lease)
        aside.unlink()


def _holder(lease: Path, now: float | None = None) -> Holder | None:
    try:
        changed = lease.stat().st_mtime
        content = lease.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    age = 0.0 if now is None else max(0.0, now - changed)
    try:
        found = json.loads(content)
        return Holder(
            host=str(found["host"]), pid=int(found["pid"]), token=str(found["token"]), age=age,
            is_here=(found["host"], found["processes"]) == (_HOST, _processes()),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError):
        # Its holder has made it, and not written it yet, or died before.
        return Holder(host="an unknown host", pid=0, token="", age=age, is_here=False)


def _processes() -> str:
    """The name of the space of process numbers: containers of one host have their own."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
