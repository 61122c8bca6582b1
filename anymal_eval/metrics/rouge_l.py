"""ROUGE-L of captions: the F-measure of the longest common subsequence of words."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anymal_eval.metrics import Metric, Output, weighted_mean
from anymal_eval.metrics._captions import flat_references, ptb_context, read_captions
from anymal_eval.metrics._words import Ints, Words, number_words
from anymal_eval.records import Answer, Example

BETA = 1.2
BITS = 63  # the words of an answer that fit into one integer, with a bit for the carry
LONG = 255  # words of a reference up to which all references are compared at once


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


def _common_lengths(ours: Words, theirs: Words, image: Ints, chosen: NDArray[np.bool_]) -> Ints:
    """What :func:`common_length` gives for each chosen reference and its image's answer, all at once.

    Args:
        ours: of N answers; those that are needed have at most ``BITS`` words.
        theirs: of M references.
        image: the answer of each, (M,).
        chosen: (M,), K of them.
    """
    masks = _masks(ours, theirs, image)
    start = (np.cumsum(theirs.lengths) - theirs.lengths)[chosen]
    order = np.argsort(-theirs.lengths[chosen], kind="stable")
    start, length = start[order], theirs.lengths[chosen][order]
    full = (np.uint64(1) << ours.lengths[image[chosen][order]].astype(np.uint64)) - np.uint64(1)
    row = full.copy()
    # The longest references first, so that those with a next word are always the first ones.
    left = np.searchsorted(-length, -np.arange(length.max(initial=0)), side="left")
    for word, there in enumerate(left.tolist()):
        mask = masks[start[:there] + word]
        hit = row[:there] & mask
        row[:there] = ((row[:there] + hit) | (row[:there] - hit)) & full[:there]
    found = np.empty(len(row), dtype=np.int64)
    found[order] = np.bitwise_count(full ^ row)
    return found


def _masks(ours: Words, theirs: Words, image: Ints) -> NDArray[np.uint64]:
    """For each word of the references, the bits of its positions in the answer: (W,). Long answers have wrong ones."""
    size = len(theirs.vocabulary)
    answer = np.repeat(np.arange(len(ours.lengths)), ours.lengths)
    position = np.arange(len(ours.ids)) - np.repeat(np.cumsum(ours.lengths) - ours.lengths, ours.lengths)
    place = ours.places_in(theirs)[ours.ids]
    known = (place >= 0) & (position < BITS)
    keys = answer[known] * size + place[known]
    order = np.argsort(keys, kind="stable")
    keys, bits = keys[order], np.uint64(1) << position[known][order].astype(np.uint64)
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
    if not len(starts):
        return np.zeros(len(theirs.ids), dtype=np.uint64)
    masks, keys = np.bitwise_or.reduceat(bits, starts), keys[starts]
    wanted = np.repeat(image, theirs.lengths) * size + theirs.ids
    at = np.searchsorted(keys, wanted)
    return np.where(np.append(keys, -1)[at] == wanted, np.append(masks, np.uint64(0))[at], np.uint64(0))


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
    if not examples:
        return np.zeros((0, 1))
    captions = read_captions(examples, answers)
    flat = flat_references(captions)
    ours, theirs = number_words(captions.answers), number_words(flat)
    sizes = np.array([len(references) for references in captions.references])
    image = np.repeat(np.arange(len(sizes)), sizes)
    common = np.zeros(len(flat), dtype=np.int64)
    short = (ours.lengths[image] <= BITS) & (theirs.lengths <= LONG)
    common[short] = _common_lengths(ours, theirs, image, short)
    for at in np.flatnonzero(~short).tolist():
        words = captions.answers[image[at]].split(" ")
        common[at] = common_length(word_masks(words), len(words), flat[at].split(" "))
    first = np.cumsum(sizes) - sizes
    precision = np.maximum.reduceat(common / ours.lengths[image], first)
    recall = np.maximum.reduceat(common / theirs.lengths, first)
    scores = (1 + BETA**2) * precision * recall
    divisor = recall + BETA**2 * precision
    return np.divide(scores, divisor, out=np.zeros_like(scores), where=divisor > 0)[:, None]


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
