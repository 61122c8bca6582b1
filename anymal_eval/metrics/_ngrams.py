"""The n-grams of captions as integer arrays: BLEU and CIDEr share them, and all answers those of the references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anymal_eval.metrics._captions import Captions, flat_references
from anymal_eval.metrics._shared import once
from anymal_eval.metrics._words import Ints, Words, number_split_words

LONGEST = 4


@dataclass(frozen=True)
class Grams:
    """How often each n-gram of one length occurs in each caption of one side. G distinct n-grams, R rows.

    Attributes:
        keys: The distinct n-grams, sorted as their words are: the number of the first n - 1 words, times the size of
            the vocabulary, plus the last word. (G,)
        caption: The index of the caption, (R,); rows are sorted by caption, then by n-gram.
        gram: The index of the n-gram, (R,).
        count: Its count, (R,).
    """

    keys: Ints
    caption: Ints
    gram: Ints
    count: Ints


@dataclass(frozen=True)
class Side:
    """The n-grams of all answers, or of all references.

    Attributes:
        words: The words.
        grams: For each length of n-gram, from 1 to 4.
    """

    words: Words
    grams: tuple[Grams, ...]


@dataclass(frozen=True)
class Images:
    """Which of N images have which n-grams of one length, in any of their references; U pairs.

    Attributes:
        pairs: The index of the image, times G, plus that of the n-gram; sorted, (U,).
        pair: The index of the pair of each row of the references, (C,).
        documents: The number of images that have each n-gram, and a last 0, of n-grams that no reference has, (G + 1,).
    """

    pairs: Ints
    pair: Ints
    documents: Ints


@dataclass(frozen=True)
class References:
    """The M references of N images: their n-grams, the index of each one's image, (M,), and the images by n-gram."""

    side: Side
    image: Ints
    images: tuple[Images, ...]


@dataclass(frozen=True)
class Counts:
    """How often each n-gram of one length occurs in each answer, c rows, and in each reference, C rows.

    Attributes:
        answer: The index of the answer, (c,).
        answer_gram: The index of the n-gram among those of the references; -1 where none has it, (c,).
        answer_count: Its count, (c,).
        reference: The index of the reference caption over all images, (C,).
        gram: The index of the n-gram, (C,).
        count: Its count, (C,).
        match: The answer row with the same image and n-gram; -1 where the answer lacks it, (C,).
        documents: The number of images whose references have the n-gram, with a last one of 0 for the index -1.
    """

    answer: Ints
    answer_gram: Ints
    answer_count: Ints
    reference: Ints
    gram: Ints
    count: Ints
    match: Ints
    documents: Ints


@dataclass(frozen=True)
class Ngrams:
    """N images with M reference captions in total.

    Attributes:
        answer_words: The number of words in each answer, (N,).
        reference_words: The number of words in each reference, (M,).
        image: The index of the reference's image, (M,).
        counts: One for each length of n-gram, from 1 to 4.
    """

    answer_words: Ints
    reference_words: Ints
    image: Ints
    counts: tuple[Counts, ...]


def count_ngrams(captions: Captions) -> Ngrams:
    """Count the n-grams, once for each ``captions``; those of the references once for all answers to them."""
    return once(captions, "n-grams", lambda: _count(captions))


def _count(captions: Captions) -> Ngrams:
    references = once(captions.references, "n-grams", lambda: _references(captions))
    answers = _side(captions.answers)
    words = known = answers.words.places_in(references.side.words)
    counts = []
    for at, (ours, theirs) in enumerate(zip(answers.grams, references.side.grams, strict=True)):
        if at:
            known = _known(ours, theirs, (known, words), len(references.side.words.vocabulary))
        counts.append(_counts(ours, theirs, known, references.images[at]))
    return Ngrams(answers.words.lengths, references.side.words.lengths, references.image, tuple(counts))


def _references(captions: Captions) -> References:
    side = _side(flat_references(captions))
    image = np.repeat(np.arange(len(captions.references)), [len(texts) for texts in captions.references])
    return References(side, image, tuple(_images(grams, image) for grams in side.grams))


def _side(captions: Sequence[str]) -> Side:
    words = number_split_words(captions)
    caption = np.repeat(np.arange(len(words.lengths)), words.lengths)
    # The position of each word from the end of its caption, so that no n-gram reaches into the next caption.
    left = np.repeat(np.cumsum(words.lengths), words.lengths) - np.arange(len(words.ids))
    starts, numbers = np.arange(len(words.ids)), words.ids
    keys = np.arange(len(words.vocabulary))
    grams = []
    for length in range(1, LONGEST + 1):
        if length > 1:
            longer = left[starts] >= length
            starts = starts[longer]
            # Small numbers again after each length, so that the next product cannot overflow.
            keys, numbers = np.unique(
                numbers[longer] * len(words.vocabulary) + words.ids[starts + length - 1], return_inverse=True
            )
        rows, count = np.unique(caption[starts] * max(len(keys), 1) + numbers, return_counts=True)
        owner, gram = np.divmod(rows, max(len(keys), 1))
        grams.append(Grams(keys, owner, gram, count))
    return Side(words, tuple(grams))


def _images(grams: Grams, image: Ints) -> Images:
    size = len(grams.keys)
    pairs, pair = np.unique(image[grams.caption] * max(size, 1) + grams.gram, return_inverse=True)
    return Images(pairs, pair, np.bincount(pairs % max(size, 1), minlength=size + 1))


def _known(ours: Grams, theirs: Grams, shorter: tuple[Ints, Ints], vocabulary: int) -> Ints:
    """The index of each of our distinct n-grams among theirs, -1 where they lack it.

    Args:
        ours: (G,).
        theirs: the other side's, of the same length.
        shorter: the same of our n-grams that are one word shorter, and of our words.
        vocabulary: the size of theirs.
    """
    known, words = shorter
    first, last = np.divmod(ours.keys, max(len(words), 1))
    first, last = known[first], words[last]
    place, found = _places(theirs.keys, first * vocabulary + last)
    return np.where(found & (first >= 0) & (last >= 0), place, -1)


def _counts(answers: Grams, references: Grams, known: Ints, images: Images) -> Counts:
    gram = known[answers.gram]
    rows = np.flatnonzero(gram >= 0)
    place, found = _places(images.pairs, answers.caption[rows] * max(len(references.keys), 1) + gram[rows])
    row_of_pair = np.full(len(images.pairs), -1)
    row_of_pair[place[found]] = rows[found]
    return Counts(
        answer=answers.caption,
        answer_gram=gram,
        answer_count=answers.count,
        reference=references.caption,
        gram=references.gram,
        count=references.count,
        match=row_of_pair[images.pair],
        documents=images.documents,
    )


def _places(keys: Ints, wanted: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Where wanted numbers are in sorted keys, and whether they are there."""
    place = np.searchsorted(keys, wanted)
    return place, np.append(keys, -1)[place] == wanted
