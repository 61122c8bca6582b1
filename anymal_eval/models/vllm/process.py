"""A vLLM server below this process: started on a free loopback port, watched, restarted once, and always ended."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import secrets
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from anymal_eval import paths
from anymal_eval.errors import IncompleteRun, WrongUse
from anymal_eval.models.vllm import supervisor
from anymal_eval.visible import visible_line

HOST = "127.0.0.1"
REPORT_S = 15.0  # between two lines about a server that is starting
LOOK_S = 0.25
ANSWER_S = 5.0  # for a health check
SETTLED_S = 30.0  # until a server that is not healthy has ended
MOST_LOG = 64 << 20  # bytes
LONGEST_LINE = 2_000
LOG = "server.log"

ERROR = re.compile(r"\b\w*(Error|Exception): ")
Report = Callable[[str], None]


class ServerLog:
    """What a server writes, in a file of the cache until ``move_to`` gives it its place."""

    def __init__(self) -> None:
        folder = paths.cache() / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="vllm-", suffix=".log", dir=folder)
        self._lock = threading.Lock()
        self._file = os.fdopen(handle, "w", encoding="utf-8")
        self._left = MOST_LOG
        self._moved = False
        self.keep = False
        """Whether the file stays although no run folder took it."""
        self.path = Path(name)
        self.last = ""
        """The last line that is not empty."""
        self.cause = ""
        """The first line that names an error: the last one often only says that there was one."""

    def read(self, stream: IO[bytes]) -> None:
        """Write all lines of a stream, each on its own and printable, until it ends."""
        for line in iter(lambda: stream.readline(LONGEST_LINE), b""):
            self.write(line.decode("utf-8", "replace"))
        stream.close()

    def write(self, line: str) -> None:
        """Write one line."""
        text = visible_line(line.rstrip())
        with self._lock:
            self.last = text or self.last
            self.cause = self.cause or (text if ERROR.search(text) else "")
            if self._left > 0 and not self._file.closed:
                self._left -= len(text)
                # A full disk must not stop the reader: the server would wait for its output to be read.
                with contextlib.suppress(OSError):
                    self._file.write((text if self._left > 0 else "the log is full") + "\n")
                    self._file.flush()

    def move_to(self, folder: Path) -> None:
        """Keep it in a run folder, after the logs of earlier sessions; once."""
        with self._lock:
            if self._moved or self._file.closed:
                return
            self._moved = True
            self._file.close()
            before = self.path
            self.path = folder / LOG
            self._file = self.path.open("a", encoding="utf-8")
            self._file.write(before.read_text(encoding="utf-8"))
            self._file.flush()
        before.unlink()

    def close(self) -> None:
        """Close the file; one that has no run folder is deleted."""
        with self._lock:
            self._file.close()
        if not self._moved and not self.keep:
            self.path.unlink(missing_ok=True)


class ServerProcess:
    """One server. Close it; it also ends when this process does, however that comes."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], report: Report) -> None:
        """Choose its port and key.

        Args:
            command: without host and port.
            environment: variables of the server, beside those of this process.
            report: takes lines about its start.
        """
        self.key = secrets.token_hex(24)
        self.port = _free_port()
        self.log = ServerLog()
        self.restarts = 0
        self._command = [*command, "--host", HOST, "--port", str(self.port)]
        # In the environment, because every user of the machine can read a command line.
        self._environment = {**os.environ, **environment, "VLLM_API_KEY": self.key}
        self._report = report
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = False

    @property
    def url(self) -> str:
        """Of its API."""
        return f"http://{HOST}:{self.port}/v1"

    def start(self, patience_s: float) -> None:
        """Start it, and wait until it is healthy.

        Raises:
            WrongUse: it ended, or did not come up in time; the message has its last line and its log.
        """
        self.log.write(f"$ {shlex.join(self._command)}")
        self.log.last, self.log.cause = "no line of it so far", ""
        with self._lock:
            if self._closed:
                raise IncompleteRun("the server was closed")
            self._supervisor = process = subprocess.Popen(  # this file's neighbour, and the user's server
                [sys.executable, "-I", "-S", supervisor.__file__, *self._command],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=self._environment, start_new_session=True,
            )  # fmt: skip
        assert process.stdout is not None  # noqa: S101  # for the type checker
        reader = threading.Thread(target=self.log.read, args=(process.stdout,), name="server log", daemon=True)
        reader.start()
        started = reported = time.monotonic()
        while not self._is_healthy():
            waited = time.monotonic() - started
            if self._closed or process.poll() is not None:
                reader.join(ANSWER_S)
                raise self._failed("ended while it started")
            if waited > patience_s:
                raise self._failed(f"did not come up within {patience_s:g} s (-o start_timeout=SECONDS)")
            if time.monotonic() - reported >= REPORT_S:
                reported = time.monotonic()
                self._report(f"the vLLM server is starting, {waited:.0f} s so far: {self.log.last[:160]}")
            time.sleep(LOOK_S)
        self._report(f"the vLLM server is ready after {time.monotonic() - started:.0f} s")

    def is_alive(self) -> bool:
        """Whether it answers, or still may: one that is about to end is waited for."""
        limit = time.monotonic() + SETTLED_S
        while self._supervisor is not None and self._supervisor.poll() is None:
            if self._is_healthy() or time.monotonic() > limit:
                return True
            time.sleep(LOOK_S)
        return False

    def restart(self, patience_s: float) -> None:
        """Start a server that died again, at the same address; once.

        Raises:
            IncompleteRun: it died before, or does not come up.
        """
        again = "every answer so far is written, and the same command resumes"
        if self.restarts:
            raise IncompleteRun(f"the vLLM server ended twice ({self._why}); its log is {self.log.path}; {again}")
        self.restarts += 1
        self._report(f"the vLLM server ended ({self._why}); it is started once more")
        self._end()
        try:
            self.start(patience_s)
        except WrongUse as error:
            raise IncompleteRun(f"{error}; {again}") from None

    def close(self) -> None:
        """End the server and all its processes, and wait for that. May be called again."""
        with self._lock:
            self._closed = True
        self._end()
        self.log.close()

    def _end(self) -> None:
        process = self._supervisor
        if process is None:
            return
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        process.wait()
        supervisor.end_session(process.pid)  # of one that was killed itself

    @property
    def _why(self) -> str:
        return (self.log.cause or self.log.last)[:300]

    def _failed(self, how: str) -> WrongUse:
        self._end()
        self.log.keep = True
        return WrongUse(f"the vLLM server {how}: {self._why}; its log is {self.log.path}")

    def _is_healthy(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=ANSWER_S)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        return int(taken.getsockname()[1])
