"""BLEU-1 to BLEU-4 of a corpus of captions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anymal_eval.metrics import Groups, Metric, Output
from anymal_eval.metrics._captions import ptb_context, read_captions
from anymal_eval.metrics._ngrams import LONGEST, Ngrams, count_ngrams
from anymal_eval.records import Answer, Example

TINY, SMALL = 1e-15, 1e-9  # in the official formula, against division by zero


def statistics(examples: Sequence[Example], answers: Sequence[Answer]) -> NDArray[np.float64]:
    """The counts for corpus BLEU, one row per image.

    Args:
        examples: N examples with references.
        answers: N answers, in the same order.

    Returns:
        Shape (N, 10): words of the answer; words of the reference closest in length (the shorter of two); n-grams
        of the answer for n = 1 to 4; the number of them that a reference has, clipped at its count there.

    Raises:
        BadDefinition: an example has no references.

    Source:
        salaniz/pycocoevalcap 1.2 ``bleu/bleu_scorer.py``, option ``closest``.

    >>> cat = Example(id="1", cluster="1", kind="caption", references=("a cat sits",))
    >>> statistics([cat], [Answer(state="ok", text="A cat.")]).tolist()
    [[2.0, 3.0, 2.0, 1.0, 0.0, 0.0, 2.0, 1.0, 0.0, 0.0]]
    """
    ngrams = count_ngrams(read_captions(examples, answers))
    words = ngrams.answer_words
    table = np.zeros((len(examples), 2 + 2 * LONGEST))
    table[:, 0] = words
    table[:, 1] = _closest(ngrams)
    for at, counts in enumerate(ngrams.counts):
        table[:, 2 + at] = np.maximum(words - at, 0)
        matched = counts.match >= 0
        allowed = np.zeros_like(counts.answer_count)
        np.maximum.at(allowed, counts.match[matched], counts.count[matched])
        right = np.minimum(allowed, counts.answer_count)
        table[:, 2 + LONGEST + at] = np.bincount(counts.answer, weights=right, minlength=len(examples))
    return table


def _closest(ngrams: Ngrams) -> NDArray[np.int64]:
    distance = np.abs(ngrams.reference_words - ngrams.answer_words[ngrams.image])
    order = np.lexsort((ngrams.reference_words, distance, ngrams.image))
    first = np.searchsorted(ngrams.image, np.arange(len(ngrams.answer_words)))
    return ngrams.reference_words[order[first]]


def _formula(total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts (..., 10) -> BLEU-1 to BLEU-4 (..., 4)."""
    precision = (total[..., 2 + LONGEST :] + TINY) / (total[..., 2 : 2 + LONGEST] + SMALL)
    scores = np.cumprod(precision, axis=-1) ** (1.0 / np.arange(1, LONGEST + 1))
    ratio = (total[..., :1] + TINY) / (total[..., 1:2] + SMALL)
    with np.errstate(over="ignore"):
        brevity = np.exp(np.minimum(0.0, 1.0 - 1.0 / ratio))
    result: NDArray[np.float64] = scores * brevity
    return result


def reduce(stats: NDArray[np.float64], weights: NDArray[np.float64], groups: Groups) -> NDArray[np.float64]:
    """BLEU of the weighted sums of the counts: of a corpus in which each image occurs as often as its weight.

    Args:
        stats: Shape (N, 10).
        weights: Shape (B, N).
        groups: Not used.

    Returns:
        Shape (B, 4), each in [0, 1].
    """
    del groups
    return _formula(weights @ stats)


METRIC = Metric(
    name="bleu",
    version="1",
    outputs=tuple(Output(f"bleu_{length}", title=f"BLEU-{length}") for length in range(1, LONGEST + 1)),
    statistics=statistics,
    reduce=reduce,
    display=lambda stats: _formula(stats)[:, -1],
    context=lambda examples: ptb_context(),
    source="salaniz/pycocoevalcap 1.2 bleu",
)
