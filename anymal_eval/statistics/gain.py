"""The relative gain of one value over another, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan, sqrt
from typing import TYPE_CHECKING

import numpy as np

from anymal_eval.metrics import Groups, Metric
from anymal_eval.statistics import resample
from anymal_eval.statistics.intervals import DRAWS, Interval, clustered_error, quantile

if TYPE_CHECKING:
    from anymal_eval.metrics import Floats


@dataclass(frozen=True, kw_only=True)
class Gain:
    """``value`` = new / old - 1: 0.07 is +7 %. NaN where the old value is not above 0."""

    value: float
    low: float
    high: float
    method: str


def paired(
    metric: Metric, runs: tuple[Floats, Floats], clusters: Sequence[str], groups: Groups, *, level: float = 0.95
) -> tuple[Gain, ...]:
    """The gain of the second run over the first on the same examples, one for each output.

    Means use the delta method on clusters (the ratio estimator of Cochran 1977, section 6.3). Corpus metrics use a
    bootstrap over clusters, both runs under the same weights.

    Args:
        metric: the metric of both runs.
        runs: the statistics of the old and the new run, each (N, k).
        clusters: (N,), the image, clip or video of each row.
        groups: (N,) labels by group name.
        level: the confidence level of the interval.
    """
    old, new = (resample.value(metric, stats, groups) for stats in runs)
    codes, count = resample.cluster_codes(clusters)
    scores = [resample.scores(metric, stats) for stats in runs]
    if scores[0] is not None and scores[1] is not None:
        if not old[0] > 0:
            return (Gain(value=nan, low=nan, high=nan, method="none"),)
        ratio = float(new[0] / old[0])
        # To first order the error of the ratio is the mean of these residuals.
        residual = (scores[1] - ratio * scores[0]) / old[0]
        width = quantile(codes, level) * clustered_error(residual, codes, count)
        return (Gain(value=ratio - 1, low=ratio - 1 - width, high=ratio - 1 + width, method="paired ratio"),)
    drawn = np.concatenate(
        [
            _ratio(
                resample.reduced(metric, runs[1], weights, groups), resample.reduced(metric, runs[0], weights, groups)
            )
            for weights in resample.weightings(codes, count, DRAWS)
        ]
    )
    return tuple(
        _percentile(value, draws, level) for value, draws in zip(_ratio(new, old).tolist(), drawn.T, strict=True)
    )


def independent(new: Interval, old: Interval | float) -> Gain:
    """The gain of one value over an independent one: measured on other examples, or published.

    A value without an interval is taken as exact, and ``method`` states this.

    Source: MOVER-R, the ratio of two estimates from their separate confidence limits, which keeps their asymmetry
    (Donner and Zou 2012, doi:10.1177/0962280210383082).

    >>> gain = independent(Interval(value=0.64, low=0.60, high=0.68, method="t"), 0.5)
    >>> round(gain.value, 3), round(gain.low, 3), round(gain.high, 3), gain.method
    (0.28, 0.2, 0.36, 'against an exact figure')
    """
    method = "independent" if isinstance(old, Interval) else "against an exact figure"
    if not isinstance(old, Interval):
        old = Interval(value=old, low=old, high=old, method="exact")
    a, b = new.value, old.value
    if not (old.low > 0 and b > 0):
        # Where the old value may be 0 the ratio has no bound.
        return Gain(value=a / b - 1 if b > 0 else nan, low=nan, high=nan, method=method)
    under = (a * b) ** 2 - new.low * old.high * (2 * a - new.low) * (2 * b - old.high)
    over = (a * b) ** 2 - new.high * old.low * (2 * a - new.high) * (2 * b - old.low)
    # The formula needs high < 2 x value; beyond that only the old limit counts.
    low = (a * b - sqrt(max(under, 0))) / (old.high * (2 * b - old.high)) if old.high < 2 * b else new.low / old.high
    high = (a * b + sqrt(max(over, 0))) / (old.low * (2 * b - old.low))
    return Gain(value=a / b - 1, low=low - 1, high=high - 1, method=method)


def _ratio(new: Floats, old: Floats) -> Floats:
    ratio: Floats = np.divide(new, old, out=np.full_like(new, np.nan), where=old > 0) - 1
    return ratio


def _percentile(value: float, draws: Floats, level: float) -> Gain:
    draws = draws[np.isfinite(draws)]
    if value != value or len(draws) < DRAWS / 2:
        return Gain(value=value, low=nan, high=nan, method="none")
    low, high = np.quantile(draws, ((1 - level) / 2, (1 + level) / 2))
    return Gain(value=value, low=float(low), high=float(high), method=f"paired bootstrap {DRAWS:,}")
