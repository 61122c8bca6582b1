"""Stop strings: texts that end an answer, and that are no part of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from anymal_eval.generation.thinking import answer_start

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.records import Decoding


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


class AfterThinkingCriteria:
    """A stopping criterion that ends a row at the limits of its answer, which counts from the end of its thinking.

    It only saves time: the text is cut in any case.
    """

    def __init__(
        self, decode: Callable[[list[int]], str], decoding: Decoding, start: int, opened: Sequence[str]
    ) -> None:
        """``opened`` is the tag that each row's prompt ends with; the others as of :class:`StopStringCriteria`."""
        self._decode, self._decoding, self._start, self._opened = decode, decoding, start, opened
        self._closed = [0] * len(opened)  # generated ids up to the end of the thinking

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        """(b,) whether each row is done."""
        import torch

        done = [self._done(place, row[self._start :]) for place, row in enumerate(input_ids.tolist())]
        return torch.tensor(done, device=input_ids.device)

    def _done(self, place: int, ids: list[int]) -> bool:
        text = self._opened[place] + self._decode(ids)
        start = answer_start(text)
        if start is None:
            return False
        if start and not self._closed[place]:
            self._closed[place] = len(ids)
        stopped = any(stop in text[start:] for stop in self._decoding.stop)
        return stopped or len(ids) - self._closed[place] >= self._decoding.max_new_tokens
