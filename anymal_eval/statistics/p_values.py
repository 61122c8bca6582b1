"""p-values: the tests that ``paired`` uses, on plain numbers, and Holm's correction over the tasks of one check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anymal_eval.statistics import resample

if TYPE_CHECKING:
    from anymal_eval.metrics import Floats

DRAWS = 10_000


@dataclass(frozen=True, kw_only=True)
class PValues:
    """p-values of a change: two-sided, one-sided for a fall, one-sided for a rise."""

    two_sided: float
    falls: float
    rises: float

    def at_least(self, one_sided: float) -> PValues:
        """No p below that of a test whose smallest one-sided p is ``one_sided``."""
        return PValues(
            two_sided=min(1.0, max(self.two_sided, 2 * one_sided)),
            falls=max(self.falls, one_sided),
            rises=max(self.rises, one_sided),
        )


NOTHING = PValues(two_sided=1.0, falls=1.0, rises=1.0)
UNKNOWN = PValues(two_sided=float("nan"), falls=float("nan"), rises=float("nan"))


def mcnemar(risen: int, fallen: int) -> PValues:
    """The exact test of ``risen`` changes against ``fallen`` ones.

    Source: McNemar 1947; binomial with one half over the changed examples only.

    >>> p = mcnemar(2, 8)
    >>> round(p.two_sided, 4), round(p.falls, 4), round(p.rises, 4)
    (0.1094, 0.0547, 0.9893)
    """
    from scipy.stats import binom

    changed = risen + fallen
    falls, rises = float(binom.cdf(risen, changed, 0.5)), float(binom.cdf(fallen, changed, 0.5))
    return PValues(two_sided=min(1.0, 2 * min(falls, rises)), falls=falls, rises=rises)


def bonett_price(risen: int, fallen: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The confidence interval of the difference of two paired proportions, in [-1, 1].

    Source: Bonett and Price 2012, doi:10.1177/0962280211402548: Wald with one example added to each direction.

    >>> low, high = bonett_price(0, 0, 100)
    >>> round(low, 3), round(high, 3)
    (-0.027, 0.027)
    """
    from scipy.special import ndtri

    up, down = (risen + 1) / (n + 2), (fallen + 1) / (n + 2)
    width = float(ndtri((1 + level) / 2)) * np.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return max(-1.0, float(up - down - width)), min(1.0, float(up - down + width))


def permutation(differences: Floats, draws: int = DRAWS, seed: int = resample.SEED) -> tuple[PValues, bool]:
    """The sign-flip test on the clusters' summed differences: p-values, and whether all sign patterns were tried.

    >>> permutation(np.array([-1.0, -1.0, -2.0]))    # 2 of 8 patterns are as far from 0, 1 is as low
    (PValues(two_sided=0.25, falls=0.125, rises=1.0), True)
    """
    moved = differences[differences != 0]
    if len(moved) == 0:
        return NOTHING, True
    exact = 2 ** min(len(moved), 30) <= draws
    if exact:
        patterns = np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1
        flips = iter([patterns.astype(np.float32)])
    else:
        flips = resample.sign_flips(len(moved), draws, seed)
    sums = np.concatenate([moved.sum() - 2 * (chunk @ moved.astype(np.float32)).astype(np.float64) for chunk in flips])
    # Rounding must not break ties between sums.
    return tail(sums, float(moved.sum()), 1e-6 * float(np.abs(moved).sum()), 0 if exact else 1), exact


def tail(draws: Floats, observed: float, slack: float, extra: int) -> PValues:
    """The shares of ``draws`` (B,) at least as extreme as ``observed``; values within ``slack`` count as equal.

    ``extra`` = 1 counts the observation itself as one more draw, so that no p is 0 (Phipson and Smyth 2010).

    >>> tail(np.array([-2.0, 0.0, 1.0]), -1.0, 0.0, 1)
    PValues(two_sided=0.75, falls=0.5, rises=0.75)
    """
    hits = np.abs(draws) >= abs(observed) - slack, draws <= observed + slack, draws >= observed - slack
    two_sided, falls, rises = ((int(hit.sum()) + extra) / (len(draws) + extra) for hit in hits)
    return PValues(two_sided=two_sided, falls=falls, rises=rises)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the given order: at threshold alpha the family-wise error is at most alpha.

    NaN (a task that could not be tested) stays NaN and does not count as a test.

    Source: Holm 1979, Scandinavian Journal of Statistics 6, 65-70. Equal to statsmodels' ``multipletests``, which
    runs the garbage collector on every call: 0.2 s, most of a simulation's time.

    >>> holm([0.01, 0.04, 0.03, float("nan"), 0.005])
    [0.03, 0.06, 0.06, nan, 0.02]
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(len(p), np.nan)
    # NaN sorts last.
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    found: list[float] = adjusted.tolist()
    return found
