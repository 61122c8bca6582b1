"""Clips: bytes to a few frames."""

import numpy as np
from numpy.typing import NDArray

from anymal_eval.media.location import ROW, Opener, read_bytes, window
from anymal_eval.media.pool import DecoderPool
from anymal_eval.records import Media


def load_video(media: Media, frames: int, pool: DecoderPool, opener: Opener | None = None) -> NDArray[np.uint8]:
    """Decode ``frames`` frames of a clip: uint8 (frames, height, width, 3) RGB, writable.

    The window [start_s, end_s], or the whole clip, is cut into ``frames`` equal parts in time, and the frame on
    the screen in the middle of each is taken: the last one whose presentation timestamp is not after that time.
    Time 0 is the first frame. A window that ends after the clip is cut at the clip's end. Where the window
    has fewer frames than are asked for, frames repeat. A rotation noted in the file is applied.

    A clip with a broken tail (truncated, or shorter than its header says) is refused unless ``end_s`` lies
    before the break; a damaged frame that has to be decoded is refused too, never concealed. What is not
    seen: whole packets missing from the middle of a stream, since variable frame rates look the same.

    Raises:
        MediaError: the file is missing, no clip, without frames, broken in the window, or over the pixel limit.
        MediaTimeout: the decoder did not come back within the pool's time; it was killed.
        ValueError: ``frames`` is less than 1.
    """
    if frames < 1:
        raise ValueError(f"{frames} frames of a clip cannot be asked for")
    window(media)
    return pool.video(media, frames, read_bytes(media, opener) if media.uri.startswith(ROW) else None)
