"""Metrics: per-example statistics, and one weighted ``reduce`` that gives values, intervals and tests.

A metric file needs only the exports of this package: ``Metric``, ``Output``, ``weighted_mean``.
"""

from typing import Any

from anymal_eval.errors import NeedsExtra
from anymal_eval.metrics._captions import use_ptb
from anymal_eval.metrics._java import java_programs
from anymal_eval.metrics._metric import (
    Floats,
    Groups,
    Metric,
    Output,
    get,
    missing_requirement,
    text_array,
    weighted_mean,
)
from anymal_eval.metrics._shared import once, shared_work
from anymal_eval.metrics._vqa_text import normalise_m4c

__all__ = [
    "Floats",
    "Groups",
    "Metric",
    "Output",
    "as_evaluate",
    "get",
    "java_programs",
    "missing_requirement",
    "normalise_m4c",
    "once",
    "shared_work",
    "text_array",
    "use_ptb",
    "weighted_mean",
]


def as_evaluate(name: str, **options: Any) -> Any:
    """The metric ``name`` or ``name@version`` as a module of Hugging Face ``evaluate``, importing that package.

    Args:
        name: As in a task file, ``vqa_accuracy@2021``.
        options: What ``evaluate.Metric`` takes (``num_process``, ``process_id``, ``experiment_id`` ...).

    Raises:
        NotInCatalog: no such metric.
        NeedsExtra: it cannot be computed here; the message says why.
    """
    if why := missing_requirement(get(name)):
        raise NeedsExtra(f"{name}: {why}")
    from anymal_eval.metrics._evaluate import EvaluateMetric

    return EvaluateMetric(name, **options)
