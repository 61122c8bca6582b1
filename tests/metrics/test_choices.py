"""Choices: accuracy, means of types, ROC AUC, and the rules that read a choice from text."""

import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from anymal_eval.errors import BadDefinition
from anymal_eval.metrics import get
from anymal_eval.protocols.extraction import NAMES, RULES, TEXT_RULES, extract
from anymal_eval.records import Answer, Example


def _value(name: str, examples: list[Example], answers: list[Answer]) -> float:
    metric = get(name)
    stats = metric.statistics(examples, answers)
    groups = {"type": np.array([example.groups.get("type", "") for example in examples])}
    return float(metric.reduce(stats, np.ones((1, len(stats))), groups)[0, 0])


def _choice(name: object, options: int, label: int | None, kind: str = "") -> Example:
    texts = tuple(f"option {at}" for at in range(options))
    return Example(id=str(name), cluster="1", kind="choice", options=texts, label=label, groups={"type": kind})


def _picked(choice: int | None) -> Answer:
    return Answer(state="unparsable" if choice is None else "ok", choice=choice)


@pytest.mark.parametrize("label", [None, -1, 4])
def test_labels_outside_the_options_are_named(label: int | None) -> None:
    with pytest.raises(BadDefinition, match="'q7'"):
        _value("choice_accuracy", [_choice("q7", 4, label)], [_picked(1)])


def test_scienceqa(golden: Path) -> None:
    gold = json.loads((golden / "scienceqa" / "test_gold.json").read_text())
    examples = {name: _choice(name, row["n_choices"], row["answer"]) for name, row in gold.items()}
    parts = {
        "image": [name for name, row in gold.items() if row["has_image"]],
        "text": [name for name, row in gold.items() if row["has_text"]],
        "none": [name for name, row in gold.items() if not row["has_image"] and not row["has_text"]],
        "all": list(gold),
    }
    published = {
        "gpt3": {"image": 67.4269, "text": 74.6823, "none": 79.9303, "all": 75.1710},
        "llava_13b_v0": {"image": 88.0020, "text": 89.4917, "none": 90.6620, "all": 90.9220},
    }
    for system, values in published.items():
        predicted = json.loads((golden / "scienceqa" / f"predictions_{system}.json").read_text())["results"]
        for part, value in values.items():
            answers = [_picked(RULES["index"](str(predicted[name]), gold[name]["n_choices"])) for name in parts[part]]
            got = 100 * _value("choice_accuracy", [examples[name] for name in parts[part]], answers)
            assert got == pytest.approx(value, abs=5e-5)


def test_scienceqa_read_from_text(golden: Path) -> None:
    gold = json.loads((golden / "scienceqa" / "test_gold.json").read_text())
    examples = [_choice(name, row["n_choices"], row["answer"]) for name, row in gold.items()]
    for system, rule, right in (("gpt3", "sqa-2022", 3061), ("llava_13b_v0", "llava-2023", 3855)):
        predicted = json.loads((golden / "scienceqa" / f"predictions_{system}.json").read_text())["outputs"]
        answers = [_picked(RULES[rule](predicted[name], row["n_choices"])) for name, row in gold.items()]
        assert round(_value("choice_accuracy", examples, answers) * len(examples)) == right


def test_nextqa_by_type(golden: Path) -> None:
    predicted = json.loads((golden / "nextqa" / "predictions_hga.json").read_text())
    right: defaultdict[str, float] = defaultdict(float)
    counted: defaultdict[str, int] = defaultdict(int)
    with (golden / "nextqa" / "val.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            name = f"{row['video']}_{row['qid']}"
            score = _value(
                "choice_accuracy", [_choice(name, 5, int(row["answer"]))], [_picked(predicted[name]["prediction"])]
            )
            for group in (row["type"][0], "all"):
                right[group] += score
                counted[group] += 1
    assert {group: round(100 * right[group] / counted[group], 2) for group in counted} == {
        "C": 46.26, "T": 50.74, "D": 59.33, "all": 49.74
    }  # fmt: skip


def test_how2qa(golden: Path) -> None:
    predicted = json.loads((golden / "how2qa" / "how2qa_val_predictions.json").read_text())
    rows = [json.loads(line) for line in (golden / "how2qa" / "how2qa_val_release.jsonl").read_text().splitlines()]
    examples = [_choice(row["qid"], 4, row["answer_idx"]) for row in rows]
    answers = [_picked(predicted[str(row["qid"])]) for row in rows]
    assert _value("choice_accuracy", examples, answers) == pytest.approx(0.7313001605136437, abs=1e-15)


def test_types_without_weight_are_left_out() -> None:
    metric = get("mean_type_accuracy")
    stats, groups = np.array([[1.0], [0.0], [0.0]]), {"type": np.array(["a", "b", "b"])}
    weights = np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    values = metric.reduce(stats, weights, groups)
    np.testing.assert_array_equal(values[:, 0], [0.5, 1.0, 0.0, np.nan])
    with pytest.raises(BadDefinition, match="type"):
        metric.reduce(stats, weights, {})


def _memes(labels: list[int], scores: list[float]) -> tuple[list[Example], list[Answer]]:
    examples = [
        Example(id=str(at), cluster=str(at), kind="yes_no", options=("no", "yes"), label=label)
        for at, label in enumerate(labels)
    ]
    return examples, [Answer(state="ok", p_yes=score) for score in scores]


def test_hateful_memes(golden: Path) -> None:
    lines = (golden / "hateful_memes" / "dev_seen_labels_and_scores_notext.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    examples, answers = _memes([row["label"] for row in rows], [row["pred_hate"]["hateful"] for row in rows])
    assert len(rows) == 504
    assert _value("roc_auc", examples, answers) == pytest.approx(0.7565887931, abs=5e-11)
    assert _value("yes_no_accuracy", examples, answers) == pytest.approx(0.6468253968, abs=5e-11)


def test_auc_equals_sklearn() -> None:
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(3)
    metric = get("roc_auc")
    for decimals in (1, 2, 16):
        labels, scores = random.integers(0, 2, 80), random.random(80).round(decimals)
        stats = metric.statistics(*_memes(labels.tolist(), scores.tolist()))
        weights = random.integers(0, 4, (20, 80)).astype(float)
        expected = [roc_auc_score(labels, scores, sample_weight=weight) for weight in weights]
        np.testing.assert_allclose(metric.reduce(stats, weights, {})[:, 0], expected, atol=1e-12)


def test_auc_of_one_class_and_of_nothing_is_nan() -> None:
    metric = get("roc_auc")
    stats = metric.statistics(*_memes([1, 1, 0], [0.2, 0.3, 0.4]))
    assert np.isnan(metric.reduce(stats, np.array([[1.0, 1.0, 0.0]]), {})).all()
    assert np.isnan(metric.reduce(stats[:0], np.ones((2, 0)), {})).all()


def test_auc_needs_p_yes_but_not_of_errors() -> None:
    examples, answers = _memes([1, 0], [0.2, 0.3])
    stats = get("roc_auc").statistics(examples, [answers[0], Answer(state="error")])
    assert np.isnan(stats[1, 0])
    with pytest.raises(BadDefinition, match=r"example '1'.*P\(yes\)"):
        get("roc_auc").statistics(examples, [answers[0], Answer(state="ok", text="no")])
    with pytest.raises(BadDefinition, match="label 2"):
        get("roc_auc").statistics([_choice("1", 4, 2)], [answers[0]])


@pytest.mark.parametrize(
    ("rule", "text", "options", "choice"),
    [
        ("index", "0", 4, 0),
        ("index", " 3\n", 4, 3),
        ("index", "4", 4, None),
        ("index", "-1", 4, None),
        ("index", "1.0", 4, None),
        ("index", "", 4, None),
        ("index", "²", 4, None),
        ("letter", "B", 4, 1),
        ("letter", "b", 4, 1),
        ("letter", "(b)", 4, 1),
        ("letter", "B)", 4, 1),
        ("letter", "B.", 4, 1),
        ("letter", "(B).", 4, None),
        ("letter", "(B", 4, None),
        ("letter", "E", 4, None),
        ("letter", "Yes", 4, None),
        ("letter", "B dog", 4, None),
        ("letter", "", 4, None),
        ("sqa-2022", "The answer is C.", 3, 2),
        ("sqa-2022", "The answer is C", 3, None),
        ("sqa-2022", "The answer is C!", 3, 2),
        ("sqa-2022", "The answer is D.", 3, None),
        ("sqa-2022", "The answer is A. The answer is B.", 3, None),
        ("sqa-2022", "the answer is A.", 3, None),
        ("sqa-2022", "A", 3, None),
        ("llava-2023", "A", 3, 0),
        ("llava-2023", "E", 3, None),
        ("llava-2023", "F", 26, None),
        ("llava-2023", "B. because", 3, 1),
        ("llava-2023", "B.", 3, None),
        ("llava-2023", "B) because", 3, None),
        ("llava-2023", "So it is. The answer is B.", 3, 1),
        ("llava-2023", "", 3, None),
    ],
)
def test_extraction(rule: str, text: str, options: int, choice: int | None) -> None:
    assert RULES[rule](text, options) == choice
    assert extract(rule, text, ("x",) * options) == choice


@pytest.mark.parametrize(
    ("text", "choice"), [("A dog", 1), (" a DOG. ", 1), ("dog", None), ("", None), ("same", None), ("a cat..", None)]
)
def test_extraction_by_text(text: str, choice: int | None) -> None:
    assert extract("text", text, ("a cat", "a dog.", "same", "Same")) == choice
    assert set(NAMES) == {*RULES, *TEXT_RULES}
