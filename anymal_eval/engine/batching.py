"""Which requests go through the model together, and what is learned when a batch does not fit."""

import math
from collections.abc import Sequence

from anymal_eval.models import Prepared

GUESS_TOKENS = 16_384  # of a batch, until the model's memory says otherwise
MOST_ROWS = 64
TRUST_AFTER = 64  # batches that fitted, then a learned limit is doubled: the memory may have been another's


class BatchLimits:
    """How many rows of a length a batch may have.

    With a fixed size it is that size; else a budget of tokens. Where a batch did not fit, half of it becomes the limit
    of its bucket (lengths up to the same power of two) and of all longer ones.
    """

    def __init__(self, size: int | None, tokens: int = GUESS_TOKENS, most: int = MOST_ROWS) -> None:
        """``size``: rows of a batch, or None for a budget of ``tokens`` and at most ``most`` rows."""
        self._size, self._tokens, self.most = size, tokens, size or most
        self._learned: dict[int, int] = {}
        self._good: dict[int, int] = {}

    def rows(self, longest: int) -> int:
        """How many rows may go together when the longest has so many tokens; at least one."""
        start = self._size if self._size is not None else min(self.most, self._tokens // max(longest, 1))
        own = _bucket(longest)
        return max(1, min([start, *(rows for bucket, rows in self._learned.items() if bucket <= own)]))

    def too_large(self, batch: Sequence[Prepared]) -> None:
        """Remember that a batch did not fit."""
        bucket = _bucket(_longest(batch))
        self._learned[bucket] = max(1, min(len(batch), self._learned.get(bucket, len(batch))) // 2)
        self._good[bucket] = 0

    def fitted(self, batch: Sequence[Prepared]) -> None:
        """Count a batch that fitted."""
        bucket = _bucket(_longest(batch))
        if bucket not in self._learned:
            return
        self._good[bucket] += 1
        if self._good[bucket] >= TRUST_AFTER:
            self._learned[bucket] *= 2
            self._good[bucket] = 0


class Batcher:
    """Collects prepared requests, in order, into batches; those on one medium are kept together where they fit."""

    def __init__(self, limits: BatchLimits) -> None:
        """``limits``: asked anew for every request."""
        self._limits = limits
        self._rows: list[Prepared] = []
        self._group = 0  # where the last run of rows that share begins
        self._most = 0  # tokens of the longest

    def add(self, item: Prepared) -> list[Prepared]:
        """Take a request.

        Returns:
            A batch that became full, or nothing.
        """
        rows = self._rows
        if not rows or _shared(item) is None or _shared(item) != _shared(rows[-1]):
            self._group = len(rows)
        rows.append(item)
        self._most = max(self._most, tokens(item))
        limit = self._limits.rows(self._most)
        if len(rows) > limit:
            # A medium whose questions would be torn apart waits for the next batch, unless this one became too small.
            end = len(rows) - 1
            return self._cut(self._group if self._group * 2 >= end else end)
        if len(rows) == limit and _shared(item) is None:
            return self._cut(limit)
        return []

    def rest(self) -> list[Prepared]:
        """What is left."""
        return self._cut(len(self._rows))

    def _cut(self, end: int) -> list[Prepared]:
        batch, self._rows = self._rows[:end], self._rows[end:]
        self._group = 0
        self._most = _longest(self._rows)
        return batch


def tokens(item: Prepared) -> int:
    """What a request takes on the device, in tokens: its prompt and what it may say, for every beam."""
    decoding = item.request.decoding
    said = 0 if item.request.candidates else decoding.max_new_tokens
    return (item.prefix_tokens + item.suffix_tokens + said) * decoding.beams


def _shared(item: Prepared) -> str | None:
    return item.media_key or item.prefix_key


def _longest(batch: Sequence[Prepared]) -> int:
    return max(map(tokens, batch), default=0)


def _bucket(length: int) -> int:
    return math.ceil(math.log2(max(length, 1)))
