"""Video: bytes to a few frames."""

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
        window(media)
        row = media.uri.startswith(ROW)
        content = read_bytes(media, opener, budget=pool.budget) if row else None
        return pool.video(media, frames, content)
