"""ROUGE-L of captions: the F-measure of the longest common subsequence of words."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anymal_eval.metrics import Metric, Output, weighted_mean
from anymal_eval.metrics._captions import ptb_context, read_captions
from anymal_eval.records import Answer, Example

BETA = 1.2


def common_length(masks: dict[str, int], length: int, other: Sequence[str]) -> int:
    """The length of the longest common subsequence of two word sequences.

    Bit-parallel dynamic programming (Hyyro 2004): bit k of the row is 0 where the k-th word adds one to the best match
    so far; a row costs one addition for any length.

    Args:
        masks: For each word of the first sequence, the bits of its positions.
        length: The length of the first sequence.
        other: The second sequence.

    >>> common_length(word_masks(["a", "b", "c"]), 3, ["b", "a", "c"])
    2
    """
    full = (1 << length) - 1
    row = full
    for word in other:
        mask = masks.get(word)
        if mask:
            hit = row & mask
            row = ((row + hit) | (row - hit)) & full
    return length - row.bit_count()


def word_masks(words: Sequence[str]) -> dict[str, int]:
    """The bits of the positions of each word.

    >>> word_masks(["a", "b", "a"])
    {'a': 5, 'b': 2}
    """
    masks: dict[str, int] = {}
    for place, word in enumerate(words):
        masks[word] = masks.get(word, 0) | 1 << place
    return masks


def statistics(examples: Sequence[Example], answers: Sequence[Answer]) -> NDArray[np.float64]:
    """The F-measure (beta 1.2) of the longest common subsequence.

    Quirks kept on purpose: the highest precision and the highest recall may come from different references; an
    empty caption is one empty word, so an empty answer to an empty reference scores 1.

    Args:
        examples: N examples with references.
        answers: N answers, in the same order.

    Returns:
        Shape (N, 1), each in [0, 1].

    Raises:
        BadDefinition: an example has no references.

    Source:
        salaniz/pycocoevalcap 1.2 ``rouge/rouge.py``.

    >>> cat = Example(id="1", cluster="1", kind="caption", references=("a cat sits",))
    >>> statistics([cat], [Answer(state="ok", text="A cat sits.")]).round(3).tolist()
    [[1.0]]
    """
    captions = read_captions(examples, answers)
    scores = np.zeros((len(examples), 1))
    for row, (answer, references) in enumerate(zip(captions.answers, captions.references, strict=True)):
        words = answer.split(" ")
        length, masks = len(words), word_masks(words)
        precision = recall = 0.0
        for reference in references:
            other = reference.split(" ")
            common = common_length(masks, length, other)
            precision = max(precision, common / length)
            recall = max(recall, common / len(other))
        if precision and recall:
            scores[row, 0] = (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
    return scores


METRIC = Metric(
    name="rouge_l",
    version="1",
    outputs=(Output("rouge_l", title="ROUGE-L"),),
    statistics=statistics,
    reduce=weighted_mean,
    display=lambda stats: stats[:, 0],
    is_mean=True,
    context=lambda examples: ptb_context(),
    source="salaniz/pycocoevalcap 1.2 rouge",
)
