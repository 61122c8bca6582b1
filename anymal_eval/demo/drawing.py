"""Shapes and signs on a 64 x 64 canvas, anti-aliased by counting sub-pixels: integers only, so equal everywhere."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from anymal_eval.demo.font import word_mask

SIDE = 64  # pixels of a picture's or frame's edge
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond")
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black")
RGB = {
    "red": (214, 34, 38),
    "orange": (246, 134, 24),
    "yellow": (250, 218, 50),
    "green": (38, 152, 62),
    "blue": (36, 84, 214),
    "purple": (130, 44, 168),
    "pink": (246, 134, 190),
    "black": (28, 28, 32),
    "white": (248, 248, 248),
    "grey": (122, 124, 130),
}
BACKGROUNDS = ((226, 228, 230), (236, 228, 212), (208, 222, 234), (218, 232, 214))

Canvas = NDArray[np.int32]
_STAR = (  # corners in thousandths of the radius, clockwise from the top; the inner radius is .42
    *((0, -1000), (247, -340), (951, -309), (399, 130), (588, 809)),
    *((0, 420), (-588, 809), (-399, 130), (-951, -309), (-247, -340)),
)


@cache
def _ground(kind: int, slope: int) -> Canvas:
    """See ``background``."""
    rows = (np.arange(SIDE, dtype=np.int32) * slope // SIDE)[:, None, None]
    return np.array(BACKGROUNDS[kind], dtype=np.int32)[None, None, :] - rows + np.zeros((SIDE, SIDE, 1), dtype=np.int32)


def background(kind: int, slope: int) -> Canvas:
    """A pale plain ground, (64, 64, 3), that gets darker downwards by ``slope`` levels in all."""
    return _ground(kind, slope).copy()


def _in_star(x: NDArray[np.int64], y: NDArray[np.int64], radius: int) -> NDArray[np.bool_]:
    inside = np.zeros(np.broadcast(x, y).shape, dtype=np.bool_)
    corners = [(a * radius * 11 // 10, b * radius * 11 // 10) for a, b in _STAR]
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        crosses = (y * 1000 < ay) != (y * 1000 < by)
        side = (bx - ax) * (y * 1000 - ay) - (x * 1000 - ax) * (by - ay)
        inside ^= crosses & ((side > 0) == (by > ay))
    return inside


@cache
def shape_mask(shape: str, radius: int) -> NDArray[np.int32]:
    """How much of each pixel the shape covers, in sixteenths, on a square of 2 * (radius + 2) + 1 pixels."""
    reach = radius + 2
    centres = np.arange(-reach, reach + 1, dtype=np.int64)[:, None] * 8
    fine = (centres + np.array([-3, -1, 1, 3])).reshape(-1)  # eighths of a pixel
    x, y = fine[None, :], fine[:, None]
    r = radius * 8
    if shape == "circle":
        inside = x * x + y * y <= r * r
    elif shape == "square":
        inside = np.maximum(abs(x), abs(y)) * 16 <= r * 14
    elif shape == "diamond":
        inside = 4 * abs(x) + 3 * abs(y) <= 3 * r
    elif shape == "triangle":
        inside = (4 * y <= 3 * r) & (abs(x) * 28 <= (y + r) * 16)
    elif shape == "cross":
        inside = (np.minimum(abs(x), abs(y)) * 16 <= r * 5) & (np.maximum(abs(x), abs(y)) <= r)
    else:
        inside = _in_star(x, y, r)
    size = 2 * reach + 1
    covered: NDArray[np.int32] = inside.reshape(size, 4, size, 4).sum(axis=(1, 3)).astype(np.int32)
    return covered


def _blend(canvas: Canvas, alpha: NDArray[np.int32], corner: tuple[int, int], color: tuple[int, int, int]) -> None:
    left, top = corner
    height, width = alpha.shape
    y0, y1 = max(top, 0), min(top + height, SIDE)
    x0, x1 = max(left, 0), min(left + width, SIDE)
    cut = alpha[y0 - top : y1 - top, x0 - left : x1 - left, None]
    patch = canvas[y0:y1, x0:x1]
    patch[:] = (patch * (16 - cut) + np.array(color, dtype=np.int32) * cut + 8) // 16


def put_shape(canvas: Canvas, shape: str, color: str, centre: tuple[int, int], radius: int) -> None:
    """Draw one shape with a darker rim, in place; ``centre`` is (x, y) in pixels."""
    red, green, blue = RGB[color]
    rim = (red * 11 // 20, green * 11 // 20, blue * 11 // 20)
    for grown, paint in ((1, rim), (0, RGB[color])):
        mask = shape_mask(shape, radius + grown)
        reach = radius + grown + 2
        _blend(canvas, mask, (centre[0] - reach, centre[1] - reach), paint)


def put_box(canvas: Canvas, corner: tuple[int, int], size: tuple[int, int], color: str) -> None:
    """Fill a rectangle, in place; ``corner`` is (x, y), ``size`` (width, height)."""
    _blend(canvas, np.full((size[1], size[0]), 16, dtype=np.int32), corner, RGB[color])


def put_word(canvas: Canvas, word: str, corner: tuple[int, int], color: str) -> None:
    """Write a word in capitals, 14 pixels high, in place; ``corner`` is (x, y) of its upper left."""
    _blend(canvas, word_mask(word.upper(), 2).astype(np.int32) * 16, corner, RGB[color])


def word_width(word: str) -> int:
    """How many pixels ``put_word`` takes from left to right."""
    return int(word_mask(word.upper(), 2).shape[1])


def ink_on(color: str) -> str:
    """The ink that is readable on this paint."""
    return "black" if color in ("yellow", "orange", "pink") else "white"


def blur(canvas: Canvas, reach: int) -> Canvas:
    """Three box blurs of 2 * reach + 1 pixels along both axes."""
    for _ in range(3):
        for axis in (0, 1):
            pad = [(reach + 1, reach) if a == axis else (0, 0) for a in range(3)]
            total = np.cumsum(np.pad(canvas, pad, mode="edge"), axis=axis, dtype=np.int32)
            width = 2 * reach + 1
            ends = np.take(total, range(width, SIDE + width), axis=axis)
            canvas = (ends - np.take(total, range(SIDE), axis=axis)) // width
    return canvas
