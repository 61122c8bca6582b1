"""The verdict on a comparison: better, same, worse or cannot tell.

With *limit* the largest fall that does not matter:

* **worse** - the fall is more than chance (p after Holm below alpha) and larger than the limit.
* **better** - the gain is more than chance and larger than the limit.
* **same** - neither, and the whole interval is above a fall of the limit; or no score changed, or the value is
  the same in every resample (two perfect AUCs).
* **cannot tell** - neither, and the interval reaches beyond the limit: more examples or a wider limit are needed.

==================  ===========================  ==================================
more than chance?   difference                   verdict
==================  ===========================  ==================================
yes                 fall beyond the limit        worse
yes                 gain beyond the limit        better
yes or no           interval above the limit     same
yes or no           interval reaches beyond it   cannot tell
no p                any                          cannot tell
==================  ===========================  ==================================

Without a limit every fall that is more than chance is worse, and *same* uses the smallest detectable effect as the
limit; where that is unknown, no fall at all may be in the interval. The noise of repeated runs widens any limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anymal_eval.statistics.intervals import ROUNDING
from anymal_eval.statistics.paired import Comparison

Word = Literal["better", "same", "worse", "cannot tell"]
X100 = 100.0  # in sentences; a limit is given in the metric's own unit


@dataclass(frozen=True, kw_only=True)
class VerdictLimits:
    """How far a metric may fall before it matters.

    Attributes:
        absolute: in the metric's unit (0.005 is half a point of accuracy); None sets no such limit.
        relative: as a share of the value before; None sets no such limit. Where both are set the tighter one applies.
        noise: the largest difference between repeated runs of one model, from ``noise``.
    """

    absolute: float | None = None
    relative: float | None = None
    noise: float = 0.0

    def at(self, before: float) -> float | None:
        """The limit for a metric whose value was ``before``; None where no limit is set.

        >>> round(VerdictLimits(absolute=0.01, relative=0.01).at(0.5), 4)
        0.005
        >>> VerdictLimits().at(0.5) is None
        True
        """
        limits = [] if self.absolute is None else [self.absolute]
        limits += [] if self.relative is None else [self.relative * abs(before)]
        if limits:
            return max(min(limits), self.noise)
        return self.noise or None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict, and its reason in one sentence, whose numbers are x100, as in tables."""

    word: Word
    why: str


def judge(
    comparison: Comparison, p: float, *, limits: VerdictLimits | None = None, detectable: float, alpha: float = 0.05
) -> Verdict:
    """The verdict on one metric of one task.

    Args:
        comparison: the two runs on this task.
        p: two-sided, after Holm over all tasks compared.
        limits: the largest fall that does not matter.
        detectable: from ``power.smallest_detectable``; NaN where unknown.
        alpha: a change is more than chance where ``p`` is below it.
    """
    if comparison.changed == 0 and comparison.n > 0:
        return Verdict(word="same", why="no score differs")
    if comparison.difference == 0 and comparison.error == 0:
        return Verdict(word="same", why="the value is the same in every resample")
    if not (p == p and comparison.low == comparison.low):
        return Verdict(word="cannot tell", why="there is too little to test")
    limit = (limits or VerdictLimits()).at(comparison.before)
    change, low = comparison.improvement, comparison.improvement_low
    if p < alpha and change < -(limit or 0.0):
        return Verdict(word="worse", why=f"fell by {X100 * -change:.4g}, more than chance (p {p:.2g}){_beyond(limit)}")
    if p < alpha and change > (limit or 0.0):
        return Verdict(word="better", why=f"rose by {X100 * change:.4g}, more than chance (p {p:.2g}){_beyond(limit)}")
    known = detectable if detectable == detectable else 0.0
    allowed = known if limit is None else limit
    if low >= -allowed - ROUNDING:
        if not allowed:
            return Verdict(word="same", why="the interval holds no fall")
        named = "smallest detectable effect" if limit is None else "limit"
        return Verdict(word="same", why=f"a fall beyond the {named} of {X100 * allowed:.4g} is ruled out")
    if limit is None:
        return Verdict(word="cannot tell", why=f"no more than chance, but a fall of {X100 * -low:.4g} is possible")
    return Verdict(
        word="cannot tell", why=f"a fall of {X100 * -low:.4g}, beyond the limit of {X100 * limit:.4g}, is possible"
    )


def _beyond(limit: float | None) -> str:
    return "" if limit is None else f" and beyond the limit of {X100 * limit:.4g}"
