"""Sounds: bytes to mono float32 at the sample rate of a model, in any process, by libsndfile."""

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from anymal_eval.media import mp3
from anymal_eval.media.broken import Broken, NotThisKind, Truncated
from anymal_eval.media.budget import MediaBudget
from anymal_eval.media.declared import CHECKS, check_complete

FULL_RATE = 48_000  # Hz; models of a lower rate take more memory for each sample
BLOCK = 1 << 20  # values decoded at once
NO_LENGTH = 1 << 50  # libsndfile's number of frames where the file states none
LATE_S, LATE_PART = 1.0, 0.1
"""A window may end after the recording by so much, and by this part of its length: annotators round, and clips are cut
at frames."""

Sound = NDArray[np.float32]
Source = Path | bytes
Window = tuple[float, float | None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sound's header states of the part to read.

    Attributes:
        frames: to read, each a sample of every channel.
        cost: bytes that decoding takes, the result included.
    """

    frames: int
    cost: int


def plan(source: Source, window: Window, sample_rate: int, budget: MediaBudget) -> Plan:
    """Hold a sound to the budget by its header, and compare what it declares with its size.

    Raises:
        NotThisKind: libsndfile cannot read it, or would guess its length.
        Truncated: it has less than it declares, or ends long before the window does.
        TooLarge: it has too many samples, at its own rate or the model's.
    """
    with _binary(source) as file:
        check_complete(file)
    with open_sound(source) as sound:
        first, stop = bounds(window, sound.samplerate, sound.frames)
        hold_samples(budget, stop - first, sound.samplerate, sound.channels, sample_rate)
        made = (stop - first) * sample_rate // sound.samplerate
        held = len(source) if isinstance(source, bytes) else 0
        return Plan(frames=stop - first, cost=held + 5 * (stop - first) + 5 * made)


def hold_samples(budget: MediaBudget, frames: int, rate: int, channels: int, sample_rate: int) -> None:
    """Refuse a sound of too many samples.

    Args:
        budget: the limits.
        frames: to read.
        rate, channels: of the file.
        sample_rate: of the model, in Hz.

    Raises:
        TooLarge: names its length.
    """
    amount = max(frames, frames * sample_rate / rate, frames * FULL_RATE / rate)
    budget.hold("sound_samples", amount, f"{frames / rate:.1f} s of {rate} Hz in {channels} channels")


def decode(source: Source, window: Window, sample_rate: int) -> Sound:
    """Decode a sound whose header was read: float32 (samples,) in [-1, 1] at ``sample_rate``.

    Raises:
        NotThisKind: libsndfile cannot read it.
        Truncated: fewer samples than its header states.
        Broken: 0 s in the window, or NaN.
    """
    with open_sound(source) as file:
        rate, sound = file.samplerate, read_window(file, window)
    return at_rate(sound, rate, sample_rate, window)


def at_rate(sound: Sound, rate: int, sample_rate: int, window: Window) -> Sound:
    """Resample mono samples by soxr's HQ, and clip its overshoot.

    Raises:
        Broken: there are no samples, or they hold NaN or infinity.
    """
    if not len(sound):
        raise Broken(f"it holds no sound (0 s) from {window[0]:g} s on")
    if rate != sample_rate:
        sound = np.asarray(soxr.resample(sound, rate, sample_rate, quality="HQ"), np.float32)
    if not len(sound):
        raise Broken(f"it holds no sound: less than one sample at {sample_rate} Hz")
    if not all(np.isfinite(sound[start : start + BLOCK]).all() for start in range(0, len(sound), BLOCK)):
        raise Broken("the sound holds NaN or infinity")
    return np.clip(sound, np.float32(-1), np.float32(1), out=sound if sound.flags.writeable else None)


def open_sound(source: Source) -> soundfile.SoundFile:
    """Open an audio file. A file that libsndfile opens and then cannot read is damaged: FFmpeg must not try it, because
    it would return the part before the damage.

    Raises:
        NotThisKind: libsndfile cannot open the file, or would guess its length.
        TypeError: the file has no header (``.raw``), so that its sample rate is unknown.
    """
    if is_noise(source):
        raise NotThisKind("there are no frames after its tag")
    try:
        file = soundfile.SoundFile(BytesIO(source) if isinstance(source, bytes) else source)
    except soundfile.LibsndfileError as error:
        raise NotThisKind(str(error)) from error
    # A WAV file that was written into a pipe may state 0 samples, which FFmpeg reads as "up to the end".
    if not 0 < file.frames <= NO_LENGTH or (file.format == "MP3" and not mp3_has_length(source)):
        file.close()
        raise NotThisKind("the file does not state its length")
    return file


def is_known(source: Source) -> bool:
    """Whether a file starts as one of the formats that libsndfile knows without a search, which it would print."""
    with _binary(source) as file:
        return file.read(4).startswith((*CHECKS, b"fLaC"))


def is_noise(source: Source) -> bool:
    """Whether a file that starts as an mp3 does holds no frames: libsndfile would print its search for them."""
    with _binary(source) as file:
        head = file.read(10)
        if head[:3] != b"ID3" and head[:1] != b"\xff":
            return False
        file.seek(mp3.after_tag(head))
        start = file.read(mp3.SEARCHED)
    return not start.startswith(b"fLaC") and mp3.first_frame(start) is None


def mp3_has_length(source: Source) -> bool:
    """Whether an mp3's first frame states the number of frames. Where it does not, libsndfile assumes the first frame's
    bit rate for all frames, and returned 74 thousand of 321 thousand samples of a file with a variable bit rate.
    """
    with _binary(source) as file:
        file.seek(mp3.after_tag(file.read(10)))
        start = file.read(2048)
    return any(name in start for name in (b"Xing", b"Info", b"VBRI"))


def bounds(window: Window, rate: int, frames: int) -> tuple[int, int]:
    """First and last sample of a window in seconds, cut to the recording.

    Raises:
        Truncated: the window ends long after the recording.
    """
    start, end = window
    first = min(round(start * rate), frames)
    if end is None:
        return first, frames
    check_reach(end, start, frames / rate)
    return first, max(first, min(round(end * rate), frames))


def check_reach(end: float, start: float, length: float) -> None:
    """Refuse a window that ends long after the medium: the medium was cut before it came here.

    Args:
        end, start: of the window, in seconds.
        length: of the medium, in seconds.

    Raises:
        Truncated: it ends later by more than ``LATE_S`` and ``LATE_PART`` of the window.
    """
    if end - length > LATE_S + LATE_PART * (end - start):
        raise Truncated(f"the part that was requested ends at {end:.2f} s, and the medium at {length:.2f} s")


def read_window(file: soundfile.SoundFile, window: Window) -> Sound:
    """Read a window of an open audio file, in seconds, mixed to one channel: float32 (n,) at the file's own rate.

    Raises:
        Truncated: the file is shorter than its header states.
    """
    first, stop = bounds(window, file.samplerate, file.frames)
    mono: Sound = np.empty(stop - first, np.float32)
    if not len(mono):
        return mono
    file.seek(first)
    rows = max(1, BLOCK // file.channels)
    for place in range(0, len(mono), rows):
        wanted = min(rows, len(mono) - place)
        try:
            block = file.read(wanted, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise Truncated(f"less than its {file.frames} samples can be read: {error}") from error
        mono[place : place + len(block)] = block.mean(axis=1, dtype=np.float32)
        if len(block) < wanted:
            raise Truncated(f"it is truncated: {first + place + len(block)} of {file.frames} samples")
    return mono


def joined(blocks: Iterable[Sound]) -> Sound:
    """Blocks of unknown number as one array, which exists once in memory."""
    content = bytearray()
    for block in blocks:
        content += block.tobytes()
    return np.frombuffer(content, np.float32)


def _binary(source: Source) -> BinaryIO:
    return BytesIO(source) if isinstance(source, bytes) else source.open("rb")
