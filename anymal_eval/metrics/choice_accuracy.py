"""Accuracy of multiple-choice answers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anymal_eval.errors import BadDefinition
from anymal_eval.metrics import Metric, Output, weighted_mean
from anymal_eval.records import Answer, Example


def statistics(examples: Sequence[Example], answers: Sequence[Answer]) -> NDArray[np.float64]:
    """Whether each choice is the labelled one.

    Args:
        examples: N examples with a ``label`` in ``range(len(options))``.
        answers: N answers, in the same order. One without a choice (unparsable, empty) counts as wrong; the official
            ScienceQA and lmms-eval code guesses instead.

    Returns:
        Shape (N, 1), each 0.0 or 1.0.

    Raises:
        BadDefinition: an example has no label, or one outside its options.

    Source:
        doc-doc/NExT-QA ``eval_mc.py``, commit 6b92588; lupantech/ScienceQA ``tools/evaluate_acc.py``.

    >>> one = Example(id="1", cluster="v", kind="choice", question="?", options=("a", "b"), label=1)
    >>> statistics([one], [Answer(state="ok", text="B", choice=1)]).tolist()
    [[1.0]]
    """
    scores = np.zeros((len(examples), 1))
    for row, (example, answer) in enumerate(zip(examples, answers, strict=True)):
        if example.label is None:
            raise BadDefinition(f"example {example.id!r} has no label")
        if not 0 <= example.label < len(example.options):
            raise BadDefinition(
                f"example {example.id!r}: label {example.label} is outside its {len(example.options)} options"
            )
        scores[row, 0] = answer.choice == example.label
    return scores


METRIC = Metric(
    name="choice_accuracy",
    version="1",
    outputs=(Output("choice_accuracy", title="accuracy"),),
    statistics=statistics,
    reduce=weighted_mean,
    display=lambda stats: stats[:, 0],
    is_mean=True,
    source="doc-doc/NExT-QA eval_mc.py, commit 6b92588",
)
