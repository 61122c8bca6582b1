"""CIDEr of captions, in its variant CIDEr-D, as pycocoevalcap computes it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anymal_eval.metrics import Metric, Output, weighted_mean
from anymal_eval.metrics._captions import ptb_context, read_captions, references_digest
from anymal_eval.metrics._ngrams import LONGEST, Counts, Ngrams, count_ngrams
from anymal_eval.records import Answer, Example

SIGMA = 6.0


def statistics(examples: Sequence[Example], answers: Sequence[Answer]) -> NDArray[np.float64]:
    """Ten times the mean similarity of n-gram vectors, weighted by inverse document frequency over all images.

    Quirks kept on purpose: document frequencies are those of the given references, so a subset scores differently, and
    a corpus of one image scores 0; the length penalty compares numbers of bigrams.

    Args:
        examples: N examples with references: all of the run, failed ones too.
        answers: N answers, in the same order.

    Returns:
        Shape (N, 1), each in [0, 10] as the official code returns it.

    Raises:
        BadDefinition: an example has no references.

    Source:
        salaniz/pycocoevalcap 1.2 ``cider/cider_scorer.py`` (CIDEr-D; sigma 6, n up to 4).

    >>> cat = Example(id="1", cluster="1", kind="caption", references=("a black cat sits there",))
    >>> dog = Example(id="2", cluster="2", kind="caption", references=("some dog runs over grass",))
    >>> answers = [Answer(state="ok", text="A black cat sits there."), Answer(state="ok", text="a boat")]
    >>> statistics([cat, dog], answers).round(3).tolist()
    [[10.0], [0.0]]
    """
    ngrams = count_ngrams(read_captions(examples, answers))
    images = len(examples)
    if not images:
        return np.zeros((0, 1))
    similarity = sum(_similarity(ngrams, counts) for counts in ngrams.counts)
    bigrams = np.maximum(ngrams.reference_words - 1, 0)
    delta = np.maximum(ngrams.answer_words - 1, 0)[ngrams.image] - bigrams
    similarity = similarity * np.exp(-(delta**2) / (2 * SIGMA**2))
    total = np.bincount(ngrams.image, weights=similarity, minlength=images)
    mean = total / LONGEST / np.bincount(ngrams.image, minlength=images) * 10.0
    result: NDArray[np.float64] = mean[:, None]
    return result


def _similarity(ngrams: Ngrams, counts: Counts) -> NDArray[np.float64]:
    """The clipped cosine of each reference with its image's answer, for one length of n-gram: shape (M,)."""
    references, images = len(ngrams.image), len(ngrams.answer_words)
    rarity = np.log(float(images)) - np.log(np.maximum(counts.documents, 1))
    answer = counts.answer_count * rarity[counts.answer_gram]
    reference = counts.count * rarity[counts.gram]
    answer_norm = np.sqrt(np.bincount(counts.answer, weights=answer**2, minlength=images))
    reference_norm = np.sqrt(np.bincount(counts.reference, weights=reference**2, minlength=references))
    shared = counts.match >= 0
    reference = reference[shared]
    product = np.minimum(answer[counts.match[shared]], reference) * reference
    dot = np.bincount(counts.reference[shared], weights=product, minlength=references)
    norms = answer_norm[ngrams.image] * reference_norm
    cosine: NDArray[np.float64] = np.divide(dot, norms, out=dot.astype(float), where=norms != 0)
    return cosine


def context(examples: Sequence[Example]) -> str:
    """The digest of the references, which determine the document frequencies."""
    return ", ".join(filter(None, (f"idf {references_digest(examples)}", ptb_context())))


METRIC = Metric(
    name="cider",
    version="1",
    outputs=(Output("cider", "cider", title="CIDEr"),),
    statistics=statistics,
    reduce=weighted_mean,
    display=lambda stats: stats[:, 0],
    is_mean=True,
    context=context,
    source="salaniz/pycocoevalcap 1.2 cider (CIDEr-D)",
)
