"""Our metrics as modules of Hugging Face ``evaluate``. Importing this file takes seconds: it imports ``evaluate``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import evaluate
import numpy as np

from anymal_eval.metrics._metric import Metric, get
from anymal_eval.records import Answer, Example

Row = Mapping[str, Any]
INTEGER, NUMBER, TEXT = datasets.Value("int64"), datasets.Value("float64"), datasets.Value("string")


@dataclass(frozen=True)
class _Kind:
    """The columns that a metric reads, and how a row of them becomes our records."""

    columns: Mapping[str, Any]
    example: Callable[[str, Row], Example]
    answer: Callable[[Row], Answer]
    says: str


def _text_example(name: str, row: Row) -> Example:
    return Example(id=name, cluster=name, kind="caption", references=tuple(row["references"]))


def _choice_example(name: str, row: Row) -> Example:
    label = row["references"]
    options = tuple(map(str, range(max(label, row["predictions"]) + 1)))
    groups = {"type": row["types"]} if "types" in row else {}
    return Example(id=name, cluster=name, kind="choice", options=options, label=label, groups=groups)


def _choice_answer(row: Row) -> Answer:
    chosen = row["predictions"]
    return Answer(state="ok", choice=chosen) if chosen >= 0 else Answer(state="unparsable")


def _yes_no_example(name: str, row: Row) -> Example:
    return Example(id=name, cluster=name, kind="yes_no", options=("no", "yes"), label=row["references"])


_TEXT = _Kind(
    {"predictions": TEXT, "references": datasets.Sequence(TEXT)},
    _text_example,
    lambda row: Answer(state="ok", text=row["predictions"]),
    "predictions: texts; references: for each a list of texts",
)
_CHOICE = _Kind(
    {"predictions": INTEGER, "references": INTEGER},
    _choice_example,
    _choice_answer,
    "predictions: chosen options from 0, negative where none was chosen; references: right options",
)
_TYPED = _Kind(
    {**_CHOICE.columns, "types": TEXT}, _choice_example, _choice_answer, _CHOICE.says + "; types: of questions"
)
_YES_NO = _Kind(
    {"predictions": NUMBER, "references": INTEGER},
    _yes_no_example,
    lambda row: Answer(state="ok", p_yes=row["predictions"]),
    "predictions: P(yes) in [0, 1]; references: 1 for yes, 0 for no",
)
_KINDS = {
    "choice_accuracy": _CHOICE,
    "mean_type_accuracy": _TYPED,
    "roc_auc": _YES_NO,
    "yes_no_accuracy": _YES_NO,
}  # every other metric compares texts


class EvaluateMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """One of our metrics with the interface of ``evaluate``: ``add``, ``add_batch``, ``compute``, ``combine``."""

    def __init__(self, metric: str, **options: Any) -> None:
        """Store only the metric's name, so that the module can be pickled.

        Rows stay in memory by default: two modules with files in one cache folder would wait for each other's locks.
        """
        self._id = metric
        super().__init__(**({"keep_in_memory": options.get("num_process", 1) == 1} | options))
        self.info.module_name = self._metric.name

    @property
    def _metric(self) -> Metric:
        return get(self._id)

    @property
    def _kind(self) -> _Kind:
        return _KINDS.get(self._metric.name, _TEXT)

    def _info(self) -> Any:
        return evaluate.MetricInfo(
            description=f"{self._metric.id}: {self._metric.source}",
            citation="",
            inputs_description=self._kind.says,
            features=datasets.Features(dict(self._kind.columns)),
        )

    def _compute(self, *, predictions: Sequence[Any], references: Sequence[Any], **others: Any) -> dict[str, float]:
        """One value per output; NaN without rows. Extra columns are ignored: ``combine`` passes all to every module."""
        columns = {"predictions": predictions, "references": references} | others
        names = list(self._kind.columns)
        rows = [dict(zip(names, row, strict=True)) for row in zip(*(columns[name] for name in names), strict=True)]
        if not rows:
            return {output.name: float("nan") for output in self._metric.outputs}
        examples = [self._kind.example(str(at), row) for at, row in enumerate(rows)]
        stats = self._metric.statistics(examples, [self._kind.answer(row) for row in rows])
        groups = {name: np.array([example.groups[name] for example in examples]) for name in examples[0].groups}
        values = self._metric.reduce(stats, np.ones((1, len(rows))), groups)[0]
        return {output.name: float(value) for output, value in zip(self._metric.outputs, values, strict=True)}
