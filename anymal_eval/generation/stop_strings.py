"""Stop strings: texts that end an answer, and that are no part of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def cut_at_stop(text: str, stop: tuple[str, ...]) -> str:
    """The text before the first stop string.

    >>> cut_at_stop("a dog. A cat", (".", "cat"))
    'a dog'
    """
    return text[: min((place for place in map(text.find, stop) if place >= 0), default=len(text))]


class StopStringCriteria:
    """A stopping criterion that ends a row whose text holds a stop string.

    It only saves time: the text is cut in any case.
    """

    def __init__(self, decode: Callable[[list[int]], str], stop: tuple[str, ...], start: int) -> None:
        """``decode`` turns ids into text; the first ``start`` ids of a row are its prompt."""
        self._decode, self._stop, self._start = decode, stop, start

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        """(b,) whether each row is done."""
        import torch

        texts = [self._decode(row[self._start :]) for row in input_ids.tolist()]
        return torch.tensor([any(stop in text for stop in self._stop) for text in texts], device=input_ids.device)
