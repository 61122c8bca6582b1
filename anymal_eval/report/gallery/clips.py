"""Detects media files that browsers play, and re-encodes the others."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from anymal_eval.records import Media

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PREVIEW_RATE = 8  # frames per second of a re-encoded video
PREVIEW_FRAMES = (16, 64)  # at least, at most
UNKNOWN_SECONDS = 4.0
# H.264 profiles that browsers decode: baseline, main, extended, high. 4:2:2, 4:4:4 and RGB are not among them.
PLAYED_PROFILES = frozenset({66, 77, 88, 100})
# Containers only: playlists and scripts, which can name other files, are left out.
CONTAINERS = "mov,matroska,avi,flv,mpegts,mpeg,asf,ogg,gif"


def picture_ending(content: bytes) -> str:
    """The file extension of an image that browsers show; empty for other content.

    >>> picture_ending(b"GIF89a...")
    'gif'
    """
    if content.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    return "webp" if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else ""


def sound_ending(content: bytes) -> str:
    """The file extension of audio that browsers play; empty for other content."""
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        return "wav"
    if content.startswith(b"fLaC"):
        return "flac"
    if content.startswith(b"OggS"):
        return "ogg"
    is_mp3 = content.startswith(b"ID3") or (content[:1] == b"\xff" and content[1:2] in (b"\xfb", b"\xf3", b"\xf2"))
    return "mp3" if is_mp3 else ""


def clip_ending(content: bytes) -> str:
    """The file extension of a video that browsers play; empty for another container or codec.

    It reads only headers: decoding is left to the processes that can be killed.
    """
    if content.startswith(b"\x1aE\xdf\xa3") and any(codec in content for codec in (b"V_VP8", b"V_VP9", b"V_AV1")):
        return "webm"
    if content[4:8] != b"ftyp":
        return ""
    place = content.find(b"avcC")
    if place != -1:
        return "mp4" if content[place + 5] in PLAYED_PROFILES else ""
    return "mp4" if b"vp09" in content or b"av01" in content else ""


def preview_frames(seconds: float) -> int:
    """The number of frames in the re-encoded preview of a video."""
    least, most = PREVIEW_FRAMES
    return min(most, max(least, round(seconds * PREVIEW_RATE)))


def seconds_of(file: str | io.BytesIO, media: Media) -> float:
    """The length of a video's window, by its header; ``UNKNOWN_SECONDS`` where the header has no duration."""
    import av
    from av.error import FFmpegError

    try:
        clip: Any = av.open(file, options={"format_whitelist": CONTAINERS}, metadata_errors="replace")
        with clip:
            duration = (clip.duration or 0) / av.time_base
    except FFmpegError:
        duration = 0.0
    start = media.start_s or 0.0
    end = duration if media.end_s is None else media.end_s
    window = end - start
    return window if window > 0 else UNKNOWN_SECONDS


def mp3(sound: NDArray[np.float32], rate: int) -> bytes:
    """Mono audio as MP3."""
    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, sound, rate, format="MP3")
    return stream.getvalue()


def mp4(frames: NDArray[np.uint8], rate: float) -> bytes:
    """Frames (n, height, width, 3) as H.264 that every browser plays; odd sides lose one row or column."""
    from fractions import Fraction

    import av
    import numpy as np

    stream = io.BytesIO()
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    # Without a timestamp in the header the same frames give the same bytes.
    with av.open(stream, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        # With slower presets the bytes varied between runs when two videos were encoded at the same time.
        options = {"crf": "20", "preset": "ultrafast", "threads": "1"}
        video: Any = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000), options=options)
        video.height, video.width, video.pix_fmt = height, width, "yuv420p"
        for image in frames:
            cut = np.ascontiguousarray(image[:height, :width])
            container.mux(video.encode(av.VideoFrame.from_ndarray(cut, format="rgb24")))
        container.mux(video.encode())
    return stream.getvalue()
