"""Video: bytes to a few frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anymal_eval.media.broken import failures_of
from anymal_eval.media.location import ROW, Opener, read_bytes, window
from anymal_eval.media.pool import DecoderPool
from anymal_eval.records import Media


def load_video(media: Media, frames: int, pool: DecoderPool, opener: Opener | None = None) -> NDArray[np.uint8]:
    """Decode ``frames`` frames of a video: uint8 (frames, height, width, 3) RGB, writable.

    The window [start_s, end_s], or the whole video, is divided into ``frames`` equal parts in time. Each part gives
    the frame on the screen at its middle: the last one whose presentation timestamp is not later. Time 0 is the first
    frame. A window may end after the video by 1 s and a tenth of its length, and is then cut at the video's end. Where
    the window has fewer frames than requested, frames repeat. A rotation stored in the file is applied.

    A video with a broken tail (truncated, or shorter than its header states) is refused unless ``end_s`` is before the
    damage; a damaged frame that must be decoded is refused too, never concealed. Whole packets missing from the middle
    of a stream are not detected, because variable frame rates look the same.

    Raises:
        MediaTruncated: it holds less than it declares, or ends long before the window.
        MediaError: the file is missing, no video, without frames, damaged in the window, or over the budget.
        MediaTimeout: the decoder exceeded the pool's time limit and was killed.
        ValueError: ``frames`` is less than 1.
    """
    if frames < 1:
        raise ValueError(f"{frames} frames were requested; at least 1 is needed")
    with failures_of(media):
        return pool.video(media, frames, _content(media, pool, opener))


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """When the frames of a clip appear.

    Attributes:
        rate: frames a second, as the file states it, or else as they are on average.
        length: of the window, in seconds.
        seconds: float64 (frames,), from the start of the window, ascending.
    """

    rate: float
    length: float
    seconds: NDArray[np.float64]


def load_timeline(media: Media, pool: DecoderPool, opener: Opener | None = None) -> Timeline:
    """Find when the frames of a video's window appear. Nothing is decoded; damage is refused as by ``load_video``.

    Raises:
        MediaError: as ``load_video``.
    """
    with failures_of(media):
        rate, length, *seconds = pool.timeline(media, _content(media, pool, opener)).tolist()
        own = len(seconds) / length if length > 0 else 1.0
        return Timeline(rate=rate or own, length=length, seconds=np.array(seconds))


def load_frames(
    media: Media, places: Sequence[int], pool: DecoderPool, opener: Opener | None = None
) -> NDArray[np.uint8]:
    """Decode the frames at ``places`` of the timeline, in ascending order: uint8 (frames, height, width, 3) RGB.

    Raises:
        MediaError: as ``load_video``, and where there is no such frame.
        ValueError: there are no places.
    """
    if not places:
        raise ValueError("no frame was requested; at least 1 is needed")
    with failures_of(media):
        return pool.frames(media, places, _content(media, pool, opener))


def _content(media: Media, pool: DecoderPool, opener: Opener | None) -> bytes | None:
    """The bytes of a medium in a row of a data set; None for a file, which the decoder opens itself."""
    window(media)
    return read_bytes(media, opener, budget=pool.budget) if media.uri.startswith(ROW) else None
