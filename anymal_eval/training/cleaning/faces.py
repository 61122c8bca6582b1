"""Faces in pictures, found and blurred; every other pixel stays as it is."""

import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, UnidentifiedImageError

from anymal_eval.errors import NeedsExtra
from anymal_eval.media.pixels import ODD_EXIF, PLAIN

CASCADES = ("haarcascade_frontalface_default", "haarcascade_frontalface_alt2", "haarcascade_profileface")
MARGIN = 0.15  # of a face's size, on each side: cascades find its middle
CELLS = 6  # what is left of a face is an average over this many cells a side
_SMALLEST = 20  # pixels a side, which the cascades were trained on

Box = tuple[int, int, int, int]  # left, top, right, bottom


class FaceBlur:
    """OpenCV's cascades for faces from the front and from both sides, as its wheel ships them.

    They find a face by its shading, and take some things that are none for one; blurring those costs little.

    Attributes:
        description: their names and version, for the record.
    """

    def __init__(self) -> None:
        """Load the cascades.

        Raises:
            NeedsExtra: OpenCV, or a version with cascades, is not installed.
        """
        try:
            import cv2
        except ImportError:
            raise NeedsExtra("--blur-faces needs OpenCV: pip install 'anymal_eval[clean]'") from None
        self._cv2: Any = cv2
        folder = Path(getattr(getattr(cv2, "data", None), "haarcascades", ""))
        files = [folder / f"{name}.xml" for name in CASCADES]
        if not all(file.is_file() for file in files):
            raise NeedsExtra(f"--blur-faces: OpenCV {cv2.__version__} ships no cascades; install 'anymal_eval[clean]'")
        self._cascades = [cv2.CascadeClassifier(str(file)) for file in files]
        self.description = (
            f"boxes that share half of the smaller one are one face; of several frames the first is kept; "
            f"OpenCV {cv2.__version__}, {', '.join(CASCADES)}"
        )

    def find(self, picture: NDArray[np.uint8]) -> list[Box]:
        """The faces in a picture, one box each, with a margin; see :func:`merged`.

        Args:
            picture: uint8 (height, width, 3) RGB.
        """
        grey = self._cv2.equalizeHist(self._cv2.cvtColor(np.ascontiguousarray(picture), self._cv2.COLOR_RGB2GRAY))
        height, width = grey.shape
        found = [box for cascade in self._cascades for box in self._detect(cascade, grey)]
        # The cascade of profiles knows one side.
        mirrored = self._detect(self._cascades[-1], np.ascontiguousarray(grey[:, ::-1]))
        found += [(width - left - wide, top, wide, high) for left, top, wide, high in mirrored]
        return merged([_grown(box, width, height) for box in found])

    def blur(self, picture: NDArray[np.uint8], boxes: list[Box]) -> bytes:
        """The picture as PNG, which keeps every pixel outside the boxes."""
        image = Image.fromarray(picture)
        for box in boxes:
            face = image.crop(box)
            few = face.resize((CELLS, CELLS), Image.Resampling.BOX)
            smooth = few.resize(face.size, Image.Resampling.BILINEAR)
            image.paste(smooth.filter(ImageFilter.GaussianBlur(max(face.size) / CELLS / 2)), box[:2])
        stream = io.BytesIO()
        image.save(stream, "PNG")
        return stream.getvalue()

    def _detect(self, cascade: Any, grey: NDArray[np.uint8]) -> list[tuple[int, int, int, int]]:
        least = max(_SMALLEST, min(grey.shape) // 30)
        found = cascade.detectMultiScale(grey, 1.1, 5, minSize=(least, least))
        return [(int(left), int(top), int(wide), int(high)) for left, top, wide, high in found]


def may_have_frames(content: bytes) -> bool:
    """Whether a picture that could be decoded may hold others than its first frame, which nothing here looks at.

    They are known of the formats whose header states them: of an animated WebP, PNG or GIF, and of a JPEG file with
    further pictures after its own (MPO). Other formats (TIFF, AVIF, ICO) may hold some, and are not opened here: their
    decoders are held to limits in a process of their own.
    """
    with warnings.catch_warnings(action="ignore"):  # of a large picture, which was held to the budget
        try:
            with Image.open(io.BytesIO(content), formats=PLAIN) as image:
                return bool(getattr(image, "is_animated", False))
        except (UnidentifiedImageError, Image.DecompressionBombError, *ODD_EXIF):
            return True


def merged(boxes: Iterable[Box]) -> list[Box]:
    """One box for each face, where several cascades find it, or one at two scales.

    Two boxes are of one face where they share at least half of the smaller one. The box around both takes their place,
    so that no pixel of either is left out, and is compared again, until no two are of one face. Faces beside each
    other, whose margins touch, stay two.

    >>> merged([(0, 0, 10, 10), (2, 0, 12, 10), (11, 0, 21, 10)])
    [(0, 0, 12, 10), (11, 0, 21, 10)]
    """
    found: list[Box] = []
    todo = sorted(set(boxes))
    while todo:
        box = todo.pop()
        other = next((each for each in found if _is_one_face(box, each)), None)
        if other is None:
            found.append(box)
            continue
        found.remove(other)
        todo.append((min(box[0], other[0]), min(box[1], other[1]), max(box[2], other[2]), max(box[3], other[3])))
    return sorted(found)


def _is_one_face(one: Box, other: Box) -> bool:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide > 0 and high > 0 and 2 * wide * high >= min(_area(one), _area(other))


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _grown(box: tuple[int, int, int, int], width: int, height: int) -> Box:
    """Left, top, width and height as a box with its margin, inside the picture."""
    left, top, wide, high = box
    more, taller = round(MARGIN * wide), round(MARGIN * high)
    return max(0, left - more), max(0, top - taller), min(width, left + wide + more), min(height, top + high + taller)
