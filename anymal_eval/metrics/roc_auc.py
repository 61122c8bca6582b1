"""Area under the ROC curve of P(yes), for yes/no tasks."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anymal_eval.errors import BadDefinition
from anymal_eval.metrics import Groups, Metric, Output
from anymal_eval.metrics._yes_no import positives
from anymal_eval.records import Answer, Example


def statistics(examples: Sequence[Example], answers: Sequence[Answer]) -> NDArray[np.float64]:
    """P(yes) and the truth.

    Args:
        examples: N examples with a ``label`` of 0 or 1; the option with the text yes is the positive one, else
            option 1.
        answers: N answers with ``p_yes``.

    Returns:
        Shape (N, 2): P(yes) in [0, 1], NaN where the answer is an error; and 0.0 or 1.0.

    Raises:
        BadDefinition: an example has another label, or an answer that is no error has no P(yes).
    """
    scores = np.full((len(examples), 2), np.nan)
    scores[:, 1] = positives(examples)
    for row, (example, answer) in enumerate(zip(examples, answers, strict=True)):
        if answer.p_yes is not None:
            scores[row, 0] = answer.p_yes
        elif answer.state != "error":
            raise BadDefinition(f"the answer to example {example.id!r} has no P(yes); roc_auc needs ranked options")
    return scores


def reduce(stats: NDArray[np.float64], weights: NDArray[np.float64], groups: Groups) -> NDArray[np.float64]:
    """The weighted share of (yes, no) pairs in which yes has the higher P(yes); ties count one half.

    Examples are sorted once; each weighting then needs two cumulative sums over the distinct values.

    Args:
        stats: Shape (N, 2), as from ``statistics``.
        weights: Shape (B, N), not negative.
        groups: Not used.

    Returns:
        Shape (B, 1), in [0, 1]; NaN where a weighting leaves only examples of one class.

    Source:
        sklearn.metrics.roc_auc_score with ``sample_weight``; the ranking metric of the Hateful Memes challenge.

    >>> reduce(np.array([[0.9, 1.0], [0.5, 1.0], [0.5, 0.0]]), np.ones((1, 3)), {}).tolist()
    [[0.75]]
    """
    del groups
    order = np.argsort(stats[:, 0], kind="stable")
    value, truth, weight = stats[order, 0], stats[order, 1], weights[:, order]
    if not len(value):
        return np.full((len(weights), 1), np.nan)
    starts = np.flatnonzero(np.r_[True, value[1:] != value[:-1]])
    yes = np.add.reduceat(weight * truth, starts, axis=1)
    no = np.add.reduceat(weight * (1.0 - truth), starts, axis=1)
    no_below = np.cumsum(no, axis=1) - no
    won = (yes * (no_below + 0.5 * no)).sum(axis=1)
    pairs = yes.sum(axis=1) * no.sum(axis=1)
    area = np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    result: NDArray[np.float64] = area[:, None]
    return result


METRIC = Metric(
    name="roc_auc",
    version="1",
    outputs=(Output("roc_auc", title="ROC AUC"),),
    statistics=statistics,
    reduce=reduce,
    needs=frozenset({"p_yes"}),
    source="sklearn.metrics.roc_auc_score (binary)",
)
