"""Every task from all its sources: answers made of the references, read and scored, reach the task's ceiling.

The ceilings are worked out here by other code than ours: choices and memes by counting, agreement by its formula
over a normal form of three lines, captions by pycocoevalcap's own CIDEr over the words of a regular expression.
"""

import json
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from anymal_eval import catalog, metrics, protocols
from anymal_eval.evaluation.generate import task_entry
from anymal_eval.evaluation.requests import build_requests
from anymal_eval.models import choose_model
from anymal_eval.protocols.prompting import build_request
from anymal_eval.protocols.reading import Reading, reading_for
from anymal_eval.records import Example, Request, Response
from anymal_eval.scoring.score import Scores, score
from anymal_eval.sources.dataset import TaskDataset
from anymal_eval.sources.load import load_examples
from anymal_eval.task import Task
from tests.conftest import DEMO_TASKS, SHIPPED, TASKS, golden_cases

CASES = [(name, number, case) for name in TASKS for number, case in enumerate(golden_cases(name))]
PROTOCOLS = catalog.protocols().names()
Load = Callable[[str, dict[str, Any], Path], list[Example]]


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache for the demo worlds of all tests of this file."""
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path_factory.getbasetemp() / "plumbing-world"))


def task_of(name: str) -> Task:
    """A task without the metrics that start Java: METEOR has golden values of its own in ``tests/metrics``."""
    task = catalog.tasks().get(name, "TASK", Task)
    kept = tuple(each for each in task.metrics if "java" not in metrics.get(each).needs)
    return replace(task, metrics=kept)


def demo(name: str, examples: int) -> list[Example]:
    task = task_of(name)
    return load_examples(task, task.split(None), "demo", Path("none"), demo_examples=examples)


def best(example: Example) -> str:
    """The best answer that the references allow: for captions the first, for questions the commonest."""
    if example.references is None:
        return "anything"
    if example.kind == "short_answer":
        counted = Counter(map(normal, example.references))
        return max(example.references, key=lambda text: counted[normal(text)])
    return example.references[0]


def answer(example: Example, request: Request, reading: Reading) -> Response:
    """A response as a model gives it that knows the references: ranked where candidates are, else in words."""
    right = example.label or 0
    if request.candidates:
        options = len(example.options)
        scores = tuple(0.0 if at % options == right else -9.0 for at in range(len(request.candidates)))
        return Response(id=example.id, option_scores=scores, finish="ranked")
    text = best(example)
    if example.kind == "choice":
        letter = string.ascii_uppercase[right]
        alone = ("letter", "letter-text", "chat", "llava-2023")
        text = {**dict.fromkeys(alone, letter), "sqa-2022": f"The answer is {letter}.", "index": str(right),
                "text": example.options[right]}[reading.extract]  # fmt: skip
    if reading.unwrap == "json-caption":
        text = f"Sure! {json.dumps({'caption': text})}"
    return Response(id=example.id, answer=text, finish="stop")


def replayed(task: Task, split: str, examples: Sequence[Example], protocol: str = protocols.DEFAULT) -> Scores:
    """Each example answered from its own references, read and scored."""
    model = choose_model("constant", {}).load()
    words = protocols.get(protocol)
    reading = reading_for(task, model.wording, words)
    responses = [answer(item, build_request(item, task, model.wording, words), reading) for item in examples]
    return scored(task, split, examples, responses, protocol)


def scored(
    task: Task, split: str, examples: Sequence[Example], found: Sequence[Response], protocol: str = protocols.DEFAULT
) -> Scores:
    dataset = TaskDataset(
        task=task, split=task.split(split), examples=tuple(examples), all_ids=[item.id for item in examples],
        fingerprint="x",
    )  # fmt: skip
    model = choose_model("constant", {}).load()
    entry = task_entry(build_requests(dataset, model.wording, protocols.get(protocol), "none"))
    return score(task, entry, examples, {response.id: response for response in found})


def values(scores: Scores) -> dict[str, float]:
    """Over all examples, by metric and output."""
    return {f"{row['metric']}@{row['version']} {row['output']}": row["value"] for row in scores.measurements
            if row["group"] is None}  # fmt: skip


def headline(scores: Scores) -> float:
    return cast(float, next(row["value"] for row in scores.measurements if row["headline"]))


def normal(text: str) -> str:
    words = re.sub(r"[^a-z0-9' ]", " ", text.lower()).split()
    numbers = dict(zip(("none", "one", "two", "three", "four", "five", "six"), "0123456", strict=True))
    return " ".join(numbers.get(word, word) for word in words if word not in ("a", "an", "the"))


def agreement_ceiling(examples: Sequence[Example]) -> float:
    """The mean of the best agreement that any answer could reach: each annotator left out in turn."""
    scores = []
    for example in examples:
        texts = [normal(reference) for reference in example.references or ()]
        found = [sum(min(1.0, (texts[:out] + texts[out + 1 :]).count(one) / 3) for out in range(len(texts)))
                 for one in set(texts)]  # fmt: skip
        scores.append(max(found) / len(texts))
    return sum(scores) / len(scores)


def tokens(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", text.lower()))


def official_cider(examples: Sequence[Example]) -> float:
    """What pycocoevalcap gives to each example's first reference."""
    from pycocoevalcap.cider.cider import Cider

    everything = {item.id: [tokens(one) for one in item.references or ()] for item in examples}
    first = {name: [captions[0]] for name, captions in everything.items()}
    value, _ = Cider().compute_score(everything, first)
    return float(value)


def check_ceiling(task: Task, examples: Sequence[Example], scores: Scores) -> None:
    assert {given.state for given in scores.answers} == {"ok"}
    found = values(scores)
    match task.kind:
        case "choice":
            assert set(found.values()) == {1.0} == {headline(scores)}
        case "yes_no" if len({example.label for example in examples}) == 2:
            assert set(found.values()) == {1.0}
            assert task.name not in SHIPPED or found == {"roc_auc@1 roc_auc": 1.0}
        case "yes_no":
            assert all("one class" in row["why"] for row in scores.not_computed)
            assert task.name not in SHIPPED or scores.not_computed
        case "short_answer":
            # Where annotators disagree, no answer agrees with all; by any other rule the reference is right.
            for name, value in found.items():
                ceiling = agreement_ceiling(examples) if name.startswith("vqa_accuracy@") else 1.0
                assert value == pytest.approx(ceiling, abs=1e-12)
        case "caption":
            assert task.name not in SHIPPED or {"rouge_l@1 rouge_l", "cider@1 cider"} <= found.keys()
            assert found.get("rouge_l@1 rouge_l", 1.0) == pytest.approx(1.0, abs=1e-12)
            assert found.get("bleu@1 bleu_1", 1.0) == pytest.approx(1.0, abs=1e-9)
            if "cider@1 cider" in found:
                assert found["cider@1 cider"] == pytest.approx(official_cider(examples), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "case"),
    [(name, case) for name, _, case in CASES],
    ids=[f"{name}-{case['source']}-{number}" for name, number, case in CASES],
)
def test_references_reach_the_ceiling_from_official_files_and_the_hub(
    name: str, case: dict[str, Any], load: Load, tmp_path: Path
) -> None:
    task = task_of(name)
    examples = load(name, case, tmp_path)
    scores = replayed(task, case["split"], examples)
    if examples[0].references is None:
        assert scores.measurements == ()
        whys = {row["why"] for row in scores.not_computed}
        assert all("no public labels" in why for why in whys), whys
        assert len(scores.not_computed) == len(task.metrics)
    else:
        check_ceiling(task, examples, scores)


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", DEMO_TASKS)
def test_references_reach_the_ceiling_on_demo_data(name: str, protocol: str) -> None:
    task, examples = task_of(name), demo(name, 24)
    check_ceiling(task, examples, replayed(task, task.splits[0].name, examples, protocol))


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("name", [name for name in DEMO_TASKS if task_of(name).kind == "caption"])
def test_other_peoples_captions_score_less(name: str) -> None:
    task, examples = task_of(name), demo(name, 24)
    split = task.splits[0].name
    full = values(replayed(task, split, examples))
    neighbours = examples[1:] + examples[:1]
    wrong = [Response(id=item.id, answer=best(other)) for item, other in zip(examples, neighbours, strict=True)]
    less = values(scored(task, split, examples, wrong))
    assert all(less[key] < full[key] for key in full), (less, full)
