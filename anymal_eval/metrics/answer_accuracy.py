"""Accuracy of short answers: whether an answer is one of the references, in the normal form of the VQA rule."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anymal_eval.errors import BadDefinition
from anymal_eval.metrics import Metric, Output, weighted_mean
from anymal_eval.metrics._vqa_text import normalise_vqa
from anymal_eval.records import Answer, Example


def statistics(examples: Sequence[Example], answers: Sequence[Answer]) -> NDArray[np.float64]:
    """Whether each answer equals a reference: without case, punctuation and articles, number words as digits.

    Args:
        examples: N examples with one reference or more.
        answers: N answers, in the same order. An empty one is wrong.

    Returns:
        Shape (N, 1), each 0.0 or 1.0.

    Raises:
        BadDefinition: an example has no reference.

    >>> one = Example(id="1", cluster="v", kind="short_answer", question="?", references=("two dogs", "dogs"))
    >>> statistics([one] * 3, [Answer(state="ok", text=text) for text in ("The 2 dogs.", "Dogs!", "a dog")]).tolist()
    [[1.0], [1.0], [0.0]]
    """
    scores = np.zeros((len(examples), 1))
    for row, (example, answer) in enumerate(zip(examples, answers, strict=True)):
        if not example.references:
            raise BadDefinition(f"example {example.id!r} has no reference")
        text = normalise_vqa(answer.text)
        scores[row, 0] = bool(text) and text in {normalise_vqa(reference) for reference in example.references}
    return scores


METRIC = Metric(
    name="answer_accuracy",
    version="1",
    outputs=(Output("answer_accuracy", title="accuracy"),),
    statistics=statistics,
    reduce=weighted_mean,
    display=lambda stats: stats[:, 0],
    is_mean=True,
    source="the normal form is that of GT-Vision-Lab/VQA vqaEval.py, commit a013f00",
)
