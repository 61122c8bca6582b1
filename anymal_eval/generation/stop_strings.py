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


class StopStrings:
    """Whether a row's text holds a stop string.

    Ending the row there only saves time: the text is cut in any case.
    """

    def __init__(self, decode: Callable[[list[int]], str], stop: tuple[str, ...]) -> None:
        """``decode`` turns ids into text."""
        self._decode, self._stop = decode, stop

    def __call__(self, row: int, ids: list[int]) -> bool:
        """Whether a row is done after these generated ids."""
        text = self._decode(ids)
        return any(stop in text for stop in self._stop)


class AfterThinking:
    """Whether a row has reached the limits of its answer, which counts from the end of its thinking.

    Ending the row there only saves time: the text is cut in any case.
    """

    def __init__(self, decode: Callable[[list[int]], str], decoding: Decoding, opened: Sequence[str]) -> None:
        """``opened`` is the tag that each row's prompt ends with; ``decode`` as of :class:`StopStrings`."""
        self._decode, self._decoding, self._opened = decode, decoding, opened
        self._closed = [0] * len(opened)  # generated ids up to the end of the thinking

    def __call__(self, row: int, ids: list[int]) -> bool:
        """Whether a row is done after these generated ids; called after each of them."""
        text = self._opened[row] + self._decode(ids)
        start = answer_start(text)
        if start is None:
            return False
        if start and not self._closed[row]:
            self._closed[row] = len(ids)
        stopped = any(stop in text[start:] for stop in self._decoding.stop)
        return stopped or len(ids) - self._closed[row] >= self._decoding.max_new_tokens


RowEnd = StopStrings | AfterThinking


class RowEndCriteria:
    """The stopping criterion of transformers that ends each row where ``RowEnd`` does.

    Attributes:
        lengths: by row, how many ids it had generated when it ended; ``generate`` appends padding to them.
    """

    def __init__(self, ended: RowEnd, start: int) -> None:
        """The first ``start`` ids of a row are its prompt."""
        self._ended, self._start = ended, start
        self.lengths: dict[int, int] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        """(b,) whether each row is done."""
        import torch

        for row, ids in enumerate(input_ids.tolist()):
            if row not in self.lengths and self._ended(row, ids[self._start :]):
                self.lengths[row] = len(ids) - self._start
        done = [row in self.lengths for row in range(len(input_ids))]
        return torch.tensor(done, device=input_ids.device)
