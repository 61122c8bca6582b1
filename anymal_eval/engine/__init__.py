"""Asks a model: what is prepared when, in which batches, and what happens when one does not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from anymal_eval.records import Response

Sink = Callable[[Sequence[Response]], None]


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How a model is asked; none of it may change an answer in fp32.

    Attributes:
        batch_size: requests a call of ``answer``; None finds out what fits.
        threads: how many requests are prepared at once.
        ahead_bytes: how much prepared data may wait, in bytes.
        max_errors: stop when more responses than this are failures; None never stops.
    """

    batch_size: int | None = 16
    threads: int = 4
    ahead_bytes: int = 1 << 30
    max_errors: int | None = None
