"""The weighted mean, which is how most metrics are reduced."""

import numpy as np
from numpy.typing import NDArray

from anymal_eval.metrics import Groups


def weighted_mean(stats: NDArray[np.float64], weights: NDArray[np.float64], groups: Groups) -> NDArray[np.float64]:
    """(N, k) statistics, (B, N) weights -> (B, k) means.

    >>> weighted_mean(np.array([[0.0], [1.0]]), np.array([[1.0, 1.0], [1.0, 3.0]]), {}).tolist()
    [[0.5], [0.75]]
    """
    del groups
    means: NDArray[np.float64] = weights @ stats / weights.sum(axis=1, keepdims=True)
    return means
