"""Which requests go through the model together, and how a batch that does not fit lowers the limit."""

import math
from collections.abc import Sequence

from anymal_eval.generation import MemoryForecast, RowShape
from anymal_eval.models import Prepared

DEFAULT_TOKENS = 16_384  # per batch, where the model names no token budget
MAX_ROWS = 64
TRUST_AFTER = 64  # batches that fit double a lowered limit: another process may have used the memory


class BatchLimits:
    """The number of rows that a batch may have, by length.

    It is the fixed size, or else follows from a token budget. When a batch does not fit, half its size becomes the
    limit of its bucket (lengths up to the same power of two) and of all longer ones. A forecast of memory limits every
    batch, a fixed size too.
    """

    def __init__(
        self,
        size: int | None,
        tokens: int = DEFAULT_TOKENS,
        most: int = MAX_ROWS,
        forecast: MemoryForecast | None = None,
    ) -> None:
        """``size``: rows per batch, or None for a budget of ``tokens`` and at most ``most`` rows."""
        self._forecast = forecast
        self._size, self._tokens, self.most = size, tokens, size or most
        self._learned: dict[int, int] = {}
        self._good: dict[int, int] = {}

    def rows(self, longest: int) -> int:
        """How many rows fit into a batch whose longest row has ``longest`` tokens; at least one."""
        start = self._size if self._size is not None else min(self.most, self._tokens // max(longest, 1))
        if not self._learned:
            return max(1, start)
        own = _bucket(longest)
        return max(1, min([start, *(rows for bucket, rows in self._learned.items() if bucket <= own)]))

    def fits(self, batch: Sequence[Prepared]) -> bool:
        """Whether the forecast of a batch, padded to its longest row, stays below the budget."""
        shape = shape_of(batch)
        return self._forecast is None or shape is None or len(batch) <= self._forecast.rows(shape)

    def too_large(self, batch: Sequence[Prepared]) -> None:
        """Record that a batch did not fit."""
        bucket = _bucket(_longest(batch))
        self._learned[bucket] = max(1, min(len(batch), self._learned.get(bucket, len(batch))) // 2)
        self._good[bucket] = 0

    def fitted(self, batch: Sequence[Prepared]) -> None:
        """Record that a batch fitted."""
        bucket = _bucket(_longest(batch))
        if bucket not in self._learned:
            return
        self._good[bucket] += 1
        if self._good[bucket] >= TRUST_AFTER:
            self._learned[bucket] *= 2
            self._good[bucket] = 0


class Batcher:
    """Collects prepared requests, in order, into batches; requests that share media stay together where they fit."""

    def __init__(self, limits: BatchLimits) -> None:
        """``limits``: read again for every request."""
        self._limits = limits
        self._rows: list[Prepared] = []
        self._group = 0  # where the last group of rows that share media starts
        self._longest = 0  # tokens of the longest row

    def add(self, item: Prepared) -> list[Prepared]:
        """Add a request.

        Returns:
            A batch that is now full, else an empty list.
        """
        rows, key = self._rows, group_key(item)
        if not rows or key is None or key != group_key(rows[-1]):
            self._group = len(rows)
        rows.append(item)
        self._longest = max(self._longest, tokens(item))
        limit = self._limits.rows(self._longest)
        if len(rows) > limit:
            # A group that would be split waits for the next batch, unless this batch became too small without it.
            end = len(rows) - 1
            return self._cut(self._group if self._group * 2 >= end else end)
        if len(rows) == limit and key is None:
            return self._cut(limit)
        return []

    def rest(self) -> list[Prepared]:
        """The requests that are not in a batch yet."""
        return self._cut(len(self._rows))

    def _cut(self, end: int) -> list[Prepared]:
        batch, self._rows = self._rows[:end], self._rows[end:]
        self._group = 0
        self._longest = _longest(self._rows)
        return batch


def tokens(item: Prepared) -> int:
    """The tokens that a request may take on the device: prompt and completion, for every beam."""
    decoding = item.request.decoding
    new_tokens = 0 if item.request.candidates else decoding.most_new_tokens
    return (item.prefix_tokens + item.suffix_tokens + new_tokens) * decoding.beams


def shape_of(batch: Sequence[Prepared]) -> RowShape | None:
    """The longest row that the requests would make together; None without a request."""
    if not batch:
        return None
    generated = [item.request.decoding for item in batch if not item.request.candidates]
    return RowShape(
        prompt=max(item.prefix_tokens + item.suffix_tokens for item in batch),
        new=max((decoding.most_new_tokens for decoding in generated), default=0),
        beams=max((decoding.beams for decoding in generated), default=1),
        options=max(len(item.request.candidates) for item in batch),
    )


def group_key(item: Prepared) -> str | None:
    """Equal for requests that stay together where they fit."""
    return item.media_key or item.prefix_key


def _longest(batch: Sequence[Prepared]) -> int:
    return max(map(tokens, batch), default=0)


def _bucket(length: int) -> int:
    return math.ceil(math.log2(max(length, 1)))
