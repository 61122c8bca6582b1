"""The process that decodes videos: one that hangs or crashes can be killed without harm to the run.

Nothing imports this file: ``pool.py`` starts it as a script, by path. It imports only numpy, PyAV and the standard
library, whatever the parent has loaded, and starts in a fraction of a second.

It communicates over one socket, whose file descriptor is its argument. A job is a line of JSON, then the medium's bytes
unless the job names a path. The reply is a line of JSON, ``{"error"}`` or ``{"shape", "dtype"}``, then the array's
bytes.
"""

import json
import signal
import sys
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition
from numpy.typing import NDArray

# Formats that only list other files (playlists, concat scripts, image patterns) are left out: with them a video named
# in an annotation file could read any file on this machine.
FORMATS = "mov,matroska,avi,flv,mpegts,mpeg,asf,ogg,gif,wav,mp3,aac,flac,aiff,amr,caf,w64,nut,ac3,eac3,apng,webp_anim"
BUFFER = 1 << 18

Job = dict[str, Any]


class Broken(Exception):
    """The medium cannot be decoded as requested; the message gives the reason, without the file's name."""


@dataclass(frozen=True, kw_only=True)
class Index:
    """The timestamps of a video, read from its packets alone, in units of the stream's time base.

    Decoding can start at ``keys``. ``damage`` describes what is wrong after ``end``; None: the video is complete.
    """

    begin: int
    end: int
    keys: list[int]
    damage: str | None


def index(container: Any, stream: Any) -> Index:
    """Read all packets of a video, without decoding them."""
    frame = Fraction(1) / (stream.average_rate or 25)
    shown: list[tuple[int, int, bool]] = []
    last, problem = Fraction(0), None
    try:
        for packet in container.demux():
            time = packet.dts if packet.pts is None else packet.pts
            if packet.size == 0 or time is None:
                continue
            if packet.is_corrupt:
                problem = "a packet is cut off"
                break
            last = max(last, (time + (packet.duration or 0)) * packet.time_base)
            if packet.stream.index == stream.index and not packet.is_discard:
                end = time + (packet.duration or round(frame / stream.time_base))
                last = max(last, end * stream.time_base)
                shown.append((time, end, packet.is_keyframe))
    except FFmpegError as error:
        problem = str(error.strerror)
    if not shown:
        raise Broken(f"it has no frames{f': {problem}' if problem else ''}")
    if problem is None and container.duration is not None:
        stated = Fraction(container.duration + (container.start_time or 0), av.time_base)
        # Rounded time bases and audio padding make the two differ by about a frame in complete files.
        if stated - last > Fraction(1, 10) + 2 * frame:
            problem = f"it holds {float(last):.2f} s of {float(stated):.2f} s"
    return Index(
        begin=min(time for time, _, _ in shown),
        end=max(end for _, end, _ in shown),
        keys=sorted(time for time, _, key in shown if key),
        damage=problem,
    )


class Player:
    """Decodes a video forwards and skips frames that are not requested. Times must not decrease between calls."""

    def __init__(self, container: Any, stream: Any, keys: list[int]) -> None:
        self.container, self.stream, self.keys = container, stream, keys
        self.frames: Iterator[Any] = container.decode(stream)
        self.shown: Any = None
        self.coming: Any = None

    def at(self, time: int) -> Any:
        """The frame on the screen at ``time``: the last one whose timestamp is not later."""
        key = bisect_right(self.keys, time) - 1
        reached = None if self.coming is None else self.coming.pts
        if key > 0 and reached is not None and self.keys[key] > reached:
            self.container.seek(self.keys[key], stream=self.stream)
            self.frames, self.shown, self.coming = self.container.decode(self.stream), None, None
        while self.coming is None or self.coming.pts <= time:
            if self.coming is not None:
                self.shown = self.coming
            self.coming = next(self.frames, None)
            if self.coming is None:
                break
            if self.coming.is_corrupt or self.coming.pts is None:
                raise Broken("a frame is damaged" if self.coming.is_corrupt else "its frames carry no timestamps")
        if self.shown is None and (self.coming is None or self.keys):
            raise Broken("a frame cannot be found again by its timestamp")
        return self.shown or self.coming


def picture(frame: Any) -> NDArray[np.uint8]:
    """A frame as uint8 (height, width, 3) RGB, with the file's rotation applied."""
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    return np.rot90(pixels, round(frame.rotation / 90))


def play(source: BinaryIO, job: Job, plan: Index, seek: bool) -> NDArray[np.uint8]:
    """Decode the frames in the middle of k equal parts of the window, and its last frame as a check for damage."""
    with open_container(source) as container:
        stream = video_stream(container, job["max_pixels"])
        beat = Fraction(stream.time_base)
        length = (plan.end - plan.begin) * beat
        start = Fraction(job["start_s"] or 0)
        end = length if job["end_s"] is None else min(Fraction(job["end_s"]), length)
        if start > end or start >= length:
            raise Broken(f"the window starts at {float(start):.3f} s, and ends or the clip does at {float(end):.3f} s")
        player = Player(container, stream, plan.keys if seek else [])
        pictures: list[NDArray[np.uint8]] = []
        previous = None
        for number in range(job["frames"]):
            middle = start + (end - start) * Fraction(2 * number + 1, 2 * job["frames"])
            frame = player.at(plan.begin + int(middle / beat))
            pictures.append(pictures[-1] if frame is previous else picture(frame))
            previous = frame
            if pictures[-1].shape != pictures[0].shape:
                raise Broken("its frames change their size")
        # Beyond the last frame requested: whether a video counts as damaged must not depend on k.
        player.at(plan.begin + max(0, int(end / beat) - 1))
        return np.stack(pictures)


def video(source: BinaryIO, job: Job) -> NDArray[np.uint8]:
    """Decode frames: uint8 (frames, height, width, 3); see ``video.load_video`` for the rule."""
    with open_container(source) as container:
        stream = video_stream(container, job["max_pixels"])
        plan = index(container, stream)
        end, intact = job["end_s"], (plan.end - plan.begin) * stream.time_base
        if plan.damage and (end is None or end > intact):
            raise Broken(f"its tail is broken: {plan.damage}")
    source.seek(0)
    try:
        return play(source, job, plan, seek=True)
    except (FFmpegError, Broken):
        # Seeking into an open group of pictures can fail where decoding from the start does not.
        source.seek(0)
        return play(source, job, plan, seek=False)


def audio(source: BinaryIO, job: Job) -> tuple[NDArray[np.float32], int]:
    """Decode the window of the first audio track: float32 (n,) mono at its own rate, and that rate in Hz."""
    with open_container(source) as container:
        if not container.streams.audio:
            raise Broken("it has no sound")
        stream = container.streams.audio[0]
        rate = int(stream.rate)
        first = round((job["start_s"] or 0) * rate)
        stop = None if job["end_s"] is None else round(job["end_s"] * rate)
        floats = av.AudioResampler(format="fltp")
        parts, position = [], 0
        for frame in sound_frames(container, stream):
            for planar in floats.resample(frame):
                block = planar.to_ndarray().mean(axis=0, dtype=np.float32)
                low, high = max(0, first - position), None if stop is None else max(0, stop - position)
                parts.append(block[low:high])
                position += len(block)
            if stop is not None and position >= stop:
                break
        # Other containers state no length, or FFmpeg guesses it from the bit rate.
        mp4 = container.format.name.startswith("mov") and stream.duration is not None
        stated = float(stream.duration * stream.time_base) if mp4 else 0.0
        if stop is None and stated - position / rate > 0.25:
            raise Broken(f"its tail is broken: it holds {position / rate:.2f} s of {stated:.2f} s")
    return np.concatenate(parts or [np.zeros(0, np.float32)]), rate


def sound_frames(container: Any, stream: Any) -> Iterator[Any]:
    """All frames of an audio track; a packet that is cut off is an error."""
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise Broken("its tail is broken: a packet is cut off")
        yield from packet.decode()


def open_container(source: BinaryIO) -> Any:
    """Open a container from its bytes: no network, no second file, no playlist."""
    options = {"format_whitelist": FORMATS}
    try:
        return av.open(source, "r", buffer_size=BUFFER, options=options, metadata_errors="replace")
    except av.error.EOFError as error:
        raise Broken("it has no frames: it ends with its header") from error


def video_stream(container: Any, max_pixels: int) -> Any:
    """The first video stream; the cover image of a song does not count."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise Broken("it has no frames: there is no video in it")
    stream = streams[0]
    if stream.width * stream.height > max_pixels:
        raise Broken(f"its frames of {stream.width} x {stream.height} pixels exceed the limit of {max_pixels} pixels")
    # Damage must be an error: concealed, it would be an invented picture. One thread: the pool runs several processes.
    stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(max_pixels)}
    stream.codec_context.thread_count = 1
    return stream


def work(job: Job, content: bytes | None) -> tuple[NDArray[Any], Job]:
    """Do one job: the array, and further keys for the head of the reply."""
    with BytesIO(content) if content is not None else Path(job["path"]).open("rb") as source:
        if source.seekable():
            if source.seek(0, 2) == 0:
                raise Broken("it is empty (0 bytes)")
            source.seek(0)
        if job["kind"] == "video":
            return np.ascontiguousarray(video(source, job)), {}
        sound, rate = audio(source, job)
        return sound, {"rate": rate}


def serve(socket: int) -> None:
    """Answer jobs until the parent process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    av.logging.set_level(av.logging.PANIC)
    line: Connection[Any, Any] = Connection(socket)
    line.send_bytes(b"ready")
    while True:
        try:
            job = json.loads(line.recv_bytes())
        except (EOFError, OSError):
            return
        # The parent kills a job that takes too long; this timer does where the parent was killed itself.
        signal.setitimer(signal.ITIMER_REAL, job["timeout_s"] + 5)
        content = line.recv_bytes() if job["path"] is None else None
        try:
            result, head = work(job, content)
        except (FFmpegError, OSError, ValueError, OverflowError, MemoryError, Broken) as error:
            reason = (error.strerror if isinstance(error, FFmpegError | OSError) else None) or str(error)
            line.send_bytes(json.dumps({"error": reason or type(error).__name__}).encode())
        else:
            head |= {"shape": result.shape, "dtype": str(result.dtype)}
            line.send_bytes(json.dumps(head).encode())
            line.send_bytes(result.reshape(-1).view(np.uint8).data)
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
