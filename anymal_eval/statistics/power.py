"""The smallest difference that a comparison can detect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anymal_eval.statistics.paired import Comparison

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anymal_eval.metrics import Floats


# With this many changed clusters the normal figure is always the larger one (8 suffice at alpha 0.05, 20 at 0.0001).
_MANY = 50


def smallest_detectable(comparison: Comparison, *, tests: int = 1, alpha: float = 0.05, power: float = 0.8) -> float:
    """The true difference that this comparison detects with probability ``power``, in the metric's unit, above 0.

    The level is ``alpha / tests`` two-sided, the strictest step of Holm's correction.

    * exact McNemar: from the binomial distribution at the share of examples that changed here. A difference cannot
      exceed that share, so the share grows with the difference where necessary.
    * else z = z_alpha + z_power times the clustered standard error of the paired difference (Miller 2024,
      arXiv:2411.00640, section 5). Under permutation the error includes the changes that the difference itself adds:
      with u = error / sqrt(changed), the weight of one changed cluster in the mean, a difference d needs d / u more
      changes, of which one quarter counts as additional: d^2 = z^2 (error^2 + d u / 4). Simulation chose the quarter:
      without it ``benchmarks/statistics.py`` detected falls of this size in 74 to 79 % instead of 80 %, with a half in
      80 to 86 %.
    * never below the McNemar figure at the size of the changes here: a few changed clusters prove nothing, however
      similar they are.

    Returns:
        NaN where it is unknown: no score differs, or there is only one cluster.
    """
    from scipy.special import ndtri

    level = alpha / tests
    if comparison.changed == 0 or not comparison.error > 0:
        return float("nan")
    if comparison.method == "exact McNemar":
        return mcnemar_detectable(comparison.n, comparison.risen + comparison.fallen, alpha=level, power=power)
    z = float(ndtri(1 - level / 2) + ndtri(power))
    if "permutation" not in comparison.method:
        return z * comparison.error
    changed = min(comparison.changed, comparison.clusters)
    unit = comparison.error / np.sqrt(changed)
    added = z**2 * unit / 8
    found = added + np.sqrt(added**2 + (z * comparison.error) ** 2)
    if changed < _MANY:
        fewest = mcnemar_detectable(comparison.clusters, 0, alpha=level, power=power) * comparison.clusters
        found = np.maximum(found, fewest * unit)
    return float(found)


def mcnemar_detectable(n: int, changed: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest difference of two paired proportions that exact McNemar detects, with ``changed`` of ``n`` changed.

    NaN where even ``n`` changes in one direction are too few.

    >>> round(mcnemar_detectable(1_000, 100), 3)
    0.029
    >>> round(mcnemar_detectable(1_000, 0) * 1_000, 1)    # at least 6 must change, all one way; 7.9 expected do it
    7.9
    """
    share = changed / n
    low, high = 0.0, 1.0
    if mcnemar_power(n, 1.0, 1.0, alpha) < power:
        return float("nan")
    for _ in range(25):
        middle = (low + high) / 2
        low, high = (low, middle) if mcnemar_power(n, max(share, middle), middle, alpha) >= power else (middle, high)
    return high


def mcnemar_power(n: int, share: float, difference: float, alpha: float) -> float:
    """The power of exact McNemar when a ``share`` of ``n`` examples changes and the difference is ``difference``.

    It sums the binomial tails beyond the critical value over the (binomial) number of changed examples.

    >>> mcnemar_power(100, 0.2, 0.0, 0.05) < 0.05      # exact tests stay below their level
    True
    """
    from scipy.special import bdtr, gammaln, xlog1py, xlogy

    spread = 6 * np.sqrt(n * share * (1 - share)) + 10
    counts = np.arange(max(1, int(n * share - spread)), min(n, int(n * share + spread)) + 1)
    up = min(1.0, (1 + difference / share) / 2)
    critical = _critical(counts, alpha)
    possible = critical >= 0
    counts, critical = counts[possible], critical[possible]
    rejected = bdtr(critical, counts, up) + bdtr(critical, counts, 1 - up)
    chosen = gammaln(n + 1) - gammaln(counts + 1) - gammaln(n - counts + 1)
    probability = np.exp(chosen + xlogy(counts, share) + xlog1py(n - counts, -share))
    return float((probability * rejected).sum())


def _critical(counts: NDArray[np.intp], alpha: float) -> Floats:
    """The largest k with P(X <= k) <= alpha / 2 for X of ``counts`` fair coins; -1 where there is none."""
    from scipy.special import bdtr, ndtri

    # The normal quantile is wrong by less than two: start three above it and step down.
    critical = np.minimum(np.ceil(counts / 2 + ndtri(alpha / 2) * np.sqrt(counts) / 2) + 3, counts - 1)
    for _ in range(8):
        too_many = (critical >= 0) & (bdtr(np.maximum(critical, 0), counts, 0.5) > alpha / 2)
        critical = np.where(too_many, critical - 1, critical)
    return np.where(critical >= 0, critical, -1.0)
