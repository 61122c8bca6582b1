"""Shards that are not on disk: ``https://`` addresses, and ``pipe:`` with a command that writes a shard.

Both come from the command line alone. A command runs in the user's shell, so an address is read as one only where the
user wrote it: never out of a table, a shard, or a file's name that a pattern matched.
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import IO
from urllib.parse import urlsplit, urlunsplit

from anymal_eval.errors import BadData, MissingData, reason
from anymal_eval.sources.downloading import CUT, Cut, opened
from anymal_eval.visible import visible_line

_LOG = logging.getLogger(__name__)
PIPE = "pipe:"
SCHEMES = ("http://", "https://")
TRIES, PAUSE_S, TIMEOUT_S = 3, 1.0, 60.0
WARN_AFTER_S = 60.0
_BLOCK = 1 << 20
_MOST_PRINTED = 1 << 16
_HEADERS = {"User-Agent": "anymal_eval", "Accept-Encoding": "identity"}


def is_address(path: str) -> bool:
    """Whether a path is a command or an address on a server, and no file."""
    return path.startswith((PIPE, *SCHEMES))


def without_secrets(address: str) -> str:
    """An address without user, password and query, which may hold a signature; a command as it is.

    >>> without_secrets("https://me:word@host/0.tar?signature=7")
    'https://host/0.tar'
    """
    if not address.startswith(SCHEMES):
        return address
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def cut_short(address: str, line: str) -> MissingData:
    """The error for a shard of which less came than there is; ``line`` names it and what is wrong.

    Neither a command's status nor a server that names no length tells that all of it came: its content does.
    """
    how = "run the command by hand" if address.startswith(PIPE) else "fetch it by hand"
    what = line.removesuffix("; was it cut off?")
    return MissingData(
        f"{what}: it did not come whole: the same command resumes; if it fails again, {how} to see why, or leave this "
        "shard out"
    )


def fetch(address: str, target: IO[bytes]) -> None:
    """Write the bytes of a shard.

    Raises:
        MissingData: the server cannot be reached or has no such file, or the command failed.
        OSError: they cannot be written.
    """
    if address.startswith(PIPE):
        _run(address.removeprefix(PIPE), target)
        return
    name = without_secrets(address)
    for tried in range(1, TRIES + 1):
        target.seek(0)
        target.truncate()
        try:
            _download(address, target)
        except BadData as error:
            raise MissingData(str(error).replace(address, name)) from None
        except Cut as error:
            if tried == TRIES:
                raise MissingData(
                    f"{name}: the shard cannot be fetched ({error}); the same command resumes when the server answers, "
                    "or fetch the shards and name their files"
                ) from None
            time.sleep(PAUSE_S * tried)
        else:
            return


def _download(address: str, target: IO[bytes]) -> None:
    try:
        response: HTTPResponse = opened(address, _HEADERS, TIMEOUT_S)
    except CUT as error:
        inner = getattr(error, "reason", None)  # urllib wraps what the system says
        raise Cut(reason(inner if isinstance(inner, OSError) else error)) from None
    with response:
        due, total = response.headers.get("Content-Length"), 0
        while block := _read(response):
            target.write(block)
            total += len(block)
    if due is not None and total != int(due):
        raise Cut(f"{total:,} of {int(due):,} bytes came")


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read(_BLOCK)
    except CUT as error:
        raise Cut(reason(error)) from None


def _run(command: str, target: IO[bytes]) -> None:
    # The user's own command. Without pipefail, which bash has, a pipeline has the status of its last command.
    shell = ["bash", "-o", "pipefail", "-c"] if shutil.which("bash") else ["sh", "-c"]
    with tempfile.TemporaryFile() as printed:
        with _commands.run([*shell, command], target, printed) as process:
            _wait(process, command)
        text = _end_of(printed)
    with contextlib.suppress(OSError):
        os.write(2, text)  # what the command printed belongs into the log, as that of libraries does
    if process.returncode:
        lines = [line for line in text.decode(errors="replace").splitlines() if line.strip()]
        why = f" ({visible_line(lines[-1])[:300]})" if lines else ""
        raise MissingData(
            f"{PIPE}{command}: the command ended with status {process.returncode}{why}; run it by hand to see why"
        )


class Commands:
    """The commands that run, each with what it started in a session of its own, so that nothing of it is left."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def run(self, command: list[str], target: IO[bytes], printed: IO[bytes]) -> "Iterator[subprocess.Popen[bytes]]":
        """A command that runs in this context; it is killed where the context ends before it."""
        with self._lock:
            process = subprocess.Popen(
                command, stdout=target, stderr=printed, stdin=subprocess.DEVNULL, start_new_session=True
            )
            self._running.add(process)
        try:
            yield process
        finally:
            self._kill(process)
            process.wait()
            with self._lock:
                self._running.discard(process)

    def stop(self) -> None:
        """Kill all that run, for whichever thread; their shards cannot be had."""
        with self._lock:
            for process in self._running:
                self._kill(process)

    @staticmethod
    def _kill(process: "subprocess.Popen[bytes]") -> None:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ended just now
                os.killpg(process.pid, signal.SIGKILL)


_commands = Commands()
stop_commands = _commands.stop


def _wait(process: "subprocess.Popen[bytes]", command: str) -> None:
    while True:
        try:
            process.wait(WARN_AFTER_S)
        except subprocess.TimeoutExpired:
            _LOG.warning("%s%s: this command has not ended yet, and its shard is waited for", PIPE, command)
        else:
            return


def _end_of(printed: IO[bytes]) -> bytes:
    printed.seek(max(0, printed.seek(0, os.SEEK_END) - _MOST_PRINTED))
    return printed.read()
