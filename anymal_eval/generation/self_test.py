"""What a self-test of a loaded model requires: a faster way gives the answers of the plain one.

In float32 every answer must be the same and every score within ``TOLERANCE``. In a shorter precision rounding differs
from batch to batch: there a faster way may differ by so many times what plain batching changes.
"""

from __future__ import annotations

from typing import NamedTuple

ON = "on: self-test passed"
TOLERANCE = 1e-4  # of log p
NOISE = 4.0
# Errors of classes that do not support what is tested; anything else is a bug and is raised.
REFUSALS = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError)


class Difference(NamedTuple):
    """Between two ways to the same answers: the largest of the scores, and how many answers differ."""

    gap: float
    answers: int


def fault(found: Difference, count: int, noise: Difference | None, scores: str = "scores") -> str | None:
    """What is wrong with a faster way; None where it passes.

    Args:
        found: between it and the plain way.
        count: of the answers.
        noise: between plain batching and single requests; None in float32.
        scores: what they are called.
    """
    if not found.gap <= (TOLERANCE if noise is None else max(TOLERANCE, NOISE * noise.gap)):
        return f"self-test failed, {scores} differ by {found.gap:.1e}"
    if found.answers > (0 if noise is None else noise.answers + 1):  # in lower precision two tokens may be level
        return f"self-test failed, {found.answers} of {count} answers differ"
    return None
