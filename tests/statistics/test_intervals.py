"""Intervals: the method fits the scores, nothing has zero width, order does not matter."""

import numpy as np
import pytest
from numpy.typing import NDArray

from anymal_eval import metrics
from anymal_eval.metrics import Groups, Metric, Output
from anymal_eval.records import Answer, Example
from anymal_eval.statistics import resample
from anymal_eval.statistics.intervals import interval


def _names(sizes: list[int]) -> list[str]:
    return [f"c{number:04d}" for number, size in enumerate(sizes) for _ in range(size)]


@pytest.mark.parametrize(
    ("name", "scores", "sizes", "method"),
    [
        ("mean", [0.0, 1, 1, 0], [1, 1, 1, 1], "Wilson"),
        ("mean", [1.0, 1, 1, 1], [1, 1, 1, 1], "Wilson"),
        ("mean", [1.0], [1], "Wilson"),
        ("mean", [0.0, 1, 1, 0], [1, 2, 1], "clustered Wilson"),
        ("mean", [1.0, 1, 1, 1], [2, 2], "Wilson bound"),
        ("mean", [1.0, 0, 1, 0], [2, 2], "Wilson bound"),  # the clusters' means are equal
        ("mean", [1.0, 0, 0, 0, 1, 0], [3, 3], "Wilson bound"),  # equal but for rounding
        ("mean", [1.0, 0, 1, 1], [2, 2], "clustered Wilson"),  # one degree of freedom
        ("mean", [1.0, 0.3, 1, 0], [4], "Wilson bound"),
        ("mean", [0.3, 0.6, 1.0, 0.9], [1, 2, 1], "clustered t"),
        ("mean", [0.3, 0.6, 1.0, 0.9], [1, 1, 1, 1], "t"),
        ("cider", [0.3, 1.6, 2.0, 0.9], [1, 1, 1, 1], "t"),
        ("cider", [0.0, 0.0, 0.0, 0.0], [1, 1, 1, 1], "Wilson bound"),
        ("cider", [0.0, 1.0, 0.0, 1.0], [1, 1, 1, 1], "t"),
        ("mean", [], [], "no examples"),
    ],
)
def test_method(request: pytest.FixtureRequest, name: str, scores: list[float], sizes: list[int], method: str) -> None:
    metric: Metric = request.getfixturevalue(name)
    (found,) = interval(metric, np.array(scores).reshape(-1, 1), _names(sizes), {})
    assert found.method == method
    if scores:
        assert found.value == pytest.approx(np.mean(scores))
        assert found.low < found.high
        assert found.low <= found.value <= found.high
        assert found.low >= 0
        assert found.high <= (1 if name == "mean" else 10)
    else:
        assert np.isnan([found.value, found.low, found.high]).all()


def test_corpus_metrics_have_an_interval_an_output(corpus: Metric) -> None:
    stats = np.random.default_rng(0).random((40, 2))
    first, second = interval(corpus, stats, _names([2] * 20), {})
    for found, column in ((first, stats[:, 0]), (second, stats[:, 1])):
        assert found.value == pytest.approx(np.sqrt((column**2).mean()))
        assert found.low < found.value < found.high
        assert found.method == "cluster bootstrap 2,000"


def test_order_of_examples_does_not_matter(corpus: Metric) -> None:
    generator = np.random.default_rng(1)
    stats, clusters = generator.random((30, 2)), _names([3] * 10)
    order = generator.permutation(30)
    shuffled = interval(corpus, stats[order], [clusters[row] for row in order], {})
    for one, other in zip(interval(corpus, stats, clusters, {}), shuffled, strict=True):
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-12)


def test_memory_is_bounded_and_chunks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, count = resample.cluster_codes(_names([2, 1, 3]))
    whole = np.concatenate(list(resample.weightings(codes, count, 100)))
    monkeypatch.setattr(resample, "CELLS", 60)
    chunks = list(resample.weightings(codes, count, 100))
    assert max(chunk.size for chunk in chunks) <= 60
    assert np.array_equal(np.concatenate(chunks), whole)
    assert (whole[:, [0, 3, 4]] == whole[:, [1, 4, 5]]).all(), "a cluster is drawn whole"


def test_a_class_that_is_missing_gives_no_value(mean: Metric) -> None:
    def undefined(stats: NDArray[np.float64], weights: NDArray[np.float64], groups: Groups) -> NDArray[np.float64]:
        return np.full((len(weights), 1), np.nan)

    auc = Metric(name="auc", version="1", outputs=(Output("auc"),), statistics=mean.statistics, reduce=undefined)
    (found,) = interval(auc, np.ones((5, 1)), _names([1] * 5), {})
    assert np.isnan([found.value, found.low, found.high]).all()


@pytest.mark.parametrize(
    "name", ["bleu", "cider", "rouge_l", "vqa_accuracy@2021", "choice_accuracy", "yes_no_accuracy"]
)
@pytest.mark.parametrize("size", [1, 2, 40])
@pytest.mark.parametrize("answer", ["x", "a dog sits", "a dog runs on the grass"])
def test_no_interval_that_a_table_would_print_without_a_width(name: str, size: int, answer: str) -> None:
    examples = [
        Example(id=str(at), cluster=str(at // 2), kind="caption", references=("a dog runs on the grass",) * 10,
                options=("no", "yes"), label=1)
        for at in range(size)
    ]  # fmt: skip
    answers = [Answer(state="ok", text=answer, choice=len(answer) % 2)] * size
    metric = metrics.get(name)
    for one in interval(metric, metric.statistics(examples, answers), [each.cluster for each in examples], {}):
        assert f"{100 * one.low:.2f}" != f"{100 * one.high:.2f}", one
        assert one.low <= one.value <= one.high
