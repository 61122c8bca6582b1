"""Relative gains and the noise of repeated runs."""

import numpy as np
import pytest

from anymal_eval.metrics import Metric
from anymal_eval.statistics.gain import independent, paired
from anymal_eval.statistics.intervals import Interval, interval
from anymal_eval.statistics.noise import noise


def _interval(value: float, low: float, high: float) -> Interval:
    return Interval(value=value, low=low, high=high, method="t")


@pytest.mark.parametrize("kind", ["mean", "corpus"])
def test_paired_gain_covers_the_true_one(request: pytest.FixtureRequest, kind: str) -> None:
    metric: Metric = request.getfixturevalue(kind)
    generator = np.random.default_rng(0)
    old = generator.random((400, len(metric.outputs)))
    new = old * generator.uniform(1.0, 1.2, old.shape)
    clusters = [str(row // 2) for row in range(400)]
    found = paired(metric, (old, new), clusters, {})
    assert len(found) == len(metric.outputs)
    for one in found:
        assert one.low < 0.1 < one.high
        assert one.high - one.low < 0.02, "what both runs share does not blur their ratio"


def test_paired_gain_covers_in_simulation(mean: Metric) -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        old = (generator.random((200, 1)) < 0.6).astype(float)
        new = np.where(generator.random((200, 1)) < 0.2, generator.random((200, 1)) < 0.9, old).astype(float)
        found = paired(mean, (old, new), [str(row) for row in range(200)], {})[0]
        hits += found.low <= (0.8 * 0.6 + 0.2 * 0.9) / 0.6 - 1 <= found.high
    assert 0.92 <= hits / 400 <= 0.98


def test_independent_gain_is_fieller_like_and_symmetric_in_logs() -> None:
    gain = independent(_interval(0.6, 0.55, 0.65), _interval(0.5, 0.45, 0.55))
    assert gain.value == pytest.approx(0.2)
    assert gain.low < 0.2 < gain.high
    # By the delta method: 1.2 x sqrt((0.05 / 0.6)^2 + (0.05 / 0.5)^2) = 0.156 on either side, a little more above.
    assert gain.high - gain.low == pytest.approx(2 * 0.156, rel=0.05)
    back = independent(_interval(0.5, 0.45, 0.55), _interval(0.6, 0.55, 0.65))
    assert (1 + back.low, 1 + back.high) == pytest.approx((1 / (1 + gain.high), 1 / (1 + gain.low)))


def test_gain_over_a_published_figure() -> None:
    gain = independent(_interval(0.642, 0.64, 0.644), 0.6)
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.07, 0.64 / 0.6 - 1, 0.644 / 0.6 - 1))


def test_no_gain_over_nothing(mean: Metric) -> None:
    assert np.isnan(independent(_interval(0.5, 0.4, 0.6), 0.0).value)
    assert np.isnan(independent(_interval(0.5, 0.4, 0.6), _interval(0.1, 0.0, 0.2)).low)
    zero, one = np.zeros((5, 1)), np.ones((5, 1))
    assert np.isnan(paired(mean, (zero, one), list("abcde"), {})[0].value)


def test_real_intervals_give_a_gain(mean: Metric) -> None:
    old = interval(mean, np.repeat([[0.0], [1.0]], 50, axis=0), [str(row) for row in range(100)], {})[0]
    new = interval(mean, np.repeat([[0.0], [1.0]], [20, 80], axis=0), [str(row) for row in range(100)], {})[0]
    gain = independent(new, old)
    assert gain.low < gain.value < gain.high


def test_noise_counts_values_and_changed_examples(mean: Metric) -> None:
    first = np.array([[1.0], [0.0], [1.0], [1.0]])
    second, third = first.copy(), first + 1e-13
    second[1] = 1.0
    (found,) = noise(mean, [first, second, third], {})
    assert found.values == pytest.approx((0.75, 1.0, 0.75))
    assert found.spread == pytest.approx(0.25)
    assert found.deviation == pytest.approx(np.std([0.75, 1.0, 0.75], ddof=1))
    assert found.changed == 0.25


def test_noise_needs_two_runs_over_the_same_examples(mean: Metric) -> None:
    for runs in ([np.zeros((3, 1))], [np.zeros((3, 1)), np.zeros((2, 1))]):
        with pytest.raises(ValueError, match="two or more runs"):
            noise(mean, runs, {})
