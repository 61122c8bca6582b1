"""Every metric as a module of Hugging Face ``evaluate``, offline."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anymal_eval import catalog
from anymal_eval.errors import NeedsExtra, NotInCatalog
from anymal_eval.metrics import as_evaluate, get, missing_requirement

TEXTS = {"predictions": ["a dog runs", "cat"], "references": [["a dog runs"] * 10, ["a dog", "cat"] * 5]}
CHOICES = {"predictions": [0, -1], "references": [0, 1]}
COLUMNS: dict[str, dict[str, Any]] = {
    "choice_accuracy": CHOICES,
    "mean_type_accuracy": CHOICES | {"types": ["a", "b"]},
    "roc_auc": {"predictions": [0.1, 0.9], "references": [0, 1]},
    "yes_no_accuracy": {"predictions": [0.1, 0.9], "references": [0, 1]},
}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    evaluate = pytest.importorskip("evaluate")
    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", str(tmp_path))


@pytest.mark.parametrize("name", catalog.metrics().names())
def test_every_metric_is_a_module(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import evaluate

    if why := missing_requirement(get(name)):
        with pytest.raises(NeedsExtra, match=name):
            as_evaluate(name)
        pytest.skip(f"not computed: {why}")
    if name == "meteor":  # the jar takes seconds to start, twice here; what it counts is tested elsewhere
        counts = " ".join(["2 4 1 1", "1 1 1 1", "0 0 0 0 " * 3, "1 2 2"])
        monkeypatch.setattr("anymal_eval.metrics._java.Programs.answers", lambda *_: lambda: [counts, counts])
    columns = COLUMNS.get(name, TEXTS)
    module = as_evaluate(name)
    assert isinstance(module, evaluate.EvaluationModule)
    assert module.name == name
    module.add_batch(**{key: column[:1] for key, column in columns.items()})
    module.add(**{key: column[1] for key, column in columns.items()})
    values = module.compute()
    assert list(values) == [output.name for output in get(name).outputs]
    assert pickle.loads(pickle.dumps(module)).compute(**columns) == values  # noqa: S301
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_a_version() -> None:
    columns = {"predictions": ["Yes."], "references": [["yes"] * 10]}
    assert as_evaluate("vqa_accuracy@2021").compute(**columns) == {"vqa_accuracy": 0.0}
    assert as_evaluate("vqa_accuracy@2016").compute(**columns) == {"vqa_accuracy": 1.0}
    with pytest.raises(NotInCatalog, match="vqa_accuracy@2016"):
        as_evaluate("vqa_accuracy@1999")


def test_combine() -> None:
    import evaluate

    texts = evaluate.combine([as_evaluate("bleu"), as_evaluate("cider")])
    texts.add_batch(**TEXTS)
    assert {"bleu_1", "bleu_4", "cider"} <= texts.compute().keys()
    choices = evaluate.combine([as_evaluate("choice_accuracy"), as_evaluate("mean_type_accuracy")])
    columns = CHOICES | {"types": ["a", "b"]}
    assert choices.compute(**columns) == {"choice_accuracy": 0.5, "mean_type_accuracy": 0.5}


def test_two_at_once_and_again() -> None:
    one, two = as_evaluate("choice_accuracy"), as_evaluate("choice_accuracy")
    one.add(predictions=0, references=0)
    two.add(predictions=1, references=0)
    assert (one.compute(), two.compute()) == ({"choice_accuracy": 1.0}, {"choice_accuracy": 0.0})
    assert one.compute(**CHOICES) == {"choice_accuracy": 0.5}
    assert np.isnan(one.compute(predictions=[], references=[])["choice_accuracy"])


def test_in_a_trainer(tmp_path: Path) -> None:
    import torch
    from transformers import Trainer, TrainingArguments

    class Chooser(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))

        def forward(self, x: Any, labels: Any) -> dict[str, Any]:
            logits = x * self.scale
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    module = as_evaluate("choice_accuracy")
    rows = [{"x": torch.eye(3)[at], "labels": label} for at, label in enumerate([0, 1, 0])]
    trainer = Trainer(
        model=Chooser(),
        args=TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[], disable_tqdm=True),
        eval_dataset=rows,
        compute_metrics=lambda predicted: module.compute(
            predictions=np.argmax(predicted.predictions, -1), references=predicted.label_ids
        ),
    )
    assert trainer.evaluate()["eval_choice_accuracy"] == pytest.approx(2 / 3)
