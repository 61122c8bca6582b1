"""The requests of a batch that are not answered yet, while others join it."""

from collections.abc import Sequence

from anymal_eval.engine.batching import BatchLimits, tokens
from anymal_eval.engine.source import RequestSource
from anymal_eval.models import Prepared
from anymal_eval.records import Response


class OpenRequests:
    """What a model that refills its batch has to answer.

    Attributes:
        waiting: the requests that are not answered, by id.
        is_broken: whether the next requests could not be had, which is no failure of the model.
    """

    def __init__(self, batch: Sequence[Prepared], limits: BatchLimits, source: RequestSource) -> None:
        """``batch``: the first requests."""
        self._limits, self._source = limits, source
        self._longest, self._places = max(batch, key=tokens), len(batch)
        self._answered = 0  # since a batch was last counted as one that fits
        self.waiting = {item.request.id: item for item in batch}
        self.is_broken = False

    def more(self) -> Sequence[Prepared]:
        """Requests that join; see :class:`anymal_eval.models.Refilling`."""
        open_rows = list(self.waiting.values())
        try:
            found = self._source.joining(open_rows)
        except BaseException:
            self.is_broken = True
            raise
        if found and self._answered >= self._places:
            self.fitted()
        self.waiting.update((item.request.id, item) for item in found)
        return found

    def fitted(self) -> None:
        """Count what was answered as a batch that fits into memory."""
        self._limits.fitted([self._longest])
        self._answered = 0
        self._longest = max(self.waiting.values(), key=tokens, default=self._longest)

    def answered(self, responses: Sequence[Response] | None) -> Sequence[Response]:
        """Take responses; None where the model has ended.

        Raises:
            RuntimeError: they are not those of the requests.
        """
        ids = [response.id for response in responses or ()]
        if responses is None or len(set(ids) & self.waiting.keys()) < len(ids):
            raise RuntimeError(f"the model answered {ids}, but the requests are {list(self.waiting)}")
        for one in ids:
            del self.waiting[one]
        self._answered += len(ids)
        return responses
