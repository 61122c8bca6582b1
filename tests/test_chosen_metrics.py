"""``--metrics`` picks a subset; programs in Java run beside the other metrics, one for all tasks of a run."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anymal_eval import metrics
from anymal_eval.errors import NeedsExtra, WrongUse
from anymal_eval.evaluation import during_training
from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.evaluation.plan import make_plan
from anymal_eval.evaluation.run import rescore, run
from anymal_eval.metrics import _java, rouge_l
from anymal_eval.records import Answer, Example

# Answers each line of METEOR's protocol by the counts of a caption that matches in one word, or ends at a given word.
PROGRAM = f"""#!{sys.executable}
import os, sys
with open(os.environ["JAVA_LOG"], "a") as log:
    print("start", file=log, flush=True)
    for line in sys.stdin.buffer:
        text = line.decode().rsplit("|||", 1)[1].strip()
        if text == "crash":
            sys.exit("it broke")
        print("line", file=log, flush=True)
        print(len(text.split()), 4, 0, 0, 1, 1, *[0] * 14, 1, 1, 1, flush=True)
"""


@pytest.fixture
def java_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_java: None) -> Path:
    """Where a stand-in for Java notes that it was started, and every line that it reads."""
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("JAVA_LOG", str(tmp_path / "java.log"))
    return tmp_path / "java.log"


def _results(root: Path) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = json.loads((root / "results.json").read_text("utf-8"))
    return found


def test_a_subset_is_computed_and_scoring_adds_the_rest(tmp_path: Path, java_log: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    plan: dict[str, Any] = {"tasks": "coco,audiocaps", "model": "constant", "data": "demo", "demo_examples": 12}
    run(make_plan(out=whole, **plan), SilentConsole())
    assert java_log.read_text().count("start") == 1, "one program serves both tasks"
    assert java_log.read_text().count("line") == 24
    java_log.unlink()
    run(make_plan(out=part, metrics="bleu,rouge_l@1", **plan), SilentConsole())
    assert not java_log.exists()
    found = _results(part)
    assert {row["metric"] for row in found["measurements"]} == {"bleu", "rouge_l"}
    left_out = {(row["task"], row["metric"]) for row in found["not_computed"] if "--metrics" in str(row["why"])}
    assert left_out >= {("coco", "cider@1"), ("coco", "meteor@1.5"), ("audiocaps", "spider@1")}
    assert found["chance"] == []
    of_whole = [row for row in _results(whole)["measurements"] if row["metric"] in ("bleu", "rouge_l")]
    assert found["measurements"] == of_whole
    rescore(part, SilentConsole())
    for file in ("results.json", "coco/scores.jsonl", "coco/statistics.npz"):
        assert (part / file).read_bytes().replace(b"part", b"whole") == (whole / file).read_bytes()
    rescore(part, SilentConsole(), metrics=["cider"])
    assert {row["metric"] for row in _results(part)["measurements"]} == {"cider"}
    with pytest.raises(WrongUse, match="--metrics wer: coco, audiocaps has bleu@1"):
        rescore(part, SilentConsole(), metrics=["wer"])


def test_every_task_has_a_chosen_metric(tmp_path: Path) -> None:
    plan = make_plan("coco,vqav2", model="constant", data="demo", metrics="cider", out=tmp_path / "run")
    with pytest.raises(WrongUse, match=r"names none of vqav2.*vqa_accuracy@2021"):
        run(plan, SilentConsole())


def test_java_runs_beside_the_other_metrics(tmp_path: Path, java_log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last metric of this process waits until Java has read all captions, which it does at the same time."""
    real = rouge_l.METRIC.statistics

    def waiting(examples: Sequence[Example], answers: Sequence[Answer]) -> object:
        for _ in range(6_000):
            if java_log.exists() and java_log.read_text().count("line") == len(examples):
                return real(examples, answers)
            time.sleep(0.01)
        raise AssertionError("Java has not read the captions")

    monkeypatch.setattr(rouge_l, "METRIC", metrics.Metric(**{**vars(rouge_l.METRIC), "statistics": waiting}))
    run(make_plan("coco", model="constant", data="demo", demo_examples=12, out=tmp_path / "run"), SilentConsole())
    measured = [row["metric"] for row in _results(tmp_path / "run")["measurements"]]
    assert list(dict.fromkeys(measured)) == ["cider", "bleu", "rouge_l", "meteor"]


def test_a_program_that_ends_is_named_and_started_again(java_log: Path) -> None:
    def one(text: str) -> tuple[list[Example], list[Answer]]:
        example = Example(id="1", cluster="1", kind="caption", references=("a dog",))
        return [example], [Answer(state="ok", text=text)]

    with metrics.java_programs():
        meteor = metrics.get("meteor")
        assert meteor.statistics(*one("a dog"))[0, 0] == 2
        with pytest.raises(NeedsExtra, match="meteor: java ended with 1: it broke"):
            meteor.statistics(*one("crash"))
        assert meteor.statistics(*one("a big dog"))[0, 0] == 3
        [program] = _java.programs()._answering.values()
        assert program.process.poll() is None
    assert program.process.returncode is not None
    assert java_log.read_text().count("start") == 2
    np.testing.assert_array_equal(meteor.statistics([], []), np.zeros((0, 23)))


def test_while_training_java_runs_only_where_it_is_named(java_log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anymal_eval.models import anymal, constant

    def in_memory(network: object, options: object) -> object:
        return constant.load(constant.Options(says="a dog"))

    monkeypatch.setattr(anymal, "in_memory", in_memory)
    options = during_training.TrainingEvaluation(tasks="coco", limit=8)
    found = during_training.headline_evaluator(options, {"image"})(None, 1)  # type: ignore[arg-type]
    assert list(found) == ["coco/cider"]
    assert not java_log.exists()
    options = during_training.TrainingEvaluation(tasks="coco", limit=8, metrics="meteor,rouge_l")
    found = during_training.headline_evaluator(options, {"image"})(None, 1)  # type: ignore[arg-type]
    assert list(found) == ["coco/cider", "coco/rouge_l", "coco/meteor"]
    assert java_log.read_text().count("start") == 1
    with pytest.raises(WrongUse, match="wer"):
        during_training.headline_evaluator(
            during_training.TrainingEvaluation(tasks="coco", limit=8, metrics="wer"), {"image"}
        )
