"""What a run would do: its tasks, prompts, memory and time, from a few answers that are kept nowhere."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from anymal_eval.engine.clock import Clock
from anymal_eval.errors import AnyMALEvalError
from anymal_eval.evaluation.generate import run_requests
from anymal_eval.evaluation.load import LoadedEvaluation, load
from anymal_eval.evaluation.prompts import prompt_lines
from anymal_eval.evaluation.requests import TaskRequests
from anymal_eval.evaluation.resolve import ResolvedEvaluation, resolve
from anymal_eval.protocols.reading import reading_for
from anymal_eval.sources.dataset import TaskDataset
from anymal_eval.sources.load import missing_media

if TYPE_CHECKING:
    from anymal_eval.evaluation.console import Console
    from anymal_eval.evaluation.plan import EvaluationPlan
    from anymal_eval.records import Request, Response

SAMPLE = 8  # answers of each task that are timed
GIB = 2**30


def dry_run(plan: EvaluationPlan, console: Console) -> Iterator[str]:
    """The lines of a dry run: what there is, then what the loaded model is given and how long it takes.

    No run folder is made and no answer is kept. A model that answers from a file, or without looking, is not timed.

    Args:
        plan: of the run.
        console: takes messages.

    Raises:
        AnyMALEvalError: as the run itself would, but for media that are not there, which are counted.
    """
    with console.phase("reading the data"):
        resolved = resolve(plan, console, media=False)
    for dataset in resolved.datasets:
        yield _data_line(dataset, media=resolved.spec.opens_media and plan.ablate != "no-media")
    yield from _memory_forecast(resolved)
    loaded = load(resolved, console)
    try:
        for task in loaded.tasks:
            yield ""
            reading = reading_for(task.dataset.task, task.wording, task.protocol)
            yield from prompt_lines(task.dataset.task.name, task.dataset.examples[0], task.requests[0], reading)
        yield ""
        yield from _times(loaded, console)
    finally:
        loaded.close()


def _data_line(dataset: TaskDataset, *, media: bool) -> str:
    count = len(dataset.examples)
    whole = (dataset.split.expected if dataset.kind == "official" else None) or len(dataset.all_ids)
    parts = [f"{count:,} examples" if count == whole else f"{count:,} examples of {whole:,}"]
    if media:
        files = {medium.uri for example in dataset.examples for medium in example.media}
        absent = missing_media(dataset.examples)
        parts.append(f"{len(files) - len(absent):,} of {len(files):,} media found")
        if absent:
            parts.append(f"the first that is missing is {min(absent)}")
    return f"{dataset.task.name} {dataset.split.name}, {dataset.kind} data: {', '.join(parts)}"


def _memory_forecast(resolved: ResolvedEvaluation) -> Iterator[str]:
    """Of a network of ours, from its sizes alone, before a weight is loaded."""
    options = resolved.spec.options
    network = getattr(options, "checkpoint", "")
    if resolved.spec.name != "anymal" or not network:
        return
    from anymal_eval.anymal.forecast import Forecast, forecast
    from anymal_eval.checkpoints.loading import device_named

    network = "anymal:demo" if network == "demo" else network
    precision = options.precision
    if precision == "auto":
        precision = "bf16" if device_named(options.device).startswith("cuda") else "fp32"
    wanted = Forecast(network=network, device=options.device, precision=precision, quantize=options.quantize)
    try:
        found = forecast(wanted).estimate
    except AnyMALEvalError as error:
        yield f"memory: no forecast: {error}"
        return
    yield (
        f"memory: about {found.total / GIB:.2f} GiB for one row ({found.weight_bytes / GIB:.2f} of weights), "
        f"{precision}; its parts: anymal-eval checkpoints estimate {network}"
    )


def _times(loaded: LoadedEvaluation, console: Console) -> Iterator[str]:
    if not loaded.resolved.spec.opens_media:
        yield "time: not measured: this model answers without looking"
        return
    plan, total = loaded.resolved.plan, 0.0
    rounds = plan.samples + plan.with_blind
    for task in loaded.tasks:
        sample = _sample(task)
        if not sample:
            yield f"{task.dataset.task.name}: time: not measured: none of its first media is there"
            continue
        with console.phase(f"answering {len(sample)} of {task.dataset.task.name}"):
            seconds, failed = _timed(loaded, sample)
        whole = seconds * len(task.requests) / len(sample)
        total += whole * rounds
        errors = f", {failed} of them errors" if failed else ""
        name, count = task.dataset.task.name, len(sample)
        yield f"{name}: {count} answers in {seconds:.1f} s{errors}; all in {_span(whole)}"
    again = f", {rounds} times" if rounds > 1 else ""
    yield f"time: about {_span(total)} for all answers{again}, without scoring; at most, because a first batch is slow"
    yield f"memory: {_peak()}"


def _sample(task: TaskRequests) -> list[Request]:
    """The first examples whose media are there."""
    absent = set(missing_media(task.dataset.examples[: 4 * SAMPLE]))
    requests = [request for request in task.requests[: 4 * SAMPLE] if not absent & {one.uri for one in request.media}]
    return requests[:SAMPLE]


def _timed(loaded: LoadedEvaluation, sample: Sequence[Request]) -> tuple[float, int]:
    responses: list[Response] = []

    def sink(batch: Sequence[Response]) -> None:
        responses.extend(batch)

    start = time.perf_counter()
    settings = loaded.resolved.plan.execution.settings(len(sample))
    run_requests(sample, loaded.model, sink, replace(settings, max_errors=None), Clock())
    return time.perf_counter() - start, sum(response.failure is not None for response in responses)


def _peak() -> str:
    import torch

    # Linux counts in kibibytes.
    host = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB of this process"
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return f"{torch.cuda.max_memory_allocated() / GIB:.2f} GiB of the GPU and {host} were in use at most"
    return f"{host} were in use at most"


def _span(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.4 h``.

    >>> _span(40), _span(700), _span(12_000)
    ('40 s', '12 min', '3.3 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
