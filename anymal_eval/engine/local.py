"""The engine in one process: threads prepare ahead, the calling thread answers, each batch is written at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from anymal_eval.engine import EngineSettings, Sink
from anymal_eval.engine.batching import DEFAULT_TOKENS, MAX_ROWS, Batcher, BatchLimits
from anymal_eval.engine.clock import Clock
from anymal_eval.engine.failures import ErrorCount, failure_record
from anymal_eval.engine.faults import failure_of
from anymal_eval.engine.ordering import ordered
from anymal_eval.engine.preparing import prepared
from anymal_eval.engine.streaming import stream_requests
from anymal_eval.errors import OutOfMemory
from anymal_eval.models import Model, Prepared, Streaming
from anymal_eval.records import Failure, Request, Response

AHEAD_BATCHES = 4
FAILURES_AT_ONCE = 16  # failures of preparation that are written without waiting for a batch


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
    for batch, failures in _batches(requests, model, settings, limits, clock):
        with clock.answering(timings):
            responses = [*failures, *answer(model, batch, limits)]
        with clock.measure("writing"):
            sink(responses)
        count.add(responses)


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


def _batches(
    requests: Sequence[Request], model: Model, settings: EngineSettings, limits: BatchLimits, clock: Clock
) -> Iterator[tuple[list[Prepared], list[Response]]]:
    batcher = Batcher(limits)
    failures: list[Response] = []
    at_once = min(FAILURES_AT_ONCE, settings.batch_size or FAILURES_AT_ONCE)
    for item in prepared(ordered(requests), model, settings, AHEAD_BATCHES * limits.most, clock):
        batch: list[Prepared] = []
        if isinstance(item, Response):
            failures.append(item)
        else:
            batch = batcher.add(item)
        if batch or len(failures) >= at_once:
            yield batch, failures
            failures = []
    batch = batcher.rest()
    if batch or failures:
        yield batch, failures
