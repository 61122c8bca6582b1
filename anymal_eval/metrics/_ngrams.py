"""The n-grams of captions as integer arrays, counted once for BLEU and CIDEr."""

from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from anymal_eval.metrics._captions import Captions

Ints = NDArray[np.int64]
LONGEST = 4


@dataclass(frozen=True)
class Counts:
    """How often each n-gram of one length occurs in each caption.

    Rows are sorted by caption, then by n-gram; C rows for references, c for answers.

    Attributes:
        size: The number of distinct n-grams.
        answer: The index of the answer, (c,).
        answer_gram: The index of the n-gram, (c,).
        answer_count: Its count, (c,).
        reference: The index of the reference caption over all images, (C,).
        gram: The index of the n-gram, (C,).
        count: Its count, (C,).
        match: The answer row with the same image and n-gram; -1 where the answer lacks it, (C,).
        documents: The number of images whose references have the n-gram, (size,).
    """

    size: int
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


_LAST: list[tuple[Captions, Ngrams]] = []


def count_ngrams(captions: Captions) -> Ngrams:
    """Count the n-grams; the last result is cached, because BLEU and CIDEr use the same one."""
    if not _LAST or _LAST[0][0] != captions:
        _LAST[:] = [(captions, _count(captions))]
    return _LAST[0][1]


def forget() -> None:
    """Empty the cache, so that a benchmark measures the whole work."""
    _LAST.clear()


def _count(captions: Captions) -> Ngrams:
    number = len(captions.answers)
    split = [text.split() for text in chain(captions.answers, *captions.references)]
    words = np.fromiter(map(len, split), np.int64, len(split))
    image = np.repeat(np.arange(number), [len(texts) for texts in captions.references])
    ids = _word_ids(list(chain.from_iterable(split)))
    caption = np.repeat(np.arange(len(split)), words)
    # The position of each word from the end of its caption, so that no n-gram reaches into the next caption.
    left = np.repeat(np.cumsum(words), words) - np.arange(len(ids))
    counts = []
    grams, starts = ids, np.arange(len(ids))
    for length in range(1, LONGEST + 1):
        if length > 1:
            longer = left[starts] >= length
            starts = starts[longer]
            grams = _dense(grams[longer] * (ids.max(initial=0) + 1) + ids[starts + length - 1])
        counts.append(_tally(caption[starts], grams, number, image))
    return Ngrams(words[:number], words[number:], image, tuple(counts))


def _word_ids(words: list[str]) -> Ints:
    # Sorted, so that the order of sums over a caption's n-grams does not depend on other captions.
    vocabulary = {word: at for at, word in enumerate(sorted(set(words)))}
    return np.fromiter(map(vocabulary.__getitem__, words), np.int64, len(words))


def _dense(keys: Ints) -> Ints:
    """The same partition with small numbers, so that the next product cannot overflow."""
    return np.asarray(np.unique(keys, return_inverse=True)[1], np.int64)


def _tally(caption: Ints, grams: Ints, number: int, image: Ints) -> Counts:
    size = int(grams.max(initial=-1)) + 1
    keys, count = np.unique(caption * max(size, 1) + grams, return_counts=True)
    owner, gram = np.divmod(keys, max(size, 1))
    cut = int(np.searchsorted(owner, number))  # captions are numbered answers first
    reference = owner[cut:] - number
    image_keys = image[reference] * max(size, 1) + gram[cut:]
    place = np.searchsorted(keys[:cut], image_keys)
    found = np.append(keys[:cut], -1)[place] == image_keys
    once = np.sort(image_keys)  # np.unique without counts would hash, which is ten times slower here
    once = once[np.append(True, once[1:] != once[:-1])[: len(once)]]
    documents = np.bincount(once % max(size, 1), minlength=size)
    return Counts(
        size=size,
        answer=owner[:cut],
        answer_gram=gram[:cut],
        answer_count=count[:cut],
        reference=reference,
        gram=gram[cut:],
        count=count[cut:],
        match=np.where(found, place, -1),
        documents=documents,
    )
