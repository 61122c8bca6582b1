"""Pictures: bytes to uint8 RGB, in any process. The header's size is held to the budget before a pixel is decoded."""

import functools
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from anymal_eval.errors import reason
from anymal_eval.media import jpeg
from anymal_eval.media.broken import Broken, NotThisKind, TooLarge, Truncated
from anymal_eval.media.budget import MediaBudget, hold_size
from anymal_eval.media.declared import check_picture

# EPS and WMF are left out: PIL passes them to other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "TGA")
ORIENTATION = 0x0112
# What PIL raises on an EXIF block that it cannot read.
ODD_EXIF = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, struct.error)
BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
# Formats whose header states all that decoding takes; the others have inner sizes that it does not state.
PLAIN = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM")
STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}
EXTRA = {"WEBP": 12, "GIF": 8, "TIFF": 4, "JPEG2000": 16, "AVIF": 8}
"""Bytes a pixel that a decoder takes besides the picture: canvases of animations, integers of the wavelets."""
SURPLUS = 64
"""Bytes that may follow a JPEG picture's last block before its end marker."""
STRIP = 1 << 20  # pixels converted at once
LARGE, BLOCKS = 1 << 22, 8
"""Pixels from which a picture takes several of PIL's blocks of 16 MiB, and how many of those are kept for the next."""

Pixels = NDArray[np.uint8]
Verify = Callable[[bytes], None]
"""Decodes a JPEG file strictly. Raises Truncated where its data are damaged."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a picture's header states.

    Attributes:
        width, height: in pixels.
        cost: bytes that decoding takes, the result included.
        shape: of a JPEG file, what its markers state.
    """

    width: int
    height: int
    cost: int
    shape: jpeg.Layout | None = None


class HeldBack(BytesIO):
    """A file whose reader is stopped at some places: what it has made of the bytes before can be looked at there.

    Attributes:
        stops: places in rising order, each with what is called when everything before it was read.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.stops: list[tuple[int, Callable[[], None]]] = []

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file, up to the next stop."""
        place = self.tell()
        while self.stops and self.stops[0][0] <= place:
            stop, call = self.stops.pop(0)
            if stop == place:
                call()
        left = self.stops[0][0] - place if self.stops else None
        if left is None:
            return super().read(size)
        return super().read(left if size is None or size < 0 else min(size, left))


def read_header(content: bytes, budget: MediaBudget, formats: tuple[str, ...] = FORMATS) -> Header:
    """Read a picture's size and hold it to the budget.

    Args:
        content: of the file.
        budget: the limits.
        formats: PIL's plugins that may open it; those of ``FORMATS`` that are not plain decode a part already then.

    Raises:
        NotThisKind: no format of ``formats``.
        Truncated: it has less bytes than it declares.
        TooLarge: too many pixels, or too many bytes for them.
        Broken: it is a JPEG file of too many scans.
    """
    check_picture(content)
    with _open(BytesIO(content), formats) as image:
        width, height = image.size
        hold_size(budget, width, height, "")
        shape = None
        kind, each = str(image.format), STORED.get(image.mode, 4) + 3
        if kind in ("JPEG", "MPO"):
            shape = jpeg.layout(content)
            if shape is not None and len(shape.scans) > 1:
                each += 2 * shape.components  # libjpeg keeps all coefficients until the last scan
                if len(shape.scans) > jpeg.MOST_SCANS:
                    raise Broken(f"it has {len(shape.scans)} scans; a picture has about ten")
        cost = len(content) + width * height * (each + EXTRA.get(kind, 0))
        budget.hold("memory_bytes", cost, f"{width} x {height} as {kind}, with {len(content)} bytes of file,")
        return Header(width=width, height=height, cost=cost, shape=shape)


def decode(content: bytes, shape: jpeg.Layout | None, verify: Verify, least: int = 0) -> Pixels:
    """Decode a picture whose header was read: uint8 (height, width, 3); see ``load_image`` for the rules.

    Args:
        content: of the file.
        shape: from its header.
        verify: called with a JPEG file that shows signs of damage.
        least: pixels of the shorter side that a JPEG file keeps when it is decoded at a half, a quarter or an eighth;
            0 decodes it whole.

    Raises:
        Broken: it is damaged; Truncated: a part is missing.
        Exception: anything else that PIL's decoders raise on bad bytes.
    """
    if shape is None or shape.end is None:
        with _open(BytesIO(content)) as image:
            return _pixels(image)
    if shape.hole:
        raise Truncated("its data have a hole of zeros")
    if jpeg.missing_scans(shape):
        raise Truncated("the last of its progressive scans are missing")
    suspect = [shape.zeros or shape.progressive]
    file = HeldBack(content)
    with _open(file) as image:
        row = max(1, shape.row // _reduce(image, least))
        if not shape.progressive:
            file.stops.append((shape.end - SURPLUS, lambda: None))
        file.stops.append((shape.end, lambda: suspect.append(_rows_missing(image, row))))
        image.load()
        if file.stops and file.stops[0][0] == shape.end - SURPLUS > shape.begin:
            raise Truncated("its picture is complete before its data are: a part was overwritten")
        if shape.verifiable and (any(suspect) or len(suspect) < 2):
            verify(content[: shape.end + 2])
        return _pixels(image)


def _reduce(image: Image.Image, least: int) -> int:
    """Let libjpeg scale while it decodes: 2, 4 or 8 times smaller, or 1."""
    width, height = image.size
    scale = next((each for each in (8, 4, 2) if min(width, height) >= least * each), 1) if least else 1
    if scale > 1:
        image.draft(None, (width // scale, height // scale))  # None keeps the mode
    return scale


def _rows_missing(image: Image.Image, row: int) -> bool:
    """Whether rows well before the last ones are black although all data were read: not decoded, or black indeed."""
    width, height = image.size
    last = -(-height // row) - 2
    if last < 1:
        return True
    box = image.im.crop((0, (last - 1) * row, width, last * row)).getbbox()
    return box is None or box[3] < row


def _open(file: BytesIO, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    try:
        return Image.open(file, formats=formats)
    except BOMB as error:
        raise TooLarge(reason(error)) from error
    except UnidentifiedImageError as error:
        raise NotThisKind from error


def _pixels(image: Image.Image) -> Pixels:
    image.load()
    if image.size == (1, 1):
        raise Broken("a picture of a single pixel stands for one that is gone")
    width, height = image.size
    if width * height > LARGE:
        _keep_blocks()
    found: Pixels = np.empty((height, width, 3), np.uint8)
    for top, part in _strips(image):
        found[top : top + part.height] = to_rgb(part)
    turned = upright(found, _orientation(image))
    return turned if turned is found else np.ascontiguousarray(turned)


@functools.cache
def _keep_blocks() -> None:
    """Let PIL keep its memory for the next picture, from the first large one on.

    Of a photograph of 12 megapixels the system cleared 110 MB of pages each time, a fifth of the time of decoding and
    resizing it. Small pictures gain nothing: blocks of their sizes are reallocated, a tenth of their time.
    """
    if "PILLOW_BLOCKS_MAX" not in os.environ:
        Image.core.set_blocks_max(BLOCKS)  # type: ignore[attr-defined]  # as Pillow documents it


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Whole rows of an image, few enough that their conversions take little memory."""
    rows = max(1, STRIP // image.width)
    if rows >= image.height:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(image.height, top + rows)))


def _orientation(image: Image.Image) -> object:
    """The EXIF orientation. A block that cannot be read is ignored, as in any viewer."""
    try:
        return image.getexif().get(ORIENTATION)
    except ODD_EXIF:
        return None


def upright(pixels: Pixels, orientation: object) -> Pixels:
    """Apply an EXIF orientation, 1 to 8, to (height, width, 3); other values leave the image as it is.

    >>> upright(np.arange(6, dtype=np.uint8).reshape(1, 2, 3), 6).shape
    (2, 1, 3)
    """
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.swapaxes(0, 1)
        case 6:
            return np.rot90(pixels, 3)
        case 7:
            return pixels[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(pixels)
        case _:
            return pixels


def to_rgb(image: Image.Image) -> Pixels:
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
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def grey16(values: NDArray[Any]) -> Pixels:
    """Scale values (height, width) from 0..65535 to 0..255 and repeat them as RGB.

    >>> grey16(np.array([[0, 257, 32896, 65535]]))[0, :, 0].tolist()
    [0, 1, 128, 255]
    """
    if values.size and not 0 <= values.min() <= values.max() <= 0xFFFF:
        raise ValueError("integer pixels of over 16 bits have no known white")
    scaled = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(scaled[:, :, None], 3, axis=2)
