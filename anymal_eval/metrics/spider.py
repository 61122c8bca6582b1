"""SPIDEr of captions: the mean of CIDEr and SPICE, as audio captioning reports it."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from anymal_eval.metrics import Groups, Metric, Output, cider, spice, weighted_mean
from anymal_eval.metrics._java import java_programs
from anymal_eval.records import Answer, Example


def statistics(examples: Sequence[Example], answers: Sequence[Answer]) -> NDArray[np.float64]:
    """CIDEr and SPICE of each answer.

    Args:
        examples: N examples with references.
        answers: N answers, in the same order.

    Returns:
        Shape (N, 2): CIDEr in [0, 10], SPICE in [0, 1].

    Raises:
        BadDefinition: an example has no references.
        NeedsExtra: SPICE cannot run here; the message names what it needs.

    Source:
        audio-captioning/caption-evaluation-tools: (CIDEr + SPICE) / 2 per corpus and per file.
    """
    with java_programs():
        return start(examples, answers)()


def start(examples: Sequence[Example], answers: Sequence[Answer]) -> Callable[[], NDArray[np.float64]]:
    """Start SPICE, and return a function that waits for what :func:`statistics` returns."""
    graphs = spice.start(examples, answers)
    return lambda: np.hstack((cider.statistics(examples, answers), graphs()))


def reduce(stats: NDArray[np.float64], weights: NDArray[np.float64], groups: Groups) -> NDArray[np.float64]:
    """The mean of the two weighted means: (N, 2) statistics, (B, N) weights -> (B, 1).

    >>> reduce(np.array([[1.0, 0.5], [0.0, 0.0]]), np.ones((1, 2)), {}).tolist()
    [[0.375]]
    """
    mean: NDArray[np.float64] = weighted_mean(stats, weights, groups).mean(axis=1, keepdims=True)
    return mean


METRIC = Metric(
    name="spider",
    version="1",
    outputs=(Output("spider", "cider", title="SPIDEr"),),
    statistics=statistics,
    start=start,
    reduce=reduce,
    display=lambda stats: stats.mean(axis=1),
    is_mean=True,
    needs=frozenset({"java", "spice_models"}),
    context=cider.context,
    source="audio-captioning/caption-evaluation-tools",
)
