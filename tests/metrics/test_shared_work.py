"""What metrics make of the same examples is made once while a task is scored, and changes no score."""

import random

import numpy as np
import pytest

from anymal_eval import metrics
from anymal_eval.metrics import _reference_texts
from anymal_eval.records import Answer, Example

WORDS = ("yes", "no", "Yes.", "two", "2", "the dog", "a dog", "don't", "dont", "1,000", "red\n", "")


@pytest.fixture(scope="module")
def rows() -> tuple[tuple[Example, ...], list[Answer]]:
    drawn = random.Random(3)
    examples = tuple(
        Example(
            id=str(number),
            cluster=str(number),
            kind="short_answer",
            references=tuple(drawn.choices(WORDS, k=10) if number % 3 else [drawn.choice(WORDS)] * 10),
        )
        for number in range(300)
    )
    return examples, [Answer(state="ok", text=drawn.choice(WORDS)) for _ in examples]


def test_references_are_numbered_once(
    rows: tuple[tuple[Example, ...], list[Answer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    class Counted(_reference_texts.ReferenceTexts):
        def __init__(self, examples: tuple[Example, ...]) -> None:
            made.append(len(examples))
            super().__init__(examples)

    monkeypatch.setattr(_reference_texts, "ReferenceTexts", Counted)
    versions = ("2021", "2016", "textvqa", "vizwiz", "vizwiz-curly")
    alone = [metrics.get(f"vqa_accuracy@{version}").statistics(*rows) for version in versions]
    assert made == [300] * 5
    with metrics.shared_work():
        shared = [metrics.get(f"vqa_accuracy@{version}").statistics(*rows) for version in versions]
        assert made == [300] * 6
        metrics.get("vqa_accuracy").statistics(rows[0][:10], rows[1][:10])
    assert made == [300] * 6 + [10]
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_example_scores_as_it_does_among_others(rows: tuple[tuple[Example, ...], list[Answer]]) -> None:
    for version in ("2021", "2016", "vizwiz"):
        metric = metrics.get(f"vqa_accuracy@{version}")
        together = metric.statistics(*rows)
        alone = [metric.statistics([one], [answer])[0] for one, answer in zip(*rows, strict=True)]
        np.testing.assert_array_equal(together, alone)
        assert 0 < together.mean() < 1
