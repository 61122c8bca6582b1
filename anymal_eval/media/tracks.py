"""Sounds that libsndfile does not read, and sound tracks, by FFmpeg, in a decoder process."""

from collections.abc import Iterator
from typing import Any, BinaryIO

import av
import numpy as np

from anymal_eval.media.broken import Broken, Truncated
from anymal_eval.media.budget import MediaBudget
from anymal_eval.media.containers import Job, open_container
from anymal_eval.media.sounds import Sound, check_reach, hold_samples, joined

# Containers that state how long they are as a whole; FFmpeg guesses it for most others, from the bit rate.
STATED = ("matroska", "avi", "asf", "nut", "wav", "w64", "aiff", "caf", "flac")
SLACK_S = 0.25
"""By so much a sound track may be shorter than its container states: encoders count their padding."""


def track(source: BinaryIO, job: Job) -> tuple[Sound, int]:
    """Decode the window of the first sound track: float32 (n,) mono at its own rate, and that rate in Hz.

    Raises:
        Broken: there is no sound.
        Truncated: it is shorter than its container states, or ends long before the window.
        TooLarge: it has too many samples.
    """
    budget = MediaBudget(**job["budget"])
    with open_container(source) as container:
        if not container.streams.audio:
            raise Broken("it has no sound")
        stream = container.streams.audio[0]
        rate = int(getattr(stream, "rate", 0) or 0)
        if rate < 1:
            raise Broken("its sound states no sample rate")
        stated = _stated(container, stream)
        start, end = job["start_s"] or 0.0, job["end_s"]
        part = max(0.0, (stated if end is None else min(end, stated or end)) - start)
        channels = int(stream.codec_context.channels or 1)
        hold_samples(budget, int(part * rate), rate, channels, job["sample_rate"])
        if container.format.name == "flac":
            stream.codec_context.options = {"err_detect": "crccheck+explode"}
        reader = _Reader(container, stream, (round(start * rate), None if end is None else round(end * rate)))
        sound = joined(_held(reader.blocks(), budget, rate, channels, job["sample_rate"]))
    seconds = reader.position / rate
    if end is not None:
        check_reach(end, start, seconds)
    elif stated - max(seconds, reader.seconds) > SLACK_S:
        raise Truncated(f"its tail is broken: it holds {seconds:.2f} s of {stated:.2f} s")
    return sound, rate


class _Reader:
    """Reads a window of a track.

    Attributes:
        position: samples decoded so far.
        seconds: where the last packet of any track ended.
    """

    def __init__(self, container: Any, stream: Any, part: tuple[int, int | None]) -> None:
        self._container, self._stream, self._part = container, stream, part
        self.position, self.seconds = 0, 0.0

    def blocks(self) -> Iterator[Sound]:
        """Mono samples of the window, one decoded frame after the other."""
        first, stop = self._part
        floats = av.AudioResampler(format="fltp")
        for frame in self._frames():
            for planar in floats.resample(frame):
                block = planar.to_ndarray().mean(axis=0, dtype=np.float32)
                low, high = max(0, first - self.position), None if stop is None else max(0, stop - self.position)
                self.position += len(block)
                yield block[low:high]
            if stop is not None and self.position >= stop:
                return

    def _frames(self) -> Iterator[Any]:
        """All frames of the track; a packet that is cut off is an error."""
        # A matroska file states the length of its longest track, which is known from all packets.
        # A WAV file that states no length ends within a packet; one that states it was compared with its size before.
        whole = self._container.format.name == "wav"
        every = self._container.format.name.startswith(STATED)
        for packet in self._container.demux() if every else self._container.demux(self._stream):
            if packet.is_corrupt and not whole:
                raise Truncated("its tail is broken: a packet is cut off")
            time = packet.pts if packet.pts is not None else packet.dts
            if time is not None:
                self.seconds = max(self.seconds, float((time + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index == self._stream.index:
                yield from packet.decode()


def _held(blocks: Iterator[Sound], budget: MediaBudget, rate: int, channels: int, sample_rate: int) -> Iterator[Sound]:
    """The same blocks, until they exceed the budget: a container may state less than it holds, or nothing."""
    count = 0
    for block in blocks:
        count += len(block)
        hold_samples(budget, count, rate, channels, sample_rate)
        yield block


def _stated(container: Any, stream: Any) -> float:
    """The length that the container states, in seconds; 0 where it states none."""
    name = str(container.format.name)
    if name.startswith("mov"):
        return float(stream.duration * stream.time_base) if stream.duration is not None else 0.0
    if name.startswith(STATED):
        return container.duration / av.time_base if container.duration is not None else 0.0
    return 0.0
