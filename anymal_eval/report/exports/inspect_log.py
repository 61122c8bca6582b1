"""inspect_ai's ``.eval`` logs, one per task, written with inspect_ai's own API because the layout changes."""

from __future__ import annotations

import importlib
import importlib.util
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anymal_eval.errors import NeedsExtra
from anymal_eval.locks import temporary
from anymal_eval.paths import inside
from anymal_eval.records import Example
from anymal_eval.report.exports import Exported
from anymal_eval.store.atomic import write_files

LETTERS = string.ascii_uppercase


def inspect_logs(exported: Exported, folder: Path) -> list[Path]:
    """Write one log per task.

    Args:
        exported: the run.
        folder: the folder for the logs.

    Returns:
        The files.

    Raises:
        NeedsExtra: inspect_ai is not installed.
    """
    if importlib.util.find_spec("inspect_ai") is None:
        raise NeedsExtra("--format inspect needs inspect_ai: pip install 'anymal_eval[inspect]'")
    log: Any = importlib.import_module("inspect_ai.log")
    files = {}
    with temporary("export-") as made:
        for task in exported.tasks:
            entry = exported.entry(task)
            name = f"{exported.date:%Y-%m-%dT%H-%M-%S}_{task}-{entry.split}_{exported.slug}.eval"
            draft = inside(made, name)
            log.write_eval_log(_log(log, exported, task), str(draft))
            inside(folder, name)
            files[name] = draft.read_bytes()
    return write_files(folder, files)


def _log(log: Any, exported: Exported, task: str) -> Any:
    entry, rows = exported.entry(task), exported.run.scores(task)
    examples = exported.examples(task)
    when = exported.date.isoformat()
    name = f"{task} (demo)" if entry.data == "demo" else task
    return log.EvalLog(
        status="success",
        eval=log.EvalSpec(
            created=when,
            task=name,
            task_version=entry.version,
            task_args={"split": entry.split, "protocol": entry.protocol},
            dataset=log.EvalDataset(
                name=name, location=entry.data, samples=len(rows), sample_ids=[row["id"] for row in rows]
            ),
            model=f"anymal_eval/{exported.slug}",
            config=log.EvalConfig(limit=entry.limit),
            metadata={"fingerprint": exported.results.run.fingerprint, "reading": dict(entry.reading)},
        ),
        results=log.EvalResults(
            total_samples=len(rows),
            completed_samples=sum(row["state"] != "error" for row in rows),
            scores=_scores(log, exported, task),
        ),
        stats=log.EvalStats(started_at=when, completed_at=when),
        samples=[_sample(log, row, examples[row["id"]], exported.slug) for row in rows],
    )


def _scores(log: Any, exported: Exported, task: str) -> list[Any]:
    found: dict[str, dict[str, Any]] = {}
    kept: dict[str, dict[str, Any]] = {}
    for item in exported.results.measurements:
        if item.task != task:
            continue
        group = "".join(f" {name}={value}" for name, value in (item.group or {}).items())
        interval = {"ci_low": item.ci_low, "ci_high": item.ci_high, "ci_method": item.ci_method, "n": item.n}
        found.setdefault(item.rule, {})[f"{item.output}{group}"] = log.EvalMetric(
            name=f"{item.output}{group}", value=item.value, metadata=interval
        )
        kept[item.rule] = {"signature": item.signature}
    return [
        log.EvalScore(name=rule, scorer=rule, metrics=metrics, metadata=kept[rule]) for rule, metrics in found.items()
    ]


def _sample(log: Any, row: Mapping[str, Any], example: Example, model: str) -> Any:
    scorer: Any = importlib.import_module("inspect_ai.scorer")
    models: Any = importlib.import_module("inspect_ai.model")
    failed = row["state"] == "error"
    raw = row["raw"] if isinstance(row["raw"], str) else str(row["answer"])
    # inspect_ai names options by letter, whatever text the answer was read from.
    answer = LETTERS[row["choice"]] if row.get("choice") is not None else str(row["answer"])
    scores = {
        rule: scorer.Score(value=value, answer=answer, metadata={"state": row["state"]})
        for rule, value in row["scores"].items()
    }
    target = list(example.references or ())
    if example.label is not None and example.kind == "choice":
        target = [LETTERS[example.label]]
    return log.EvalSample(
        id=row["id"],
        epoch=1,
        input=example.question,
        choices=list(example.options) or None,
        target=target,
        metadata={"cluster": row["cluster"], "state": row["state"], **dict(example.groups)},
        output=models.ModelOutput.from_content(model=model, content="" if failed else raw),
        error=_error(str(row["answer"])) if failed else None,
        scores=scores,
    )


def _error(message: str) -> Any:
    errors: Any = importlib.import_module("inspect_ai._util.error")
    return errors.EvalError(message=message, traceback="", traceback_ansi="")
