"""What trackers get of a run and of a check: one record each, its numbers x100."""

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from anymal_eval import fingerprint
from anymal_eval.codec import write_json_pretty
from anymal_eval.report.run_table import SCALE
from anymal_eval.report.trackers import Record
from anymal_eval.store.results import Measurement
from anymal_eval.store.stored import StoredRun

if TYPE_CHECKING:
    from anymal_eval.report.regression import Check


def run_record(run: StoredRun, step: int | None = None) -> Record:
    """The record of a scored run: each number over all examples of a task, and each headline.

    Args:
        run: as ``open_run`` returns it.
        step: of the training that made the model; None where there is none.
    """
    results, manifest = run.results, run.manifest
    config = {
        "run": results.run.name,
        **{key: value for key, value in manifest.identity.items() if value not in (None, "")},
        "tasks": ", ".join(manifest.tasks),
        "signatures": {item.task: item.signature for item in results.measurements if item.headline},
        "environment": dict(manifest.environment),
        "demo data": results.is_demo,
    }
    metrics: dict[str, float] = {}
    for item in results.measurements:
        if item.headline or item.group is None:
            metrics |= dict(_numbers(item))
    content = write_json_pretty(asdict(results))
    return Record(
        id=fingerprint.of({"run": manifest.run, "content": content, "step": step})[:16],
        name=results.run.name,
        config=config,
        metrics=metrics,
        step=step,
        files={"results.json": content},
    )


def check_record(found: "Check") -> Record:
    """The record of a comparison with a baseline: of each task the change and its interval; the verdicts as facts."""
    metrics: dict[str, float] = {}
    for item in found.tasks:
        if item.comparison is not None:
            name = _name("check", item.task, "change")
            both = item.comparison
            ends = {"": both.difference, ".ci_low": both.low, ".ci_high": both.high}
            metrics |= {f"{name}{end}": SCALE * value for end, value in ends.items()}
    verdicts = {item.task: item.word for item in found.tasks}
    config = {
        "run": found.run,
        "model": found.model,
        "against": found.against,
        "verdicts": verdicts,
        "demo data": found.is_demo,
    }
    return Record(
        id=fingerprint.of({"config": config, "metrics": metrics})[:16],
        name=f"{found.run} against {found.against}",
        config=config,
        metrics=metrics,
    )


def _numbers(item: Measurement) -> Iterator[tuple[str, float]]:
    output = item.output if item.output not in ("", item.metric) else ""
    name = _name(item.task, f"{item.metric}.{item.version}", output)
    if item.group is not None:
        name = _name(name, *(f"{key}.{value}" for key, value in item.group.items()))
    yield name, SCALE * item.value
    for end, value in (("ci_low", item.ci_low), ("ci_high", item.ci_high)):
        if value is not None:
            yield f"{name}.{end}", SCALE * value
    yield f"{name}.n", float(item.n)
    if item.headline:
        yield from ((_name(item.task, f"state.{state}"), float(count)) for state, count in item.states.items())


def _name(*parts: str) -> str:
    """A name that every tracker takes.

    >>> _name("vqav2", "vqa_accuracy.2021", ""), _name("my task", "a|b")
    ('vqav2/vqa_accuracy.2021', 'my_task/a_b')
    """
    return "/".join(re.sub(r"[^A-Za-z0-9._/-]", "_", part) for part in parts if part)
