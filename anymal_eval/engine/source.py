"""The prepared requests of a run: as batches, or as what joins rows that are not answered yet."""

from collections import deque
from collections.abc import Iterator, Sequence

from anymal_eval.engine.batching import Batcher, BatchLimits, group_key, tokens
from anymal_eval.models import Prepared
from anymal_eval.records import Response

REFILL = 4  # a batch is refilled when this fraction of its places, a fourth, is free, and
REFILL_TEXTS = 2  # without media when a half is: what the texts share is computed anew each time
LEAST_NEW = 32  # tokens: shorter answers end so soon that larger batches of prompts are worth more than full steps


class RequestSource:
    """Prepared requests in their order, each given out once.

    What is given out depends on the requests and on when rows ended, never on how fast requests are prepared: the same
    run computes the same batches.
    """

    def __init__(self, items: Iterator[Prepared | Response], limits: BatchLimits, failures_at_once: int) -> None:
        """Start a source.

        Args:
            items: requests in order, prepared, or the failures of those that cannot be.
            limits: of batches.
            failures_at_once: so many failures are written without waiting for a batch.
        """
        self._items, self._limits, self._at_once = items, limits, failures_at_once
        self._batcher = Batcher(limits)
        self._ahead: deque[Prepared] = deque()  # come before ``items``
        self._failures: list[Response] = []

    def failures(self) -> list[Response]:
        """The failures since the last call."""
        found, self._failures = self._failures, []
        return found

    @property
    def is_full_of_failures(self) -> bool:
        """Whether failures are to be written without waiting for an answer."""
        return len(self._failures) >= self._at_once

    def batches(self) -> Iterator[list[Prepared]]:
        """Full batches; an empty one where failures wait to be written."""
        is_over = False
        while not is_over:
            item = self._next()
            batch: list[Prepared] = []
            if not isinstance(item, Response):
                batch = self._batcher.rest() if item is None else self._batcher.add(item)
            is_over = item is None and not batch  # after a rest, requests may have come back
            if batch or self.is_full_of_failures or (is_over and self._failures):
                yield batch

    def fitting(self, batch: Sequence[Prepared]) -> Sequence[Prepared]:
        """As many of a batch as the forecast of memory takes, one at least; the others come again."""
        kept = len(batch)
        while kept > 1 and not self._limits.fits(batch[:kept]):
            kept //= 2
        self._put_back([*batch[kept:], *self._batcher.rest()])
        return batch[:kept]

    def joining(self, open_rows: Sequence[Prepared]) -> list[Prepared]:
        """Requests that join rows which are not answered yet: none, unless enough places are free.

        The rows came through :meth:`fitting`, so that no request is on the way into another batch. What
        joins generates text with the same decoding, and fits into the limits beside the rows.
        """
        if not open_rows or open_rows[0].request.decoding.most_new_tokens < LEAST_NEW:
            return []
        longest = max(map(tokens, open_rows))
        places = self._limits.rows(longest)
        part = REFILL if open_rows[0].request.media else REFILL_TEXTS
        if part * (places - len(open_rows)) < places:
            return []
        decoding = open_rows[0].request.decoding
        found: list[Prepared] = []
        while (item := self._first()) is not None:
            longest = max(longest, tokens(item))
            other = bool(item.request.candidates) or item.request.decoding != decoding
            if other or len(open_rows) + len(found) >= self._limits.rows(longest):
                break
            found.append(self._ahead.popleft())
        kept = self._whole_groups(found, places)
        while kept and not self._limits.fits([*open_rows, *found[:kept]]):
            kept //= 2
        self._put_back(found[kept:])
        return found[:kept]

    def _whole_groups(self, found: Sequence[Prepared], places: int) -> int:
        """How many of them join: a group waits where it would be split, unless it alone takes half of the places."""
        after = self._ahead[0] if self._ahead else None
        key = None if after is None else group_key(after)
        start = len(found)
        while key is not None and start and group_key(found[start - 1]) == key:
            start -= 1
        if start == len(found) or REFILL * start >= places:
            return start
        return len(found) if 2 * len(found) >= places else 0

    def _put_back(self, items: Sequence[Prepared]) -> None:
        self._ahead.extendleft(reversed(items))

    def _first(self) -> Prepared | None:
        """The next request, which stays ahead; None at the end, and where failures are to be written first."""
        while not self._ahead:
            if self.is_full_of_failures:
                return None
            item = self._next()
            if item is None:
                return None
            if not isinstance(item, Response):
                self._ahead.append(item)
        return self._ahead[0]

    def _next(self) -> Prepared | Response | None:
        """The next request, or its failure, which waits to be written; None at the end."""
        if self._ahead:
            return self._ahead.popleft()
        item = next(self._items, None)
        if isinstance(item, Response):
            self._failures.append(item)
        return item
