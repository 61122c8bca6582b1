"""Captions that repeat what is written in their picture: they teach reading, not what is seen.

A word of five letters or more that an OCR model reads in the picture and that stands in the caption drops the sample,
as in the CAT filter (Radenovic et al. 2023, arXiv:2301.02280). Words are compared without case.
"""

import importlib.metadata
import logging
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anymal_eval.errors import NeedsExtra

LETTERS = 5
# Times as long as wide: what is thinner RapidOCR enlarges for minutes, or reduces to a side of 0 pixels, and fails.
_THINNEST = 32
_WORD = re.compile(r"[^\W\d_]+")


class TextSpotter:
    """RapidOCR with the models that its wheel ships.

    Attributes:
        description: its name and version, for the record.
    """

    def __init__(self) -> None:
        """Load the models.

        Raises:
            NeedsExtra: RapidOCR is not installed.
        """
        try:
            from rapidocr import RapidOCR
        except ImportError:
            raise NeedsExtra("--cat needs RapidOCR: pip install 'anymal_eval[clean]'") from None
        logging.getLogger("RapidOCR").setLevel(logging.ERROR)
        self._ocr: Any = RapidOCR(params={"Global.log_level": "error"})
        self.description = f"rapidocr {importlib.metadata.version('rapidocr')}"

    def __call__(self, picture: NDArray[np.uint8]) -> list[str]:
        """The texts in a picture: uint8 (height, width, 3) RGB."""
        height, width = picture.shape[:2]
        least = -(-max(height, width) // _THINNEST)
        wider = ((0, max(least - height, 0)), (0, max(least - width, 0)), (0, 0))
        found = self._ocr(np.ascontiguousarray(np.pad(picture, wider, "edge")[..., ::-1]))
        return [str(text) for text in found.txts or ()]


def repeated(texts: Iterable[str], caption: str) -> list[str]:
    """The words of five letters and more that are in both.

    >>> repeated(["SUMMER sale", "now"], "Summer at the sea, a sale now")
    ['summer']
    """
    written = {word for text in texts for word in _words(text)}
    return sorted(written & set(_words(caption)))


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.casefold()) if len(word) >= LETTERS]
