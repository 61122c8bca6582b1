"""A pool of processes that decode videos, and whatever else is large; one that hangs or crashes is replaced."""

import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anymal_eval.errors import MediaError, MediaTimeout
from anymal_eval.media.broken import MEMORY, failure
from anymal_eval.media.budget import DEFAULT, PIECE, MediaBudget
from anymal_eval.records import Media

SCRIPT = Path(__file__).with_name("decoder.py")
PACKAGES = str(Path(__file__).parents[2])  # the decoder imports this package, and from nowhere else
START_S = 120.0
"""The time that a decoder may take to start: a second on an idle machine, far more on a busy one."""


class DecoderProcess:
    """One decoder process and the connection to it. One thread at a time uses it; any thread may ``kill`` it."""

    def __init__(self) -> None:
        self.line, theirs = Pipe()
        # A script instead of multiprocessing's spawn: spawn imports the user's main module again, with torch, and a
        # main module without a ``__main__`` guard would start the evaluation a second time.
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(SCRIPT), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ
                | {"PYTHONPATH": os.pathsep.join(filter(None, (PACKAGES, os.environ.get("PYTHONPATH"))))},
            )
        self.overdue = False
        self._waiting = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Wait until the decoder accepts jobs.

        Raises:
            EOFError: the process died; its traceback is on stderr.
        """
        with self.deadline(START_S):
            self.line.recv_bytes()

    def run(self, job: dict[str, Any], content: bytes | None) -> tuple[dict[str, Any], NDArray[Any] | None]:
        """Send a job and wait for its reply: the head, and the array unless the head has an error.

        Raises:
            EOFError, OSError: the process has ended; ``overdue`` is True where the deadline killed it.
        """
        with self.deadline(job["timeout_s"]):
            self.line.send_bytes(json.dumps(job).encode())
            if content is not None:
                self.line.send_bytes(content)
            head = json.loads(self.line.recv_bytes())
            if "error" in head:
                return head, None
            result = np.empty(head["shape"], head["dtype"])
            pieces = result.reshape(-1).view(np.uint8).data
            for start in range(0, len(pieces), PIECE):
                self.line.recv_bytes_into(pieces[start : start + PIECE])
            return head, result

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """Kill the process after ``seconds``, which also ends a wait for its reply."""
        timer = threading.Timer(seconds, self.expire)
        timer.daemon = True
        self._waiting = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            with self._lock:  # a timer that fires after this must not kill the process
                self._waiting = False

    def expire(self) -> None:
        """Kill the process because its deadline has passed."""
        with self._lock:
            if self._waiting:
                self.overdue = True
                self.process.kill()

    def kill(self) -> int:
        """Kill the process and return its exit status."""
        self.process.kill()
        return self.process.wait()


class DecoderPool:
    """At most ``processes`` decoders, started when first needed. Thread-safe.

    ``timeout_s`` limits the decoding of one medium, reading its file included; waiting for a free decoder does not
    count. ``budget`` limits its size and the memory of the decoder. The job of a decoder that dies is done once more by
    a fresh one, but not that of one that exceeds its time.
    """

    def __init__(self, *, timeout_s: float, processes: int, budget: MediaBudget = DEFAULT) -> None:
        if not timeout_s > 0 or processes < 1:
            raise ValueError(f"a pool of {processes} decoders with {timeout_s} s each cannot be")
        self.timeout_s, self.budget = timeout_s, budget
        self._free = threading.BoundedSemaphore(processes)
        self._lock = threading.Lock()
        self._idle: list[DecoderProcess] = []
        self._all: set[DecoderProcess] = set()
        self._closed = False
        self._finalizer = weakref.finalize(self, kill_all, self._all)

    def video(self, media: Media, frames: int, content: bytes | None) -> NDArray[np.uint8]:
        """Frames of a video; see ``load_video``."""
        return self._do(media, content, {"kind": "video", "frames": frames})

    def frames(self, media: Media, places: Sequence[int], content: bytes | None) -> NDArray[np.uint8]:
        """Frames of a video by their place; see ``load_frames``."""
        return self._do(media, content, {"kind": "video", "frames": len(places), "places": list(places)})

    def timeline(self, media: Media, content: bytes | None) -> NDArray[np.float64]:
        """Rate, length and the seconds of every frame; see ``load_timeline``."""
        return self._do(media, content, {"kind": "timeline", "frames": 1})

    def image(self, media: Media, content: bytes | None) -> NDArray[np.uint8]:
        """A picture; see ``load_image``."""
        return self._do(media, content, {"kind": "image"})

    def verify_jpeg(self, media: Media, content: bytes) -> None:
        """Decode a JPEG file strictly, by FFmpeg.

        Raises:
            MediaTruncated: its data are damaged.
        """
        self._do(media, content, {"kind": "verify"})

    def audio(self, media: Media, sample_rate: int, content: bytes | None) -> NDArray[np.float32]:
        """The window of a sound or a sound track, mono at ``sample_rate`` Hz; see ``load_audio``."""
        return self._do(media, content, {"kind": "audio", "sample_rate": sample_rate})

    def imu(self, media: Media, content: bytes | None) -> NDArray[np.float32]:
        """An IMU recording; see ``load_imu``."""
        return self._do(media, content, {"kind": "imu"})

    def close(self) -> None:
        """Kill all decoders; threads that wait for one get a MediaError. Calling it again does nothing."""
        with self._lock:
            self._closed = True
            kill_all(self._all)
            for worker in self._idle:
                worker.line.close()
            self._all.difference_update(self._idle)
            self._idle.clear()

    def _do(self, media: Media, content: bytes | None, what: dict[str, Any]) -> NDArray[Any]:
        job = what | {
            "path": media.uri if content is None else None,
            "start_s": media.start_s,
            "end_s": media.end_s,
            "budget": asdict(self.budget),
            "timeout_s": self.timeout_s,
        }
        try:
            head, result = self._reply(media, job, content)
        except _Died:
            # The system may have killed it for the memory of all processes: only a second death is the medium's.
            try:
                head, result = self._reply(media, job, content, fresh=True)
            except _Died as error:
                raise MediaError(f"{media.uri}: two decoder processes died on it (status {error})") from error
        if result is None:
            raise failure(media, head["kind"], head["error"])
        return result

    def _reply(
        self, media: Media, job: dict[str, Any], content: bytes | None, *, fresh: bool = False
    ) -> tuple[dict[str, Any], NDArray[Any] | None]:
        """What a decoder replies; ``fresh``: one that has done no job before."""
        with self._free:
            worker = self._take(media, fresh=fresh)
            whole = False
            try:
                head, result = worker.run(job, content)
                whole = head.get("kind") != MEMORY  # a decoder that ran out of memory ends
            except (EOFError, OSError) as error:
                raise self._lost(media, worker) from error
            finally:
                self._give(worker, whole)
        return head, result

    def _take(self, media: Media, *, fresh: bool) -> DecoderProcess:
        with self._lock:
            if self._closed:
                raise MediaError(f"{media.uri}: the reader was closed")
            idle = self._idle.pop() if self._idle else None
        if idle is not None and not fresh:
            return idle
        if idle is not None:  # the new one takes its place
            self._give(idle, False)
        with self._lock:
            if self._closed:
                raise MediaError(f"{media.uri}: the reader was closed")
            worker = DecoderProcess()
            self._all.add(worker)
        try:
            worker.start()
        except (EOFError, OSError) as error:
            lost = self._lost(media, worker)
            self._give(worker, False)
            raise lost from error
        return worker

    def _give(self, worker: DecoderProcess, whole: bool) -> None:
        with self._lock:
            if whole and not self._closed:
                self._idle.append(worker)
                return
            self._all.discard(worker)
        worker.kill()
        worker.line.close()

    def _lost(self, media: Media, worker: DecoderProcess) -> Exception:
        status = worker.kill()
        if worker.overdue:
            return MediaTimeout(f"{media.uri}: the decoder was killed: it did not finish within {self.timeout_s:g} s")
        if self._closed:
            return MediaError(f"{media.uri}: the reader was closed")
        return _Died(status)


class _Died(Exception):
    """A decoder ended during a job, with this exit status."""


def kill_all(workers: set[DecoderProcess]) -> None:
    """Kill every process of a pool."""
    for worker in list(workers):
        worker.kill()
