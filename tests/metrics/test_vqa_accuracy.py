"""VQA accuracy: the official rules to the last digit."""

import gzip
import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from anymal_eval.errors import BadDefinition
from anymal_eval.metrics import get
from anymal_eval.metrics._vqa_text import CONTRACTIONS, VIZWIZ_CONTRACTIONS, normalise_m4c, normalise_vqa
from anymal_eval.records import Answer, Example


def _examples(file: Path) -> list[Example]:
    rows = json.loads(file.read_text(encoding="utf-8"))["annotations"]
    return [_example(row["question_id"], [item["answer"] for item in row["answers"]]) for row in rows]


def _example(name: object, references: list[str]) -> Example:
    return Example(id=str(name), cluster=str(name), kind="short_answer", references=tuple(references))


def _scores(version: str, examples: list[Example], texts: list[str]) -> Any:
    answers = [Answer(state="ok" if text else "empty", text=text) for text in texts]
    return get(f"vqa_accuracy@{version}").statistics(examples, answers)[:, 0]


def _majority(examples: list[Example]) -> list[str]:
    return [Counter(example.references or ()).most_common(1)[0][0] for example in examples]


def test_normal_forms_equal_the_official_ones(golden: Path) -> None:
    pairs = 0
    with gzip.open(golden / "text" / "vqa_normalise_pairs.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            assert normalise_vqa(row["in"]) == row["vqa"]
            assert normalise_m4c(row["in"]) == row["m4c"]
            pairs += 1
    assert pairs == 23_913


def test_contractions_are_the_official_table(official_vqa: ModuleType) -> None:
    reachable = {wrong: right for wrong, right in official_vqa.CONTRACTIONS.items() if wrong == wrong.lower() != right}
    assert reachable == CONTRACTIONS
    straight = {wrong.replace("’", "'"): right.replace("’", "'") for wrong, right in VIZWIZ_CONTRACTIONS.items()}
    assert straight == CONTRACTIONS
    assert {right for right in VIZWIZ_CONTRACTIONS.values() if "'" in right} == {
        "ain't", "aren't", "can't", "could've", "couldn't", "we've", "where's", "who've"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("1,000", "1000"),
        ("two-story", "2 story"),
        ("N/A", "n"),
        ("a", ""),
        ("The", ""),
        ("...", ""),
        ("$5.99", "$5.99"),
        ("u.s.a.", "usa"),
        ("0.5", "0.5"),
        ("x.y", "xy"),
        ("10:30 a.m.", "10:30 am"),
        ("one way", "1 way"),
        ("." * 50, "." * 18),
        ("somebody'd", "somebodyd"),
        ("Im", "im"),
    ],
)
def test_the_quirks_of_the_normal_form(text: str, normal: str) -> None:
    assert normalise_vqa(text) == normal


def test_vqav2(golden: Path) -> None:
    examples = _examples(golden / "vqav2" / "vqav2_val_subset4084_annotations.json")
    expected = json.loads((golden / "vqav2" / "expected_subset4084.json").read_text())
    items = expected["seed42_raw"]["items"]
    scored = [example for example in examples if example.id in items]
    answers_of = [items[example.id]["pred"] for example in scored]
    assert len(scored) == 1_000
    for version, value in (("2021", 0.5044), ("2016", 0.5038)):
        scores = _scores(version, scored, answers_of)
        assert scores.mean() == pytest.approx(value, abs=1e-12)
        official = [items[example.id][f"acc_{version}"] / 100 for example in scored]
        np.testing.assert_allclose(scores, official, atol=1e-9)
    majority = _majority(examples)
    titled = [text.title() + "." for text in majority]
    assert _scores("2021", examples, majority).mean() == pytest.approx(0.96488737, abs=5e-9)
    assert _scores("2016", examples, majority).mean() == pytest.approx(0.96150833, abs=5e-9)
    assert _scores("2021", examples, titled).mean() == pytest.approx(0.64020568, abs=5e-9)
    assert _scores("2016", examples, titled).mean() == pytest.approx(0.96150833, abs=5e-9)


def test_textvqa(golden: Path) -> None:
    examples = _examples(golden / "textvqa" / "val_annotations_vqa_format.json")
    items = json.loads((golden / "textvqa" / "expected_llava15_13b.json").read_text())["items"]
    answers_of = [items[example.id]["pred"] for example in examples]
    scores = _scores("textvqa", examples, answers_of)
    assert scores.mean() == pytest.approx(0.61254, abs=1e-12)
    np.testing.assert_allclose(scores, [items[example.id]["m4c"] for example in examples], atol=1e-12)
    assert _scores("2021", examples, answers_of).mean() == pytest.approx(0.49094, abs=1e-12)
    for text, value in (("unanswerable", 0.0535), ("yes", 0.05462), ("", 0.00356)):
        assert _scores("textvqa", examples, [text] * len(examples)).mean() == pytest.approx(value, abs=1e-12)


def test_vizwiz(golden: Path) -> None:
    examples = _examples(golden / "vizwiz" / "val_annotations_vqa_format.json")
    expected = json.loads((golden / "vizwiz" / "expected_baselines.json").read_text())
    first = [(example.references or ("",))[0] for example in examples]
    answers_of = {"unanswerable": ["unanswerable"] * len(examples), "majority": _majority(examples), "first": first}
    for name, texts in answers_of.items():
        scores = _scores("vizwiz", examples, texts)
        assert 100 * scores.mean() == pytest.approx(expected[name]["overall"], abs=1e-9)
        np.testing.assert_allclose(scores, list(expected[name]["items"].values()), atol=1e-12)
    assert 100 * _scores("vizwiz-curly", examples, answers_of["majority"]).mean() == pytest.approx(94.010188, abs=5e-7)


def test_equal_to_a_second_implementation(official_vqa: ModuleType) -> None:
    """On answers made of everything the rules treat specially."""
    random = np.random.default_rng(0)
    words = [
        *official_vqa.MARKS,
        *official_vqa.NUMBERS,
        *list(official_vqa.CONTRACTIONS)[::7],
        "a",
        "The",
        "1,000",
        ".",
    ]
    words += ["Dog", "dog's", "0.5", "u.s.", "\n", "\t", " ", "", "yes", "No", "12", "café", "’"]

    def text() -> str:
        parts = [words[at] for at in random.integers(0, len(words), random.integers(0, 4))]
        return random.choice(["", " "]).join(parts) if parts else ""

    references, answers = [], []
    for _ in range(2_000):
        pool = [text() for _ in range(int(random.integers(1, 4)))]
        references.append([pool[at] for at in random.integers(0, len(pool), 10)])
        answers.append(str(random.choice([*pool, text()])))
    examples = [_example(at, given) for at, given in enumerate(references)]
    before = repr(examples)
    for version in ("2021", "2016", "textvqa", "vizwiz"):
        ours = _scores(version, examples, answers)
        np.testing.assert_allclose(ours, official_vqa.score(version, references, answers), atol=1e-12)
        np.testing.assert_array_equal(ours, _scores(version, examples, answers))
    assert repr(examples) == before


@pytest.mark.parametrize("version", ["2021", "2016", "textvqa", "vizwiz"])
def test_missing_references_are_named(version: str) -> None:
    one = Example(id="q7", cluster="1", kind="short_answer")
    with pytest.raises(BadDefinition, match="'q7'"):
        get(f"vqa_accuracy@{version}").statistics([one], [Answer(state="ok", text="x")])


def test_textvqa_wants_ten_annotators() -> None:
    with pytest.raises(BadDefinition, match="'q7' has 9 of the 10"):
        _scores("textvqa", [_example("q7", ["x"] * 9)], ["x"])


def test_as_many_answers_as_examples() -> None:
    with pytest.raises(ValueError, match="2 examples but 1"):
        _scores("2021", [_example("1", ["x"] * 10)] * 2, ["x"])
