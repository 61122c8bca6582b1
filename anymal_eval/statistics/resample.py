"""Clusters, and the seeded bootstrap weights and sign flips over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from anymal_eval.metrics import Groups, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anymal_eval.metrics import Floats

# The date of AnyMAL's paper. One seed everywhere, so that the same table always has the same digits.
SEED = 2023_09_27

# Weights in memory at once: 2 ** 21 float64 are 16 MiB, which keeps a chunk in or near the last-level cache.
CELLS = 2**21


def cluster_codes(clusters: Sequence[str] | NDArray[np.intp]) -> tuple[NDArray[np.intp], int]:
    """Number the clusters in the order of their names, or numbers from 0: (N,) codes, and the number of clusters.

    >>> codes, count = cluster_codes(["b", "a", "b"])
    >>> codes.tolist(), count
    ([1, 0, 1], 2)
    """
    if isinstance(clusters, np.ndarray):
        # Counted and not sorted, as np.unique does: the groups of a large run take this many times.
        is_there = np.zeros(int(clusters.max(initial=-1)) + 1, dtype=np.bool_)
        is_there[clusters] = True
        return (np.cumsum(is_there) - 1)[clusters], int(is_there.sum())
    number = {name: code for code, name in enumerate(sorted(set(clusters)))}
    codes = np.fromiter(map(number.__getitem__, clusters), dtype=np.intp, count=len(clusters))
    return codes, len(number)


def weightings(codes: NDArray[np.intp], count: int, draws: int, seed: int = SEED) -> Iterator[Floats]:
    """Bootstrap weights in chunks (b, N), ``draws`` rows in total: ``count`` whole clusters drawn with replacement.

    ``CELLS`` limits the memory for any ``draws``; the weights do not depend on the chunk size.
    """
    generator = np.random.default_rng(seed)
    singles = count == len(codes)
    for rows in _chunks(draws, len(codes)):
        # A bincount a row stays in the cache; it is ten times as fast as Generator.multinomial at 5,000 clusters.
        picked = generator.integers(0, count, size=(rows, count), dtype=np.int32)
        drawn = np.empty((rows, count))
        for row, own in enumerate(picked):
            drawn[row] = np.bincount(own, minlength=count)
        # With one example per cluster only a permutation of the columns remains, and mostly not even that.
        yield drawn if singles and _in_order(codes) else np.take(drawn, codes, axis=1)


def sign_flips(size: int, draws: int, seed: int = SEED) -> Iterator[NDArray[np.float32]]:
    """Random 0/1 matrices in chunks (b, size), ``draws`` rows in total; 1 swaps a cluster's two runs."""
    generator = np.random.default_rng(seed)
    for rows in _chunks(draws, size):
        width = -(-size // 8)
        bits = np.frombuffer(generator.bytes(rows * width), dtype=np.uint8).reshape(rows, width)
        yield np.unpackbits(bits, axis=1, count=size).astype(np.float32)


def reduced(metric: Metric, stats: Floats, weights: Floats, groups: Groups) -> Floats:
    """``metric.reduce`` over drawn weights (b, N) -> (b, o); NaN for a draw that misses a class or a type.

    A resample of few clusters can miss one; callers leave such draws out of quantiles.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return metric.reduce(stats, weights, groups)


def value(metric: Metric, stats: Floats, groups: Groups) -> Floats:
    """The metric's outputs (o,) over all examples, each counted once; NaN without examples."""
    if len(stats) == 0:
        return np.full(len(metric.outputs), np.nan)
    values: Floats = reduced(metric, stats, np.ones((1, len(stats))), groups)[0]
    return values


def scores(metric: Metric, stats: Floats) -> Floats | None:
    """The per-example scores (N,) whose mean the metric is, or None for a corpus metric."""
    if metric.is_mean and metric.display is not None and len(metric.outputs) == 1:
        return np.asarray(metric.display(stats), dtype=np.float64)
    return None


def _chunks(draws: int, width: int) -> Iterator[int]:
    rows = max(1, CELLS // max(1, width))
    for start in range(0, draws, rows):
        yield min(rows, draws - start)


def _in_order(codes: NDArray[np.intp]) -> bool:
    return bool((codes == np.arange(len(codes))).all())
