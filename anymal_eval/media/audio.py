"""Audio: bytes to mono float32 at the sample rate of the model."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from anymal_eval.errors import MediaError
from anymal_eval.media.location import Opener, file_path, read_bytes, reason, window
from anymal_eval.media.pool import DecoderPool
from anymal_eval.records import Media

# A line of libsndfile's log for a WAV or AIFF whose header states more bytes than the file has. Programs that write to
# a pipe put 0xFFFFFFFF or 0x7FFFFFFF there, which states no length.
SHORT = re.compile(r"^\s*(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
UNKNOWN_LENGTH = 0x7FFF0000


def load_audio(media: Media, sample_rate: int, pool: DecoderPool, opener: Opener | None = None) -> NDArray[np.float32]:
    """Decode audio: float32 (samples,) in [-1, 1] at ``sample_rate`` Hz, the mean of its channels.

    ``start_s`` and ``end_s`` cut before resampling, at the nearest sample; a window that ends after the recording is
    cut at its end. libsndfile (wav, flac, mp3, ogg, aiff) reads first; FFmpeg, in the pool, reads what libsndfile
    cannot open, such as a video's sound track. Resampling is soxr's HQ, its overshoot clipped.

    Raises:
        MediaError: the file is missing, no audio, damaged, shorter than its header states, holds NaN, or has 0 s in
            the window.
        MediaTimeout: FFmpeg did not finish in time.
    """
    start, end = window(media)
    path = file_path(media)
    content = None if path is not None else read_bytes(media, opener)
    try:
        with open_sound(path or BytesIO(content or b"")) as file:
            rate, sound = file.samplerate, read_window(file, start, end)
    except Unknown:
        sound, rate = pool.audio(media, content)
    except (TypeError, ValueError, soundfile.LibsndfileError) as error:
        raise MediaError(f"{media.uri}: the sound cannot be decoded: {reason(error)}") from error
    if rate != sample_rate and len(sound):
        sound = soxr.resample(sound, rate, sample_rate, quality="HQ")
    if not len(sound):
        raise MediaError(f"{media.uri}: it holds no sound (0 s) from {start:g} s on")
    if not np.isfinite(sound).all():
        raise MediaError(f"{media.uri}: the sound holds NaN or infinity")
    return np.clip(sound, np.float32(-1), np.float32(1))


class Unknown(Exception):
    """libsndfile cannot read this kind of file."""


def open_sound(source: Path | BytesIO) -> soundfile.SoundFile:
    """Open an audio file. A file that libsndfile opens and then cannot read is damaged: FFmpeg must not try it, because
    it would return the part before the damage.

    Raises:
        Unknown: libsndfile cannot open the file, or would guess its length.
        TypeError: the file has no header (``.raw``), so that its sample rate is unknown.
    """
    try:
        file = soundfile.SoundFile(source)
    except soundfile.LibsndfileError as error:
        raise Unknown from error
    if file.format == "MP3" and not mp3_has_length(source):
        file.close()
        raise Unknown
    return file


def mp3_has_length(source: Path | BytesIO) -> bool:
    """Whether an mp3's first frame states the number of frames. Where it does not, libsndfile assumes the first frame's
    bit rate for all frames, and returned 74 thousand of 321 thousand samples of a file with a variable bit rate.
    """
    with source.open("rb") if isinstance(source, Path) else BytesIO(source.getbuffer()) as file:
        head = file.read(10)
        if head[:3] == b"ID3":  # a tag, its size in four times seven bits
            file.seek(10 + sum(byte << 7 * (3 - place) for place, byte in enumerate(head[6:10])))
            head = b""
        start = head + file.read(2048)
    return any(name in start for name in (b"Xing", b"Info", b"VBRI"))


def read_window(file: soundfile.SoundFile, start: float, end: float | None) -> NDArray[np.float32]:
    """Read a window of an open audio file, in seconds, mixed to one channel: float32 (n,) at the file's own rate.

    Raises:
        ValueError: the file is shorter than its header states.
    """
    rate, frames = file.samplerate, file.frames
    short = SHORT.search(file.extra_info)
    if short and int(short[2]) < int(short[1]) < UNKNOWN_LENGTH:
        raise ValueError(f"it is truncated: {short[2]} of {short[1]} bytes of sound")
    first = min(round(start * rate), frames)
    stop = frames if end is None else min(round(end * rate), frames)
    if stop <= first:
        return np.zeros(0, np.float32)
    file.seek(first)
    sound = file.read(stop - first, dtype="float32", always_2d=True)
    if len(sound) < stop - first:
        raise ValueError(f"it is truncated: {first + len(sound)} of {frames} samples")
    mono: NDArray[np.float32] = sound.mean(axis=1, dtype=np.float32)
    return mono
