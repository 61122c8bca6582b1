"""Frames of a clip by FFmpeg, in a decoder process, by the rule of ``video.load_video``. Damage is never concealed."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition
from numpy.typing import NDArray

from anymal_eval.media.broken import Broken, Truncated
from anymal_eval.media.budget import MediaBudget, hold_size
from anymal_eval.media.containers import Job, cut_packet, open_container
from anymal_eval.media.sounds import check_reach

SLACK = Fraction(1, 10)
"""Seconds, with two frames, by which a clip may be shorter than its container states: rounded time bases and audio
padding make the two differ in complete files."""


@dataclass(frozen=True, kw_only=True)
class Index:
    """The timestamps of a video, read from its packets alone, in units of the stream's time base.

    Decoding can start at ``keys``. ``times`` has every frame's, in the order of the file. ``damage`` describes what is
    wrong after ``end``; None: the video is complete.
    """

    begin: int
    end: int
    keys: list[int]
    times: Sequence[int]
    damage: str | None


def index(container: Any, stream: Any, source: BinaryIO, budget: MediaBudget) -> Index:
    """Read all packets of a video, without decoding them.

    Raises:
        Broken: there are none.
        TooLarge: there are too many.
    """
    frame = Fraction(1) / (stream.average_rate or 25)
    shown: list[int] = []  # first and last timestamp
    keys: list[int] = []
    times = array("q")
    last, problem = Fraction(0), None
    try:
        for number, packet in enumerate(container.demux()):
            budget.hold("packets", number, f"a container of {number} packets")
            time = packet.dts if packet.pts is None else packet.pts
            if packet.size == 0 or time is None:
                continue
            if packet.is_corrupt:
                problem = "a packet is cut off"
                break
            last = max(last, (time + (packet.duration or 0)) * packet.time_base)
            if packet.stream.index == stream.index and not packet.is_discard:
                stop = time + (packet.duration or round(frame / stream.time_base))
                last = max(last, stop * stream.time_base)
                shown = [min([time, *shown]), max([stop, *shown])]
                times.append(time)
                if packet.is_keyframe:
                    keys.append(time)
    except FFmpegError as error:
        problem = str(error.strerror)
    if problem is None and cut_packet(container, source):
        problem = "its last packet is cut off"
    if not shown:
        raise (Truncated if problem else Broken)(f"it has no frames{f': {problem}' if problem else ''}")
    if problem is None and container.duration is not None:
        stated = Fraction(container.duration + (container.start_time or 0), av.time_base)
        if stated - last > SLACK + 2 * frame:
            problem = f"it holds {float(last):.2f} s of {float(stated):.2f} s"
    return Index(begin=shown[0], end=shown[1], keys=sorted(keys), times=times, damage=problem)


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


def window_of(job: Job, length: Fraction) -> tuple[Fraction, Fraction]:
    """Start and end of the window in seconds, cut to the clip.

    Raises:
        Truncated: it starts after the clip, or ends long after it.
    """
    start = Fraction(job["start_s"] or 0)
    end = length if job["end_s"] is None else min(Fraction(job["end_s"]), length)
    if start > end or start >= length:
        raise Truncated(f"the window starts at {float(start):.3f} s, and ends or the clip does at {float(end):.3f} s")
    if job["end_s"] is not None:
        check_reach(job["end_s"], float(start), float(length))
    return start, end


def frames_in(plan: Index, window: tuple[Fraction, Fraction], beat: Fraction) -> list[int]:
    """The timestamps of the frames that appear in a window, in their order; at least the one that is on the screen."""
    start, end = (plan.begin + int(second / beat) for second in window)
    times = sorted(set(plan.times))
    first, stop = bisect_left(times, start), bisect_left(times, end)
    return times[first:stop] or [times[max(0, bisect_right(times, start) - 1)]]


def targets(job: Job, plan: Index, window: tuple[Fraction, Fraction], beat: Fraction) -> list[int]:
    """The timestamps to show: of the frames that the job names by their place in the window, or of the middles of k
    equal parts of it.

    Raises:
        Broken: there is no such frame.
    """
    if "places" in job:
        times = frames_in(plan, window, beat)
        if not 0 <= min(job["places"]) <= max(job["places"]) < len(times):
            raise Broken(f"it has {len(times)} frames in the window, frame {max(job['places'])} was requested")
        return [times[place] for place in sorted(job["places"])]
    start, end = window
    parts = 2 * job["frames"]
    return [plan.begin + int((start + (end - start) * Fraction(part, parts)) / beat) for part in range(1, parts, 2)]


def play(source: BinaryIO, job: Job, plan: Index, seek: bool) -> NDArray[np.uint8]:
    """Decode the frames of ``targets``, and the window's last frame as a check for damage."""
    budget = MediaBudget(**job["budget"])
    with open_container(source) as container:
        stream = video_stream(container, budget)
        beat = Fraction(stream.time_base)
        start, end = window_of(job, (plan.end - plan.begin) * beat)
        player = Player(container, stream, plan.keys if seek else [])
        pictures: NDArray[np.uint8] | None = None
        previous, size = None, (0, 0)
        for number, target in enumerate(targets(job, plan, (start, end), beat)):
            frame = player.at(target)
            if pictures is None:
                size = (frame.width, frame.height)
                hold_frames(budget, job["frames"], *size)
                first = picture(frame)
                pictures = np.empty((job["frames"], *first.shape), np.uint8)
                pictures[0] = first
            elif (frame.width, frame.height) != size:
                raise Broken("its frames change their size")
            else:
                pictures[number] = pictures[number - 1] if frame is previous else picture(frame)
            previous = frame
        # Beyond the last frame requested: whether a video counts as damaged must not depend on k.
        player.at(plan.begin + max(0, int(end / beat) - 1))
        if pictures is None:
            raise Broken("it has no frames")
        return pictures


def timeline(source: BinaryIO, job: Job) -> NDArray[np.float64]:
    """When the frames of the window appear; nothing is decoded.

    Returns:
        The stream's average rate in Hz (0 where it states none), the window's length in seconds, then each frame's
        seconds from the start of the window: float64 (2 + frames,).
    """
    plan, rate, beat = _planned(source, job)
    start, end = window_of(job, (plan.end - plan.begin) * beat)
    seconds = [float((time - plan.begin) * beat - start) for time in frames_in(plan, (start, end), beat)]
    return np.array([rate, float(end - start), *seconds])


def _planned(source: BinaryIO, job: Job) -> tuple[Index, float, Fraction]:
    """The index of a video that is intact in the job's window, its average rate and the length of a tick."""
    budget = MediaBudget(**job["budget"])
    with open_container(source) as container:
        stream = video_stream(container, budget)
        hold_frames(budget, job["frames"], stream.width, stream.height)
        plan = index(container, stream, source, budget)
        end, intact = job["end_s"], (plan.end - plan.begin) * stream.time_base
        if plan.damage and (end is None or end > intact):
            raise Truncated(f"its tail is broken: {plan.damage}")
        return plan, float(stream.average_rate or 0), Fraction(stream.time_base)


def video(source: BinaryIO, job: Job) -> NDArray[np.uint8]:
    """Decode frames: uint8 (frames, height, width, 3)."""
    plan, _, beat = _planned(source, job)
    window_of(job, (plan.end - plan.begin) * beat)
    source.seek(0)
    try:
        return play(source, job, plan, seek=True)
    except (FFmpegError, Broken) as error:
        if getattr(error, "kind", "") == "budget" or isinstance(error, MemoryError):
            raise
        # Seeking into an open group of pictures can fail where decoding from the start does not.
        source.seek(0)
        return play(source, job, plan, seek=False)


def hold_frames(budget: MediaBudget, frames: int, width: int, height: int) -> None:
    """Refuse frames of too many pixels.

    Raises:
        TooLarge: one of them, or all together.
    """
    hold_size(budget, width, height, "a frame of ")
    budget.hold("clip_pixels", frames * width * height, f"{frames} frames of {width} x {height}")


def video_stream(container: Any, budget: MediaBudget) -> Any:
    """The first video stream; the cover image of a song does not count.

    Raises:
        Broken: there is none.
        TooLarge: its frames have too many pixels.
    """
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise Broken("it has no frames: there is no video in it")
    stream = streams[0]
    hold_frames(budget, 1, stream.width, stream.height)
    # Damage must be an error: concealed, it would be an invented picture. One thread: the pool runs several processes.
    stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(budget.pixels)}
    stream.codec_context.thread_count = 1
    return stream


def verify_jpeg(content: bytes, budget: MediaBudget) -> None:
    """Decode a JPEG file strictly; what FFmpeg does not know passes.

    Raises:
        Truncated: its data end early, or are damaged.
    """
    decoder: Any = av.CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode", "max_pixels": str(budget.pixels)}
    decoder.thread_count = 1
    try:
        found = [*decoder.decode(av.Packet(content)), *decoder.decode(None)]
    except av.error.InvalidDataError as error:
        raise Truncated("its data end before the picture does, or have a hole") from error
    except (av.error.PatchWelcomeError, av.error.DecoderNotFoundError):
        return
    if any(frame.is_corrupt for frame in found):
        raise Truncated("its data are damaged")
