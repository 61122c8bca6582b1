"""The difference between two runs on the same examples, its interval and its test.

* **exact McNemar** - 0/1 scores, every example its own cluster: a binomial test of rises against falls among the
  changed examples (McNemar 1947; for language models arXiv:2602.10144). Interval: Bonett and Price 2012,
  doi:10.1177/0962280211402548, which stays valid where few examples changed.
* **permutation** - other per-example scores, and 0/1 scores in clusters: under the null hypothesis the two runs are
  exchangeable within each cluster, so the clusters' summed differences get random signs (Pitman 1937; all 2^m sign
  patterns where there are no more of them than draws). Interval: clustered t of the paired differences (Miller 2024,
  arXiv:2411.00640, section 4.2).
* **paired bootstrap** - corpus metrics (BLEU, AUC, means of types): both runs are reduced under the same resampled
  clusters. Interval: percentile. p: the share of draws whose distance from the mean difference is at least the observed
  difference (Efron and Tibshirani 1993, section 16.4), and never below that of an exact test in which all changed
  clusters agree: a bootstrap of one cluster has no spread and proves nothing.
* **no score differs** - the runs are equal on every example: difference 0, p 1. The result covers these examples only:
  the check is whether this run changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from anymal_eval.metrics import Groups, Metric, Output
from anymal_eval.statistics import resample
from anymal_eval.statistics.intervals import ROUNDING, SCALE, clustered_error, quantile, wilson
from anymal_eval.statistics.p_values import DRAWS, NOTHING, UNKNOWN, PValues, bonett_price, mcnemar, permutation, tail

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anymal_eval.metrics import Floats


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One output of one metric, before and after, in the metric's own unit.

    Attributes:
        before, after, difference: the values, and after - before.
        low, high: the interval of the difference.
        error: the standard error of the difference.
        p: two-sided; p_worse: one-sided, small where ``after`` is worse.
        better: the direction of an improvement.
        method: the test, as printed; ``no score differs`` where nothing changed.
        n, clusters: examples and clusters compared.
        changed: examples whose statistics differ.
        risen, fallen: examples whose score rose and fell; both 0 where the metric has no per-example score.
    """

    before: float
    after: float
    difference: float
    low: float
    high: float
    error: float
    p: float
    p_worse: float
    better: Literal["higher", "lower"]
    method: str
    n: int
    clusters: int
    changed: int
    risen: int
    fallen: int

    @property
    def improvement(self) -> float:
        """The difference, with the sign that makes a positive value an improvement."""
        return self.difference if self.better == "higher" else -self.difference

    @property
    def improvement_low(self) -> float:
        """The smallest improvement in the interval."""
        return self.low if self.better == "higher" else -self.high


@dataclass(frozen=True, kw_only=True)
class _Pairing:
    metric: Metric
    runs: tuple[Floats, Floats]
    codes: NDArray[np.intp]
    count: int
    groups: Groups
    level: float
    draws: int


@dataclass(frozen=True, kw_only=True)
class _Test:
    low: float
    high: float
    error: float
    p: PValues
    method: str


def compare(
    metric: Metric,
    runs: tuple[Floats, Floats],
    clusters: Sequence[str],
    groups: Groups,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
) -> tuple[Comparison, ...]:
    """Compare two runs over the same examples, row by row.

    Args:
        metric: the metric of both runs.
        runs: the statistics before and after, each (N, k); row i is example i in both.
        clusters: (N,), the image, clip or video of each row.
        groups: (N,) labels by group name.
        level: the confidence level of the interval.
        draws: the number of sign patterns or bootstrap resamples.

    Returns:
        One comparison for each of ``metric.outputs``.

    Raises:
        ValueError: the two runs or the clusters have different numbers of rows.
    """
    before, after = runs
    if not before.shape == after.shape or len(before) != len(clusters):
        raise ValueError(f"runs of {len(before)} and {len(after)} rows and {len(clusters)} clusters cannot be paired")
    codes, count = resample.cluster_codes(clusters)
    values = resample.value(metric, before, groups), resample.value(metric, after, groups)
    changed = int((~np.isclose(before, after, rtol=0, atol=1e-12, equal_nan=True)).any(axis=1).sum())
    if len(before) == 0:
        tests = [_untested("no examples")] * len(values[0])
    elif changed == 0:
        tests = [_Test(low=0.0, high=0.0, error=0.0, p=NOTHING, method="no score differs")] * len(values[0])
    else:
        pairing = _Pairing(metric=metric, runs=runs, codes=codes, count=count, groups=groups, level=level, draws=draws)
        tests = _tests(pairing)
    shown = [metric.display(stats) for stats in runs] if metric.display is not None else [np.zeros(0)] * 2
    step = np.sign(shown[1] - shown[0])
    return tuple(
        Comparison(
            before=one,
            after=other,
            difference=other - one,
            low=test.low,
            high=test.high,
            error=test.error,
            p=test.p.two_sided,
            p_worse=test.p.falls if output.better == "higher" else test.p.rises,
            better=output.better,
            method=test.method,
            n=len(before),
            clusters=count,
            changed=changed,
            risen=int((step > 0).sum()),
            fallen=int((step < 0).sum()),
        )
        for output, test, one, other in zip(metric.outputs, tests, values[0].tolist(), values[1].tolist(), strict=True)
    )


def _tests(pairing: _Pairing) -> list[_Test]:
    before, after = (resample.scores(pairing.metric, stats) for stats in pairing.runs)
    if before is None or after is None:
        return _bootstrap(pairing)
    binary = bool(np.isin(before, (0.0, 1.0)).all() and np.isin(after, (0.0, 1.0)).all())
    change = after - before
    singles = pairing.count == len(change)
    error = clustered_error(change, pairing.codes, pairing.count)
    if binary and singles:
        risen, fallen = int((change > 0).sum()), int((change < 0).sum())
        low, high = bonett_price(risen, fallen, len(change), pairing.level)
        return [_Test(low=low, high=high, error=error, p=mcnemar(risen, fallen), method="exact McNemar")]
    sums = np.bincount(pairing.codes, weights=change, minlength=pairing.count).astype(np.float64)
    p, exact = permutation(sums, pairing.draws)
    low, high = _limits(pairing, change, error)
    method = "exact permutation" if exact else f"permutation {pairing.draws:,}"
    return [_Test(low=low, high=high, error=error, p=p, method=method if singles else f"{method} by cluster")]


def _limits(pairing: _Pairing, change: Floats, error: float) -> tuple[float, float]:
    mean, scale = float(change.mean()), SCALE[pairing.metric.outputs[0].unit]
    if not error > ROUNDING:
        return _bounds(pairing, mean, scale)
    width = quantile(pairing.codes, pairing.level) * error
    return max(-scale, mean - width), min(scale, mean + width)


def _bounds(pairing: _Pairing, mean: float, scale: float) -> tuple[float, float]:
    """One cluster, or equal differences: the variance is unknown, so take its bound for values in [-scale, scale]."""
    from scipy.special import ndtri

    low, high = wilson((mean / scale + 1) / 2, pairing.count, float(ndtri((1 + pairing.level) / 2)))
    return (2 * low - 1) * scale, (2 * high - 1) * scale


def _bootstrap(pairing: _Pairing) -> list[_Test]:
    def change(weights: Floats) -> Floats:
        before, after = (resample.reduced(pairing.metric, stats, weights, pairing.groups) for stats in pairing.runs)
        return after - before

    drawn = np.concatenate(
        [change(weights) for weights in resample.weightings(pairing.codes, pairing.count, pairing.draws)]
    )
    observed = change(np.ones((1, len(pairing.codes))))[0]
    return [
        _bootstrap_test(pairing, float(one), draws, output)
        for one, draws, output in zip(observed, drawn.T, pairing.metric.outputs, strict=True)
    ]


def _bootstrap_test(pairing: _Pairing, change: float, draws: Floats, output: Output) -> _Test:
    method, found = f"paired bootstrap {len(draws):,}", draws[np.isfinite(draws)]
    if np.isnan(change) or len(found) < len(draws) / 2:
        return _untested(method)
    low, high = np.quantile(found, ((1 - pairing.level) / 2, (1 + pairing.level) / 2))
    p = tail(found - found.mean(), change, ROUNDING, 1).at_least(0.5 ** _changed_clusters(pairing))
    if np.ptp(found) > ROUNDING:
        return _Test(low=float(low), high=float(high), error=float(found.std(ddof=1)), p=p, method=method)
    if abs(change) <= ROUNDING:
        return _Test(low=0.0, high=0.0, error=0.0, p=NOTHING, method=method)
    low, high = _bounds(pairing, change, SCALE[output.unit])
    return _Test(low=low, high=high, error=0.0, p=p, method=method)


def _changed_clusters(pairing: _Pairing) -> int:
    before, after = pairing.runs
    changed = (~np.isclose(before, after, rtol=0, atol=ROUNDING, equal_nan=True)).any(axis=1)
    return len(set(pairing.codes[changed].tolist()))


def _untested(method: str) -> _Test:
    nan = float("nan")
    return _Test(low=nan, high=nan, error=nan, p=UNKNOWN, method=method)
