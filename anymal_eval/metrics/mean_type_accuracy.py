"""The unweighted mean of the accuracies of the question types, as STAR reports it."""

import numpy as np
from numpy.typing import NDArray

from anymal_eval.errors import BadDefinition
from anymal_eval.metrics import Groups, Metric, Output
from anymal_eval.metrics.choice_accuracy import statistics


def reduce(stats: NDArray[np.float64], weights: NDArray[np.float64], groups: Groups) -> NDArray[np.float64]:
    """The mean over types of the weighted mean within each type.

    A type whose examples all have weight 0 (in a bootstrap draw, or because all of them failed) is left out of the
    mean; without any type the value is NaN.

    Args:
        stats: Shape (N, 1), whether each choice is right.
        weights: Shape (B, N), not negative.
        groups: Labels of shape (N,) under ``type``.

    Returns:
        Shape (B, 1), in [0, 1].

    Raises:
        BadDefinition: the examples have no group ``type``.

    Source:
        The STAR challenge's "Mean"; SeViLA's code divides the sum of the four by 4.

    >>> types = {"type": np.array(["what", "what", "why"])}
    >>> reduce(np.array([[1.0], [1.0], [0.0]]), np.ones((1, 3)), types).tolist()
    [[0.5]]
    """
    if "type" not in groups:
        raise BadDefinition("mean_type_accuracy needs examples with a group named 'type'")
    names, inverse = np.unique(groups["type"], return_inverse=True)
    member = np.eye(len(names))[inverse]  # (N, T)
    weight = weights @ member  # (B, T)
    right = weights @ (member * stats)  # (B, T)
    there = weight > 0
    accuracy = np.divide(right, weight, out=np.zeros_like(right), where=there)
    count = there.sum(axis=1)
    mean = np.divide(accuracy.sum(axis=1), count, out=np.full(len(count), np.nan), where=count > 0)
    result: NDArray[np.float64] = mean[:, None]
    return result


METRIC = Metric(
    name="mean_type_accuracy",
    version="1",
    outputs=(Output("mean_type_accuracy", title="mean accuracy"),),
    statistics=statistics,
    reduce=reduce,
    display=lambda stats: stats[:, 0],
    source="STAR challenge, metric Mean",
)
