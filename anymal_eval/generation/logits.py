"""What looks on while a model generates: broken numbers are errors, and a stop string ends a row."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from anymal_eval.errors import BadLogits

if TYPE_CHECKING:
    from torch import Tensor


def check_finite(logits: Tensor) -> None:
    """Refuse logits that hold NaN or infinity.

    Raises:
        BadLogits: they do.
    """
    import torch

    if not torch.isfinite(logits).all():
        raise BadLogits("the network gave NaN or infinite logits")


class FiniteLogitsProcessor:
    """A logits processor that only looks. Beam search gives it log p, where -infinity means "not allowed".

    Attributes:
        first: when the prompt was computed and found whole, as ``time.perf_counter`` has it.
    """

    def __init__(self, beams: int) -> None:
        self._beams = beams
        self.first = 0.0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores as they are.

        Raises:
            BadLogits: a row holds NaN or +infinity.
        """
        bad = (scores.isnan() | (scores == float("inf"))).any(dim=-1)
        if bad.any():
            rows = sorted({int(row) // self._beams for row in bad.nonzero().flatten()})
            raise BadLogits(f"the network gave NaN or infinite logits in rows {rows} of {len(bad) // self._beams}")
        self.first = self.first or time.perf_counter()
        return scores


class StopStringCriteria:
    """Ends a row whose text holds a stop string (a saving only: the text is cut afterwards anyway)."""

    def __init__(self, text: Callable[[list[int]], str], stop: tuple[str, ...], start: int) -> None:
        """``text`` decodes ids; ``start`` ids are the prompt's."""
        self._text, self._stop, self._start = text, stop, start

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        """(b,) which rows are done."""
        import torch

        said = [self._text(row[self._start :]) for row in input_ids.tolist()]
        return torch.tensor([any(stop in text for stop in self._stop) for text in said], device=input_ids.device)
