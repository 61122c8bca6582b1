"""Runs requests through a model: order, preparation ahead, batches, and retries in halves when one does not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from anymal_eval.records import Response

Sink = Callable[[Sequence[Response]], None]


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How requests are run. In fp32 no setting changes an answer.

    Attributes:
        batch_size: requests per call of ``Model.answer``; None lets the engine find what fits into memory.
        threads: threads that prepare requests.
        ahead_bytes: the most prepared data that may wait, in bytes.
        max_errors: stop after more failures than this; None never stops.
        give_up_after: stop after so many unexpected errors without an answer; None never stops.
    """

    batch_size: int | None = 16
    threads: int = 4
    ahead_bytes: int = 1 << 30
    max_errors: int | None = None
    give_up_after: int | None = 16
