"""Small metrics of each kind; the statistics depend on nothing else about a metric."""

import numpy as np
import pytest
from numpy.typing import NDArray

from anymal_eval.metrics import Groups, Metric, Output, weighted_mean


def _root_mean_square(stats: NDArray[np.float64], weights: NDArray[np.float64], groups: Groups) -> NDArray[np.float64]:
    del groups
    squares: NDArray[np.float64] = np.sqrt(weights @ stats**2 / weights.sum(axis=1, keepdims=True))
    return squares


def _metric(output: Output) -> Metric:
    return Metric(
        name="mean",
        version="1",
        outputs=(output,),
        statistics=lambda *_: np.zeros((0, 1)),
        reduce=weighted_mean,
        display=lambda stats: stats[:, 0],
        is_mean=True,
    )


@pytest.fixture
def mean() -> Metric:
    return _metric(Output("mean"))


@pytest.fixture
def error_rate() -> Metric:
    return _metric(Output("error_rate", better="lower"))


@pytest.fixture
def cider() -> Metric:
    return _metric(Output("cider", "cider"))


@pytest.fixture
def corpus() -> Metric:
    return Metric(
        name="corpus",
        version="1",
        outputs=(Output("first"), Output("second")),
        statistics=lambda *_: np.zeros((0, 2)),
        reduce=_root_mean_square,
    )
