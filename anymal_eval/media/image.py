"""Images: bytes to uint8 RGB."""

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from anymal_eval.errors import MediaError
from anymal_eval.media.location import Opener, read_bytes, reason
from anymal_eval.records import Media

MAX_PIXELS = 89_478_485
"""PIL's own limit, 256 MiB as RGB. An image with more pixels is refused before it is decoded."""

# EPS and WMF are left out: PIL passes them to other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "TGA")
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What PIL's decoders raise for bad bytes: seen in the fuzz tests of tests/media, or raised in PIL's source.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, KeyError, TypeError)
BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def load_image(media: Media, opener: Opener | None = None, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode an image as viewers show it: uint8 (height, width, 3) RGB in [0, 255], writable.

    The EXIF orientation is applied. An animation gives its first frame. 16 bits are scaled to 8 and rounded.
    Transparent images are composed over white, because diagrams with black text are drawn for that. CMYK is converted
    without its colour profile.

    Raises:
        MediaError: the file is missing, empty, no image, truncated or damaged; it has more than ``max_pixels`` pixels,
            or only one (which image hosts serve in place of a deleted image).
    """
    content = read_bytes(media, opener)
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height <= max_pixels:
                image.load()
                pixels = to_rgb(upright(image))
    except BOMB as error:
        raise MediaError(f"{media.uri}: refused for its size: {reason(error)}") from error
    except UnidentifiedImageError as error:
        raise MediaError(f"{media.uri}: it is not a picture") from error
    except (*DAMAGED, MemoryError) as error:
        raise MediaError(f"{media.uri}: the picture cannot be decoded: {reason(error)}") from error
    if width * height > max_pixels:
        raise MediaError(f"{media.uri}: refused for its size: {width} x {height} is over {max_pixels} pixels")
    if width * height == 1:
        raise MediaError(f"{media.uri}: a picture of a single pixel stands for one that is gone")
    return pixels


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation. An EXIF block that cannot be read is ignored, as in any viewer."""
    try:
        orientation = image.getexif().get(ORIENTATION)
    except DAMAGED:
        return image
    method = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Convert any of PIL's modes to uint8 (height, width, 3).

    Raises:
        ValueError: the white level of the mode is unknown (float, or integers of over 16 bits).
    """
    if image.mode.startswith("I"):
        return grey16(np.asarray(image))
    if image.mode == "F":
        raise ValueError("float pixels have no known white")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.array(image.convert("RGB"))


def grey16(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale values (height, width) from 0..65535 to 0..255 and repeat them as RGB.

    >>> grey16(np.array([[0, 257, 32896, 65535]]))[0, :, 0].tolist()
    [0, 1, 128, 255]
    """
    if values.size and not 0 <= values.min() <= values.max() <= 0xFFFF:
        raise ValueError("integer pixels of over 16 bits have no known white")
    scaled = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(scaled[:, :, None], 3, axis=2)
