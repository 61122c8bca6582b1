"""Paired comparisons: which test, which direction, and what cannot be tested."""

import numpy as np
import pytest
from numpy.typing import NDArray

from anymal_eval import metrics
from anymal_eval.metrics import Metric
from anymal_eval.statistics.paired import compare


def _column(values: list[float]) -> NDArray[np.float64]:
    return np.array(values).reshape(-1, 1)


def _singles(count: int) -> list[str]:
    return [f"c{number:04d}" for number in range(count)]


def test_zero_one_scores_without_clusters_are_mcnemar(mean: Metric) -> None:
    before = _column([1.0] * 7 + [0.0] + [1.0] * 13)
    after = _column([0.0] * 7 + [1.0] + [1.0] * 13)
    (found,) = compare(mean, (before, after), _singles(21), {})
    assert found.method == "exact McNemar"
    assert (found.risen, found.fallen, found.changed, found.n, found.clusters) == (1, 7, 8, 21, 21)
    assert found.difference == pytest.approx(-6 / 21)
    assert (found.p, found.p_worse) == pytest.approx((0.0703125, 0.03515625))
    assert found.low < found.difference < found.high


@pytest.mark.parametrize(
    ("clusters", "scores", "method"),
    [
        (["a", "a", "b", "b"], [0.0, 1, 0, 1], "exact permutation by cluster"),
        (["a", "b", "c", "d"], [0.3, 0.6, 0.9, 1], "exact permutation"),
        (["a", "a", "a", "a"], [0.3, 0.6, 0.9, 1], "exact permutation by cluster"),
    ],
)
def test_other_scores_are_permuted(mean: Metric, clusters: list[str], scores: list[float], method: str) -> None:
    (found,) = compare(mean, (_column([1.0, 1, 1, 0]), _column(scores)), clusters, {})
    assert found.method == method
    assert found.low < found.high
    assert 0 < found.p <= 1


def test_many_clusters_are_permuted_at_random(cider: Metric) -> None:
    generator = np.random.default_rng(0)
    before = generator.gamma(2, 1, (300, 1))
    (found,) = compare(cider, (before, before - 0.2 * generator.random((300, 1))), _singles(300), {})
    assert found.method == "permutation 10,000"
    assert found.p == pytest.approx(1 / 10_001)
    assert found.p_worse == pytest.approx(1 / 10_001)
    assert found.fallen == 300


def test_corpus_metrics_are_bootstrapped(corpus: Metric) -> None:
    generator = np.random.default_rng(0)
    before = generator.random((200, 2))
    after = before * [0.5, 1.0]
    fallen, same = compare(corpus, (before, after), _singles(200), {}, draws=500)
    assert fallen.method == "paired bootstrap 500"
    assert fallen.high < 0
    assert fallen.p_worse == pytest.approx(1 / 501)
    assert (same.difference, same.p, same.low, same.high) == (0, 1, 0, 0)


def test_lower_can_be_better(mean: Metric, error_rate: Metric) -> None:
    runs = _column([0.0] * 10), _column([1.0] * 8 + [0.0] * 2)
    rises, worse = compare(mean, runs, _singles(10), {})[0], compare(error_rate, runs, _singles(10), {})[0]
    assert rises.p == worse.p
    assert rises.p_worse > 0.9
    assert worse.p_worse < 0.01
    assert (rises.improvement, worse.improvement) == (0.8, -0.8)
    assert worse.improvement_low == -worse.high


def test_equal_runs_are_not_tested(mean: Metric) -> None:
    run = _column([1.0, 0.3, 0.0])
    (found,) = compare(mean, (run, run.copy()), _singles(3), {})
    assert (found.difference, found.low, found.high, found.p, found.p_worse) == (0, 0, 0, 1, 1)
    assert found.method == "no score differs"


def test_no_examples_give_no_p(mean: Metric) -> None:
    (found,) = compare(mean, (np.zeros((0, 1)), np.zeros((0, 1))), [], {})
    assert np.isnan([found.difference, found.p, found.p_worse, found.low, found.high]).all()


def test_runs_of_other_examples_are_refused(mean: Metric) -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        compare(mean, (np.zeros((3, 1)), np.zeros((2, 1))), _singles(3), {})


@pytest.mark.parametrize("kind", ["mean", "corpus"])
def test_swapping_the_runs_turns_the_sign(request: pytest.FixtureRequest, kind: str) -> None:
    metric: Metric = request.getfixturevalue(kind)
    generator = np.random.default_rng(3)
    runs = generator.random((60, 2))[:, : len(metric.outputs)], generator.random((60, 2))[:, : len(metric.outputs)]
    clusters = [f"c{row // 2:02d}" for row in range(60)]
    forth = compare(metric, runs, clusters, {}, draws=1_000)[0]
    back = compare(metric, runs[::-1], clusters, {}, draws=1_000)[0]
    assert (forth.difference, forth.low, forth.high) == pytest.approx((-back.difference, -back.high, -back.low))
    assert forth.p == pytest.approx(back.p)


@pytest.mark.parametrize("name", ["roc_auc", "mean_type_accuracy"])
def test_real_corpus_metrics(name: str) -> None:
    generator = np.random.default_rng(4)
    label = (generator.random(150) < 0.5).astype(float)
    good, bad = generator.random(150) + label, generator.random(150) + 0.2 * label
    if name == "roc_auc":
        runs = np.column_stack([good, label]), np.column_stack([bad, label])
    else:
        runs = (good > 0.5).astype(float)[:, None], (bad > 0.9).astype(float)[:, None]
    groups = {"type": np.array(["what", "why", "how"])[np.arange(150) % 3]}
    (found,) = compare(metrics.get(name), runs, _singles(150), groups, draws=1_000)
    assert found.difference < 0
    assert found.p < 0.01
    assert found.high < 0
