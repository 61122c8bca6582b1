"""The process that decodes videos, and all media that are large: it can be killed without harm to the run.

Nothing imports this file: ``pool.py`` starts it as a script, by path, with this package on its path. It imports numpy,
PyAV, PIL and soundfile, whatever the parent has loaded, and starts in less than a second.

It communicates over one socket, whose file descriptor is its argument. A job is a line of JSON, then the medium's bytes
unless the job names a path. The reply is a line of JSON, ``{"error", "kind"}`` or ``{"shape", "dtype"}``, then the
array's bytes. Each job is held to the memory of its budget; a decoder that ran out of it ends after its reply.
"""

import contextlib
import json
import os
import resource
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anymal_eval.errors import reason
from anymal_eval.media import motions, pixels, sounds
from anymal_eval.media.broken import MEMORY, Broken, NotThisKind, kind_of
from anymal_eval.media.budget import PIECE, MediaBudget
from anymal_eval.media.containers import Job
from anymal_eval.media.frames import timeline, verify_jpeg, video
from anymal_eval.media.tracks import track

SPARE = 64 << 20  # bytes over the budget: buffers of the interpreter and of the socket


def image(content: bytes, budget: MediaBudget) -> NDArray[Any]:
    """Decode a picture."""
    Image.MAX_IMAGE_PIXELS = budget.pixels  # PIL's own limit; this process serves one budget at a time
    header = pixels.read_header(content, budget)
    return pixels.decode(content, header.shape, lambda picture: verify_jpeg(picture, budget))


def audio(job: Job, content: bytes | None, source: BinaryIO, budget: MediaBudget) -> NDArray[Any]:
    """Decode a sound by libsndfile, and what that cannot open by FFmpeg."""
    window, rate = (job["start_s"] or 0.0, job["end_s"]), job["sample_rate"]
    file = Path(job["path"]) if content is None else content
    try:
        sounds.plan(file, window, rate, budget)
        return sounds.decode(file, window, rate)
    except NotThisKind:
        sound, own = track(source, job)
        return sounds.at_rate(sound, own, rate, window)


def work(job: Job, content: bytes | None) -> NDArray[Any]:
    """Do one job."""
    budget = MediaBudget(**job["budget"])
    with BytesIO(content) if content is not None else Path(job["path"]).open("rb") as source:
        if source.seekable():
            if source.seek(0, 2) == 0:
                raise Broken("it is empty (0 bytes)")
            source.seek(0)
        match job["kind"]:
            case "video":
                return video(source, job)
            case "timeline":
                return timeline(source, job)
            case "audio":
                return audio(job, content, source, budget)
            case "imu":
                file = Path(job["path"]) if content is None else content
                return motions.decode(file, job["start_s"], job["end_s"], budget)
        whole = source.read(budget.file_bytes + 1) if content is None else content
        budget.hold("file_bytes", len(whole), f"a file of {len(whole)} bytes")
        if job["kind"] == "verify":
            verify_jpeg(whole, budget)
            return np.zeros(0, np.uint8)
        return image(whole, budget)


@contextmanager
def silent() -> Iterator[None]:
    """Drop what C libraries print about damage, such as libtiff: it would appear among the run's messages."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def data_bytes() -> int | None:
    """The private memory of this process, as ``RLIMIT_DATA`` counts it; None where the system has no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    except (OSError, IndexError, ValueError):
        return None
    return pages * resource.getpagesize()


def limit_memory(held: int | None, more: int) -> None:
    """Let this process take ``more`` bytes than it ``held`` when it started; an allocation beyond them fails."""
    if held is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = held + more + SPARE
        resource.setrlimit(resource.RLIMIT_DATA, (limit if hard < 0 else min(limit, hard), hard))


def serve(socket: int) -> None:
    """Answer jobs until the parent process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    av.logging.set_level(av.logging.PANIC)
    warnings.simplefilter("ignore")  # of PIL, about odd metadata: they would appear among the run's messages
    line: Connection[Any, Any] = Connection(socket)
    held = data_bytes()
    line.send_bytes(b"ready")
    while True:
        try:
            job = json.loads(line.recv_bytes())
        except (EOFError, OSError):
            return
        # The parent kills a job that takes too long; this timer does where the parent was killed itself.
        signal.setitimer(signal.ITIMER_REAL, job["timeout_s"] + 5)
        limit_memory(held, job["budget"]["memory_bytes"])
        content = line.recv_bytes() if job["path"] is None else None
        try:
            with silent():
                result = np.ascontiguousarray(work(job, content))
        except Exception as error:  # noqa: BLE001  # whatever a decoder raises on foreign bytes is the medium's failure
            kind = kind_of(error)
            line.send_bytes(json.dumps({"error": reason(error), "kind": kind}).encode())
            if kind == MEMORY:
                return
        else:
            line.send_bytes(json.dumps({"shape": result.shape, "dtype": str(result.dtype)}).encode())
            data = result.reshape(-1).view(np.uint8).data
            for start in range(0, len(data), PIECE):
                line.send_bytes(data[start : start + PIECE])
            del data
            del result
        del content
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    # The parent may end before a decoder is ready or has sent its result: an interrupted run prints no traceback of it.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        serve(int(sys.argv[1]))
