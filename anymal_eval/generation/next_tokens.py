"""The choice of the next token of each row: the likeliest, or a sample.

Shapes:  b rows · v vocabulary
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from anymal_eval.generation.logits import Traces, refuse_broken
from anymal_eval.generation.sampling import SamplingProcessor

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.records import Decoding


class NextTokens:
    """Chooses the next token of rows, which may come and go."""

    def __init__(self, decoding: Decoding, end_ids: Collection[int], traces: Traces | None = None) -> None:
        """Prepare the choice.

        Args:
            decoding: its temperature, top_p, seed and least number of tokens.
            end_ids: the ids that end an answer.
            traces: take every step.
        """
        self._least, self._ends, self._traces = decoding.min_new_tokens, sorted(end_ids), traces
        self._names: dict[int, str] = {}  # of the rows that are there
        self._sampling = SamplingProcessor(decoding) if decoding.temperature > 0 else None

    def add(self, row: int, name: str) -> None:
        """Add a row; sampling depends on its name, the request's id."""
        self._names[row] = name
        if self._sampling is not None:
            self._sampling.add(row, name)

    def forget(self, row: int) -> None:
        """Free what is kept of a row that ended."""
        del self._names[row]
        if self._sampling is not None:
            self._sampling.forget(row)

    def __call__(self, logits: Tensor, rows: Sequence[int], lengths: Sequence[int], count: int) -> Tensor:
        """(b, v) logits -> (b,) ids.

        Args:
            logits: of the rows; they are changed.
            rows: their numbers.
            lengths: how many tokens each has generated so far.
            count: how many rows there have been, for the message.

        Raises:
            BadLogits: names the rows whose logits hold NaN or infinity.
        """
        import torch

        refuse_broken(logits, rows, count)
        if self._traces is not None:
            self._traces.add([self._names[row] for row in rows], logits)
        early = [place for place, length in enumerate(lengths) if length < self._least]
        if early and self._ends:
            logits[torch.tensor(early)[:, None], torch.tensor(self._ends)] = -torch.inf
        return (logits if self._sampling is None else self._sampling.of_rows(logits, rows)).argmax(dim=-1)
