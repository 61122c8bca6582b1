"""Hugging Face: ``.eval_results/*.yaml`` for a model's repository, and the metadata of its model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anymal_eval import catalog
from anymal_eval.errors import NotInCatalog, WrongUse
from anymal_eval.report.exports import Exported, size
from anymal_eval.report.run_table import SCALE, interval_text
from anymal_eval.store.results import Measurement
from anymal_eval.task import Task

CARD = "model_card_metadata.yaml"
# The hub's task types: huggingface.co/tasks. It has none for motion sensors, and none for sounds in, text out but
# audio-text-to-text.
TYPES = {
    ("image", "caption"): "image-to-text",
    ("image", "short_answer"): "visual-question-answering",
    ("image", "choice"): "visual-question-answering",
    ("image", "yes_no"): "image-classification",
    ("audio", "caption"): "audio-text-to-text",
    ("audio", "short_answer"): "audio-text-to-text",
    ("audio", "choice"): "audio-text-to-text",
    ("audio", "yes_no"): "audio-classification",
    ("video", "caption"): "video-text-to-text",
    ("video", "short_answer"): "video-text-to-text",
    ("video", "choice"): "video-text-to-text",
    ("video", "yes_no"): "video-classification",
}
OTHER_TYPE = "any-to-any"


def eval_results(exported: Exported) -> tuple[dict[str, str], list[str]]:
    """One file per task under ``.eval_results/``, and ``model_card_metadata.yaml`` for the head of the README.md.

    Values are x100, as on model cards (CIDEr too), and the notes state this.

    Returns:
        The files, and messages about what is left out.

    Raises:
        WrongUse: no task of the run may be published under a benchmark's name.
        IncompleteRun: the run has errors.
    """
    files, messages, cards = {}, [], []
    for task in exported.tasks:
        item, entry = exported.headline(task), exported.entry(task)
        exported.rows(task, whole=True)
        dataset = entry.source.get("id") or _hub_id(task)
        if item.is_demo or not dataset:
            why = "demo data are not the benchmark" if item.is_demo else "its data have no copy on the hub to name"
            messages.append(f"{task}: left out: {why}")
            continue
        files[f".eval_results/{task}.yaml"] = _yaml([_entry(exported, item, dataset)])
        cards.append(_card(item, dataset, task))
    if not files:
        raise WrongUse(f"nothing to export: {'; '.join(messages)}")
    model = {"name": exported.results.run.model, "results": cards}
    files[CARD] = _yaml({"model-index": [model]})
    return files, messages


def proposed(files: Mapping[str, str], card: str) -> dict[str, bytes]:
    """What a pull request to a model's repository holds: the results, and its model card with them in its metadata.

    Args:
        files: as :func:`eval_results` returns them.
        card: the text of the repository's ``README.md``; empty where there is none.

    Raises:
        WrongUse: the metadata of the card cannot be read.
    """
    import yaml
    from huggingface_hub import ModelCard
    from huggingface_hub.repocard_data import model_index_to_eval_results

    try:
        made: Any = ModelCard(card or "---\n{}\n---\n")
    except (ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise WrongUse(f"the metadata of the repository's README.md: {' '.join(str(error).split()):.200}") from None
    name, found = model_index_to_eval_results(yaml.safe_load(files[CARD])["model-index"])
    kept = [each for each in made.data.eval_results or [] if not any(new.is_equal_except_value(each) for new in found)]
    made.data.model_name = getattr(made.data, "model_name", None) or name
    made.data.eval_results = kept + found
    texts = {name: text for name, text in files.items() if name != CARD} | {"README.md": str(made)}
    return {name: text.encode() for name, text in texts.items()}


def _entry(exported: Exported, item: Measurement, dataset: str) -> dict[str, Any]:
    named: dict[str, Any] = {"id": dataset, "task_id": item.task}
    revision = exported.entry(item.task).source.get("revision")
    if revision:
        named["revision"] = revision
    return {
        "dataset": named,
        "value": round(SCALE * item.value, 4),
        "date": exported.date.date().isoformat(),
        "notes": _notes(item),
    }


def _card(item: Measurement, dataset: str, task: str) -> dict[str, Any]:
    known = catalog.tasks().get(task, "TASK", Task)
    return {
        "task": {"type": TYPES.get((known.media, known.kind), OTHER_TYPE)},
        "dataset": {"name": task, "type": dataset, "split": item.split},
        "metrics": [{"type": item.metric, "name": item.label, "value": round(SCALE * item.value, 4)}],
    }


def _notes(item: Measurement) -> str:
    interval = "no interval"
    if item.ci_low is not None and item.ci_high is not None:
        interval = f"95 % interval {interval_text(item.ci_low, item.ci_high)} ({item.ci_method})"
    group = "".join(f", {name}={value}" for name, value in (item.group or {}).items())
    parts = [
        f"anymal_eval, {item.label} x100 on {item.split}{group}",
        f"protocol {item.protocol}",
        size(item),
        interval,
        item.signature,
    ]
    return "; ".join(parts)


def _hub_id(task: str) -> str:
    try:
        return getattr(catalog.tasks().get(task, "TASK", Task).hub, "id", "")
    except NotInCatalog:
        return ""  # a task file of the user's own, which is not available now


def _yaml(data: object) -> str:
    import yaml

    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000))
