"""One line that says by which rule a number was made; two numbers may be compared when it is equal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from anymal_eval.metrics import Metric
from anymal_eval.task import Task

if TYPE_CHECKING:
    from anymal_eval.store.manifest import TaskEntry


def signature(metric: Metric, task: Task, entry: "TaskEntry", context: str) -> str:
    """Metric and version, protocol, split, data, cleaning and extraction, and what the metric's rows share.

    ``context`` is the metric's own (CIDEr: the digest of its document frequencies).
    """
    parts = [metric.id, f"protocol {entry.protocol}", f"{entry.data} {entry.split}", *_reading(task, entry.reading)]
    if entry.limit is not None:
        parts.append(f"limit {entry.limit}")
    if entry.subset:
        parts.append(f"subset {entry.subset}")
    if entry.ablate != "none":
        parts.append(entry.ablate)
    if context:
        parts.append(context)
    if entry.remark:
        parts.append(entry.remark)
    return " | ".join(parts)


def _reading(task: Task, reading: Mapping[str, Any]) -> list[str]:
    parts = [f"clean {reading['clean']}"]
    if task.kind == "choice":
        parts.append(f"extract {reading['extract']}")
    if reading["unwrap"] != "none":
        parts.append(f"unwrap {reading['unwrap']}")
    if reading["length_normalise"]:
        parts.append("by token")
    return parts
