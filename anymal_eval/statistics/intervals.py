"""A value with its interval: Wilson for 0/1 scores, clustered t for other means, cluster bootstrap for corpus metrics.

The methods and the reasons for them:

* **Wilson** - 0/1 scores, every example its own cluster, at any n. It agrees with the normal interval where that is
  right (p near 0.5, thousands of examples) and stays valid where it is not: a few hundred items, or p near 0 or 1
  (Brown, Cai and DasGupta 2001; Bowyer et al. 2025, arXiv:2503.01747).
* **clustered Wilson** - 0/1 scores in clusters: Wilson at the effective sample size n / design effect, where the
  design effect is the clustered variance over p (1 - p) / n (Franco et al. 2019, doi:10.1093/jssam/smy019).
* **clustered t** - other means (VQA accuracy, ROUGE-L, CIDEr): mean +- t x the clustered standard error of Miller 2024
  (arXiv:2411.00640, section 2.2) times sqrt(C / (C - 1)), the usual CR1 correction for C clusters. The degrees of
  freedom are the effective number of clusters minus one, N^2 / sum of squared cluster sizes - 1: with many clusters
  this gives the normal quantile, with few or very unequal ones a wider interval (30 clusters of log-normal size,
  sigma 1.5: coverage 93 % where C - 1 gives 83 %). Without clusters the method is **t**.
* **cluster bootstrap 2,000** - every metric that is no mean (BLEU, AUC, means of types), through ``Metric.reduce``.
* **Wilson bound** - where all scores are equal, or so nearly that tables would print an interval of no width (a BLEU-4
  of 1e-5 without one match): the variance cannot be estimated. A score in [0, 1] with mean p
  has variance at most p (1 - p), so that Wilson with the number of clusters is a valid bound with a width above 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anymal_eval.metrics import Groups, Metric, Output
from anymal_eval.statistics import resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anymal_eval.metrics import Floats

DRAWS = 2_000

# The largest possible score, by unit: CIDEr-D is ten times a cosine-like similarity.
SCALE = {"fraction": 1.0, "cider": 10.0}
ROUNDING = 1e-12  # a standard error below this comes from rounding of equal scores
PRINTED = 1e-4  # one unit in the last digit of tables, which print x100 with two digits


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value and its interval, in the metric's own unit (not x 100). ``method`` is printed next to it.

    All three numbers are NaN where there is no value: no example, or an AUC with one class only.
    """

    value: float
    low: float
    high: float
    method: str


def interval(
    metric: Metric, stats: Floats, clusters: Sequence[str] | NDArray[np.intp], groups: Groups, *, level: float = 0.95
) -> tuple[Interval, ...]:
    """The metric's outputs, each with its interval at ``level``.

    Args:
        metric: the metric; ``is_mean`` decides between formulas and bootstrap.
        stats: (N, k), without the rows of failed requests.
        clusters: (N,), the image, clip or video of each row, by name or number.
        groups: (N,) labels by group name, the argument of ``Metric.reduce``.
        level: the confidence level.

    Returns:
        One interval for each of ``metric.outputs``; fractions are in [0, 1].
    """
    values = resample.value(metric, stats, groups)
    codes, count = resample.cluster_codes(clusters)
    if len(stats) == 0:
        return tuple(Interval(value=np.nan, low=np.nan, high=np.nan, method="no examples") for _ in metric.outputs)
    scores = resample.scores(metric, stats)
    if scores is None:
        found = _bootstrap(metric, stats, (codes, count), groups, level)
        return tuple(_visible(one, count, output, level) for one, output in zip(found, metric.outputs, strict=True))
    output = metric.outputs[0]
    if np.ptp(scores) == 0:
        # With one row per cluster the bound equals plain Wilson, and has its name.
        plain = output.unit == "fraction" and count == len(scores) and scores[0] in (0, 1)
        return (_bound(float(values[0]), count, output, level, "Wilson" if plain else "Wilson bound"),)
    if count == 1:
        return (_bound(float(values[0]), 1, output, level, "Wilson bound"),)
    return (_visible(_mean(scores, (codes, count), output, level), count, output, level),)


def clustered_error(scores: Floats, codes: NDArray[np.intp], count: int) -> float:
    """The clustered standard error of the mean of ``scores`` (N,), CR1; NaN with one cluster.

    Source: Miller 2024, arXiv:2411.00640, section 2.2, times sqrt(C / (C - 1)).

    >>> round(clustered_error(np.array([0.0, 0, 1, 1]), np.array([0, 0, 1, 1]), 2), 3)   # two coins, not four
    0.5
    >>> round(clustered_error(np.array([0.0, 0, 1, 1]), np.array([0, 1, 2, 3]), 4), 3)
    0.289
    """
    if count < 2:
        return float("nan")
    sums = np.bincount(codes, weights=scores - scores.mean(), minlength=count)
    return float(np.sqrt(count / (count - 1) * (sums**2).sum()) / len(scores))


def quantile(codes: NDArray[np.intp], level: float) -> float:
    """The two-sided t quantile with N^2 / (sum of squared cluster sizes) - 1 degrees of freedom.

    >>> round(quantile(np.arange(10_000), 0.95), 2), round(quantile(np.arange(11), 0.95), 2)
    (1.96, 2.23)
    """
    from scipy.special import stdtrit

    sizes = np.bincount(codes).astype(np.float64)
    effective = sizes.sum() ** 2 / (sizes**2).sum()
    return float(stdtrit(max(effective - 1, 1.0), (1 + level) / 2))


def wilson(share: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's score interval for a proportion of ``n`` (possibly an effective size) at the normal quantile ``z``.

    Source: Wilson 1927; the same digits as ``statsmodels.stats.proportion.proportion_confint``, whose import takes a
    second.

    >>> [round(limit, 4) for limit in wilson(0.0, 10, 1.959964)]
    [0.0, 0.2775]
    """
    from scipy.special import ndtr, ndtri

    # Through the tail and back, as there: at two clusters' t quantile of 12.7, 1 - ndtr(z) would be zero.
    z = -float(ndtri(ndtr(-z)))
    q = share * n / n
    denominator = 1 + z**2 / n
    center = (q + z**2 / (2 * n)) / denominator
    distance = z * math.sqrt(q * (1.0 - q) / n + z**2 / (4.0 * n**2)) / denominator
    # At 0 and 1 rounding can leave the share itself outside.
    return max(0.0, min(share, center - distance)), min(1.0, max(share, center + distance))


def _mean(scores: Floats, clustering: tuple[NDArray[np.intp], int], output: Output, level: float) -> Interval:
    from scipy.special import ndtri

    codes, count = clustering
    value = float(scores.mean())
    singles = count == len(scores)
    error = clustered_error(scores, codes, count)
    if output.unit == "fraction" and bool(np.isin(scores, (0.0, 1.0)).all()):
        if singles:
            low, high = wilson(value, len(scores), float(ndtri((1 + level) / 2)))
            return Interval(value=value, low=low, high=high, method="Wilson")
        if error > ROUNDING:
            low, high = wilson(value, value * (1 - value) / error**2, quantile(codes, level))
            return Interval(value=value, low=low, high=high, method="clustered Wilson")
    if error <= ROUNDING:
        return _bound(value, count, output, level, "Wilson bound")
    width = quantile(codes, level) * error
    low, high = _clip(value - width, value + width, output)
    return Interval(value=value, low=low, high=high, method="t" if singles else "clustered t")


def _visible(one: Interval, count: int, output: Output, level: float) -> Interval:
    """The interval, or the bound where tables would print it without a width: so few scores differ from all others."""
    return _bound(one.value, count, output, level, "Wilson bound") if one.high - one.low < PRINTED else one


def _bound(value: float, count: int, output: Output, level: float, method: str) -> Interval:
    from scipy.special import ndtri

    scale = SCALE[output.unit]
    low, high = wilson(min(max(value / scale, 0.0), 1.0), count, float(ndtri((1 + level) / 2)))
    return Interval(value=value, low=low * scale, high=high * scale, method=method)


def _bootstrap(
    metric: Metric, stats: Floats, clustering: tuple[NDArray[np.intp], int], groups: Groups, level: float
) -> tuple[Interval, ...]:
    codes, count = clustering
    values = resample.value(metric, stats, groups)
    chunks = resample.weightings(codes, count, DRAWS)
    drawn = np.concatenate([resample.reduced(metric, stats, weights, groups) for weights in chunks])
    found = []
    for output, value, draws in zip(metric.outputs, values.tolist(), drawn.T, strict=True):
        draws = draws[np.isfinite(draws)]
        if np.isnan(value) or len(draws) < DRAWS / 2:
            found.append(Interval(value=value, low=np.nan, high=np.nan, method="none"))
        elif np.ptp(draws) <= ROUNDING:
            found.append(_bound(value, count, output, level, "Wilson bound"))
        else:
            low, high = np.quantile(draws, ((1 - level) / 2, (1 + level) / 2))
            low, high = _clip(float(low), float(high), output)
            found.append(Interval(value=value, low=low, high=high, method=f"cluster bootstrap {DRAWS:,}"))
    return tuple(found)


def _clip(low: float, high: float, output: Output) -> tuple[float, float]:
    return max(low, 0.0), min(high, SCALE[output.unit])
