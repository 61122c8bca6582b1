"""The words of tokenized captions as numbers: one array for all captions instead of a list for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anymal_eval.metrics._shared import once

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Words:
    """n captions with W words in total.

    Attributes:
        vocabulary: The distinct words, sorted.
        ids: The place of each word in the vocabulary, (W,).
        lengths: The number of words in each caption, (n,).
    """

    vocabulary: tuple[str, ...]
    ids: Ints
    lengths: Ints

    def places_in(self, other: Words) -> Ints:
        """The place of each of our words in another vocabulary; -1 where it is not there: (vocabulary,)."""
        known = {word: place for place, word in enumerate(other.vocabulary)}
        return np.array([known.get(word, -1) for word in self.vocabulary], dtype=np.int64)


def number_words(captions: Sequence[str]) -> Words:
    """The words between single spaces, so that an empty caption is one empty word; made once for each ``captions``.

    >>> words = number_words(["a dog", "", "a cat"])
    >>> words.vocabulary, words.ids.tolist(), words.lengths.tolist()
    (('', 'a', 'cat', 'dog'), [1, 3, 0, 1, 2], [2, 1, 2])
    """
    return once(captions, "words", lambda: _between_spaces(captions))


def number_split_words(captions: Sequence[str]) -> Words:
    r"""The words between any white space, of which an empty caption has none.

    >>> words = number_split_words(["3\xa01/2 cups", ""])
    >>> words.vocabulary, words.ids.tolist(), words.lengths.tolist()
    (('1/2', '3', 'cups'), [1, 0, 2], [3, 0])
    """
    words = number_words(captions)
    # Most captions are the same in both ways, and their vocabulary shows it.
    if all(word.split() == [word] for word in words.vocabulary):
        return words
    split = [caption.split() for caption in captions]
    return _numbered([word for one in split for word in one], [len(one) for one in split])


def _between_spaces(captions: Sequence[str]) -> Words:
    if not captions:
        return _numbered([], [])
    return _numbered(" ".join(captions).split(" "), [caption.count(" ") + 1 for caption in captions])


def _numbered(words: Sequence[str], lengths: Sequence[int]) -> Words:
    # Sorted, so that the order of sums over a caption's n-grams does not depend on other captions.
    vocabulary = tuple(sorted(set(words)))
    places = {word: place for place, word in enumerate(vocabulary)}
    return Words(
        vocabulary=vocabulary,
        ids=np.fromiter(map(places.__getitem__, words), np.int64, len(words)),
        lengths=np.array(lengths, dtype=np.int64),
    )
