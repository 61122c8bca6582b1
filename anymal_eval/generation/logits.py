"""Logits: broken ones are errors, and those that options are scored by are computed in float32.

Shapes:  b rows · r rows of options · t positions · d width · v vocabulary
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from anymal_eval.errors import BadLogits

if TYPE_CHECKING:
    from torch import Tensor

HEAD_ROWS = 16_384  # of an output head that are converted to float32 at once: bounds the memory that this takes


def check_finite(logits: Tensor, used: Tensor | None = None) -> None:
    """Refuse logits that hold NaN or infinity.

    Args:
        logits: (b, v), or (b, t, v) with ``used``.
        used: (b, t), which positions count.

    Raises:
        BadLogits: names the rows.
    """
    import torch

    bad = (~torch.isfinite(logits)).any(dim=-1)
    if used is not None:
        bad = (bad & used).any(dim=-1)
    if bad.any():
        raise BadLogits(_message(bad.nonzero().flatten().tolist(), len(bad)))


def refuse_broken(scores: Tensor, rows: Sequence[int], count: int) -> None:
    """Refuse NaN and +infinity; -infinity is a token that is not allowed.

    Args:
        scores: (b, v).
        rows: for each the row of the batch that it is of.
        count: of the batch's rows.

    Raises:
        BadLogits: names the rows.
    """
    bad = (scores.isnan() | (scores == float("inf"))).any(dim=-1)
    if bad.any():
        raise BadLogits(_message(sorted({rows[place] for place in bad.nonzero().flatten().tolist()}), count))


class Traces:
    """What greedy search chose, step by step, for tests that compare two ways to the same answer.

    Attributes:
        ids: of each row, by its name, the tokens.
        sums: of each row, by its name, for each token the sum of log p of all up to it.
    """

    def __init__(self) -> None:
        self.ids: dict[str, Sequence[int]] = {}
        self.sums: dict[str, list[float]] = {}

    def add(self, names: Sequence[str], logits: Tensor) -> None:
        """Take a step's (b, v) logits of these rows, whose likeliest tokens are chosen."""
        for name, value in zip(names, logits.float().log_softmax(dim=-1).amax(dim=-1).tolist(), strict=True):
            sums = self.sums.setdefault(name, [])
            sums.append(value + (sums[-1] if sums else 0.0))

    def gap(self, other: Traces, name: str) -> float:
        """The largest difference between the sums of a row, up to the first token that differs; 0.0 without sums."""
        tokens = zip(self.ids.get(name, ()), other.ids.get(name, ()), strict=False)
        same = next((place for place, (mine, its) in enumerate(tokens) if mine != its), None)
        end = None if same is None else same + 1
        pairs = zip(self.sums.get(name, ())[:end], other.sums.get(name, ())[:end], strict=False)
        return max((abs(mine - its) for mine, its in pairs), default=0.0)


class FiniteLogitsProcessor:
    """A logits processor that changes nothing and refuses NaN and +infinity.

    In beam search it sees log-probabilities, where -infinity is a token that is not allowed.

    Attributes:
        first: when the logits after the prompt were there, in seconds of ``time.perf_counter``; 0.0 before that.
    """

    def __init__(self, beams: int, traces: Traces | None = None, names: Sequence[str] = ()) -> None:
        """``traces`` take every step of greedy search, of the rows with these names."""
        self._beams = beams
        self._traces, self._names = traces if beams == 1 else None, names
        self.first = 0.0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return (b * beams, v) scores as they are.

        Raises:
            BadLogits: names the rows.
        """
        refuse_broken(scores, [row // self._beams for row in range(len(scores))], len(scores) // self._beams)
        self.first = self.first or time.perf_counter()
        if self._traces is not None:
            self._traces.add(self._names, scores)
        return scores


@contextmanager
def float32_head(model: Any, last: int | None = None) -> Iterator[None]:
    """Compute logits in float32 inside the context, although the model computes in bfloat16 or float16.

    Logits of 16 bits tie: the two best options of a question get the same score in up to a fifth of the rows. The
    hidden states stay as they are; the output head is applied to them in float32, a part of the vocabulary at a time.
    The class scales or caps them afterwards as it does its own logits.

    A head in float32 is left alone, and so is one that is no plain linear layer (quantised, or with adapters).

    Args:
        model: with ``get_output_embeddings``.
        last: of how many positions at the end logits are needed; None for all.
    """
    import torch

    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear or head.weight.dtype not in (torch.bfloat16, torch.float16):
        yield
        return

    def forward(hidden: Tensor) -> Tensor:
        hidden = hidden[:, -last:].float() if last is not None else hidden.float()
        parts = [torch.nn.functional.linear(hidden, part.float()) for part in torch.split(head.weight, HEAD_ROWS)]
        logits = torch.cat(parts, dim=-1)
        return logits if head.bias is None else logits + head.bias.float()

    with replaced_forward(head, forward):
        yield


@contextmanager
def replaced_forward(layer: Any, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let a layer compute something else inside the context."""
    # accelerate wraps the forward of a layer whose weights it moves, and calls the layer's own one by this name.
    name = "_old_forward" if hasattr(layer, "_hf_hook") else "forward"
    before = vars(layer).get(name)
    setattr(layer, name, forward)
    try:
        yield
    finally:
        if before is None:
            delattr(layer, name)
        else:
            setattr(layer, name, before)


def _message(rows: list[int], count: int) -> str:
    return f"the network gave NaN or infinite logits in rows {rows} of {count}"
