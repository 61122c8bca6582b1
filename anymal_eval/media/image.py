"""Images: a medium to uint8 RGB."""

import numpy as np
from numpy.typing import NDArray

from anymal_eval.media.broken import NotThisKind, TooLarge, failures_of
from anymal_eval.media.budget import MediaBudget
from anymal_eval.media.location import Opener, file_path, read_bytes
from anymal_eval.media.pixels import PLAIN, Header, decode, read_header
from anymal_eval.media.pool import DecoderPool
from anymal_eval.records import Media

HERE = 128 << 20
"""Bytes of decoding up to which a picture of a plain format is decoded in this process: 12 megapixels and more."""


def load_image(media: Media, pool: DecoderPool, opener: Opener | None = None, least: int = 0) -> NDArray[np.uint8]:
    """Decode an image as viewers show it: uint8 (height, width, 3) RGB in [0, 255], writable.

    The EXIF orientation is applied. An animation gives its first frame. 16 bits are scaled to 8 and rounded.
    Transparent images are composed over white, because diagrams with black text are drawn for that. CMYK is converted
    without its colour profile.

    Large pictures, and formats whose header does not state all sizes, are decoded in the pool, under its limits of
    memory and time.

    A JPEG file whose data end early is refused although libjpeg would fill the rest with grey: up to two rows of coded
    blocks (32 pixels) may be missing in a sequential one, nothing in a progressive one.

    With ``least`` a JPEG file may come at a half, a quarter or an eighth of its size, as long as its shorter side has
    so many pixels: libjpeg scales while it decodes, in a fraction of the time, and not to the same pixels.

    Raises:
        MediaTruncated: it has less data than its header states.
        MediaError: the file is missing, empty, no image, damaged or over the pool's budget; or it has only one pixel
            (which image hosts serve in place of a deleted image).
        MediaTimeout: the decoder did not finish in time.
    """
    with failures_of(media):
        content = read_bytes(media, opener, budget=pool.budget)
        header = small_header(content, pool.budget)
        if header is not None:
            return decode(content, header.shape, lambda picture: pool.verify_jpeg(media, picture), least)
        return pool.image(media, None if file_path(media) is not None else content)


def small_header(content: bytes, budget: MediaBudget) -> Header | None:
    """The header of a small picture, of a format whose header states all that decoding it takes; None for others.

    Raises:
        TooLarge: it exceeds the budget.
        Truncated: it has less bytes than it declares.
    """
    try:
        header = read_header(content, budget, PLAIN)
    except NotThisKind:
        return None  # the decoder process reads the other formats
    except TooLarge as error:
        if error.__cause__ is not None and budget.pixels > MediaBudget().pixels:
            return None  # PIL's own limit, which the decoder process sets to the budget
        raise
    return header if header.cost <= HERE else None
