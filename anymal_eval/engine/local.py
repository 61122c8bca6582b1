"""The engine in one process: threads prepare ahead, the calling thread answers, and what is answered is written."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Protocol

from anymal_eval.engine import EngineSettings, Sink
from anymal_eval.engine.batching import DEFAULT_TOKENS, MAX_ROWS, BatchLimits
from anymal_eval.engine.clock import Clock
from anymal_eval.engine.failures import ErrorCount, failure_record
from anymal_eval.engine.faults import failure_of
from anymal_eval.engine.open_requests import OpenRequests
from anymal_eval.engine.ordering import ordered
from anymal_eval.engine.preparing import prepared
from anymal_eval.engine.source import REFILL, RequestSource
from anymal_eval.engine.streaming import stream_requests
from anymal_eval.errors import OutOfMemory
from anymal_eval.models import Model, Prepared, Refilling, Streaming
from anymal_eval.records import Failure, Request, Response

AHEAD_BATCHES = 4
FAILURES_AT_ONCE = 16  # failures of preparation that are written without waiting for a batch


class RefillingModel(Model, Refilling, Protocol):
    """A model that can begin with new requests in the places of those that it has answered."""


def run_requests(
    requests: Sequence[Request], model: Model, sink: Sink, settings: EngineSettings, clock: Clock | None = None
) -> None:
    """Answer every request once and pass the responses to ``sink`` as they arrive, in any order.

    A request that cannot be prepared or answered becomes a failure, whatever a library raised on it. What is no matter
    of one request is raised; ``sink`` has the responses that came before it. A model that memory does not limit gives
    its batch size as ``batch_hint``; a batch size in ``settings`` takes precedence. A model that answers many requests
    at once, such as a server, gets each when it has a place for it, and each answer is passed on when it comes.

    Args:
        requests: the requests.
        model: the model that answers them.
        sink: called with each batch of responses.
        settings: batch size, threads, memory for preparation, allowed failures.
        clock: adds up where the time went, also when this ends early.

    Raises:
        IncompleteRun: more than ``max_errors`` failures, a broken device, or a model that answers nothing.
    """
    clock = clock or Clock()
    if isinstance(model, Streaming):
        stream_requests(requests, model, sink, settings, clock)
        return
    if settings.batch_size is None:
        settings = replace(settings, batch_size=getattr(model, "batch_hint", None))
    limits = BatchLimits(
        settings.batch_size,
        getattr(model, "token_budget", DEFAULT_TOKENS),
        getattr(model, "batch_hint", MAX_ROWS),
        getattr(model, "memory_forecast", None),
    )
    timings: Mapping[str, float] = getattr(model, "timings", {})
    count = ErrorCount(settings)
    items = prepared(ordered(requests), model, settings, AHEAD_BATCHES * limits.most, clock)
    source = RequestSource(items, limits, min(FAILURES_AT_ONCE, settings.batch_size or FAILURES_AT_ONCE))
    for batch in source.batches():
        with closing(_answers(model, batch, limits, source)) as answers:
            while True:
                with clock.answering(timings):
                    responses = next(answers, None)
                if responses is None:
                    break
                responses += source.failures()
                with clock.measure("writing"):
                    sink(responses)
                count.add(responses)


def _answers(
    model: Model, batch: Sequence[Prepared], limits: BatchLimits, source: RequestSource
) -> Generator[list[Response], None, None]:
    if batch and isinstance(model, Refilling):
        yield from answer_refilled(model, batch, limits, source)
    else:
        yield answer(model, batch, limits)


def answer_refilled(
    model: RefillingModel, batch: Sequence[Prepared], limits: BatchLimits, source: RequestSource
) -> Iterator[list[Response]]:
    """Answer a batch, and requests of the source in the places of those that ended.

    Where that fails, what is not answered yet is answered in halves, as :func:`answer` does.

    Args:
        model: begins with new requests while others are open.
        batch: the first requests.
        limits: of batches.
        source: has the next requests.

    Yields:
        Responses: when they are as many as a refill takes, before failures of preparation, and at the end.

    Raises:
        RuntimeError: the responses are not those of the requests.
    """
    batch = source.fitting(batch)
    requests = OpenRequests(batch, limits, source)
    failure: Failure | None = None
    ready: list[Response] = []
    with closing(model.answer_each(batch, requests.more)) as answers:
        while requests.waiting and failure is None:
            raised: BaseException | None = None
            try:
                found = next(answers, None)
            except BaseException as error:  # noqa: BLE001  # what is no failure of a request is raised again
                raised = error
            else:
                ready += requests.answered(found)
            if ready and (raised or source.is_full_of_failures or REFILL * len(ready) >= len(batch)):
                yield ready
                ready = []
            if raised is not None:
                if requests.is_broken:
                    raise raised
                failure = failure_record(failure_of(raised))
            del raised  # its traceback would keep the whole batch in memory
    if ready:
        yield ready
    if failure is None:
        requests.fitted()
        return
    left = list(requests.waiting.values())
    if failure.kind == OutOfMemory.kind:
        limits.too_large(left)
    yield _halves(model, left, limits) if len(left) > 1 else [Response(id=left[0].request.id, failure=failure)]


def answer(model: Model, batch: Sequence[Prepared], limits: BatchLimits) -> list[Response]:
    """Answer a batch, in halves where it does not fit into memory or an error has to be traced to its request.

    Raises:
        RuntimeError: the ids of the responses are not those of the requests.
    """
    if not batch:
        return []
    if len(batch) > 1 and not limits.fits(batch):
        return _halves(model, batch, limits)
    # The halves run outside ``except``: the error's traceback would keep the whole batch in memory.
    failure: Failure
    try:
        responses = list(model.answer(batch))
    except BaseException as error:  # noqa: BLE001  # what is no failure of a request is raised again
        failure = failure_record(failure_of(error))
    else:
        limits.fitted(batch)
        ids, answered = [item.request.id for item in batch], [response.id for response in responses]
        if answered != ids:
            raise RuntimeError(f"the model answered {answered}, but the requests are {ids}")
        return responses
    if failure.kind == OutOfMemory.kind:
        limits.too_large(batch)
    if len(batch) == 1:
        return [Response(id=batch[0].request.id, failure=failure)]
    return _halves(model, batch, limits)


def _halves(model: Model, batch: Sequence[Prepared], limits: BatchLimits) -> list[Response]:
    half = len(batch) // 2
    return [*answer(model, batch[:half], limits), *answer(model, batch[half:], limits)]
