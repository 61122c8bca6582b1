"""Accuracy of yes/no answers, at P(yes) = 0.5 where options were ranked."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anymal_eval.metrics import Metric, Output, weighted_mean
from anymal_eval.metrics._yes_no import positives, yes_option
from anymal_eval.records import Answer, Example


def statistics(examples: Sequence[Example], answers: Sequence[Answer]) -> NDArray[np.float64]:
    """Whether each answer equals the label.

    Args:
        examples: N examples with a ``label`` of 0 or 1.
        answers: N answers. With ``p_yes`` the answer is yes from 0.5 on, else it is ``choice``; without both it counts
            as wrong.

    Returns:
        Shape (N, 1), each 0.0 or 1.0.

    Raises:
        BadDefinition: an example has another label.

    Source:
        The second metric of the Hateful Memes challenge.

    >>> meme = Example(id="1", cluster="1", kind="yes_no", options=("no", "yes"), label=1)
    >>> statistics([meme, meme], [Answer(state="ok", p_yes=0.5), Answer(state="ok", choice=0)]).tolist()
    [[1.0], [0.0]]
    """
    scores = np.zeros((len(examples), 1))
    truth = positives(examples)
    for row, (example, answer) in enumerate(zip(examples, answers, strict=True)):
        if answer.p_yes is not None:
            scores[row, 0] = (answer.p_yes >= 0.5) == truth[row]
        elif answer.choice is not None:
            scores[row, 0] = (answer.choice == yes_option(example)) == truth[row]
    return scores


METRIC = Metric(
    name="yes_no_accuracy",
    version="1",
    outputs=(Output("yes_no_accuracy", title="accuracy"),),
    statistics=statistics,
    reduce=weighted_mean,
    display=lambda stats: stats[:, 0],
    is_mean=True,
    source="Hateful Memes challenge, accuracy",
)
