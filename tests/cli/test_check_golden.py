"""``check`` on real answers: LLaVA against GPT-3, PureT against itself with captions swapped, another VQA rule."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from anymal_eval.cli.check import check
from anymal_eval.cli.run import run
from anymal_eval.errors import AnyMALEvalError
from tests.cli.conftest import Lab, read
from tests.conftest import ROOT
from tests.report.test_check_texts import check_junit

Runs = Callable[..., Path]


@pytest.fixture
def runs(lab: Lab) -> Runs:
    """Score a file of answers in this process, which saves the start of one and keeps tokenised captions."""

    def make(task: str, answers: Path, out: str, *more: object) -> Path:
        lab.lay(task)
        given = ["--tasks", task, "--model", f"replay:{answers}", "--data", "official", "--data-root",
                 lab.folder / "data", "--out", lab.folder / out, *more]  # fmt: skip
        done = CliRunner().invoke(run, [str(part) for part in given])
        assert done.exception is None, done.exception
        return lab.folder / out

    return make


def verdict(after: Path, before: Path, *more: object) -> tuple[int, dict[str, Any]]:
    """The exit code, and what was said of the one task."""
    file = after.parent / "check.json"
    done = CliRunner().invoke(check, [str(part) for part in (after, "--against", before, "--json", file, *more)])
    code = done.exception.exit_code if isinstance(done.exception, AnyMALEvalError) else done.exit_code
    (task,) = read(file)["tasks"]
    return code, task


def test_llava_is_better_than_gpt3_on_scienceqa(lab: Lab, runs: Runs) -> None:
    gpt3 = runs("scienceqa", lab.golden / "scienceqa/predictions_gpt3.json", "gpt3")
    llava = runs("scienceqa", lab.golden / "scienceqa/predictions_llava_13b_v0.json", "llava")
    code, task = verdict(llava, gpt3)
    assert (code, task["verdict"], task["method"], task["n"]) == (0, "better", "exact McNemar", 2017)
    assert task["difference"] == pytest.approx(0.880020 - 0.674269, abs=1e-6)
    assert (task["risen"], task["fallen"]) == (492, 77)
    code, task = verdict(gpt3, llava)
    assert (code, task["verdict"]) == (3, "worse")


def swapped(captions: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The same captions with ``count`` of them handed round between pictures."""
    rows = [dict(row) for row in captions]
    places = random.Random(0).sample(range(len(rows)), count)
    texts = [rows[place]["caption"] for place in places]
    for place, text in zip(places, [*texts[1:], texts[0]], strict=True):
        rows[place]["caption"] = text
    return rows


def headline_alone(lab: Lab, task: str) -> Path:
    """The task with its headline as its one metric: METEOR alone would take most of a minute a run."""
    folder = lab.folder / "tasks"
    folder.mkdir()
    text = (ROOT / "tasks" / f"{task}.py").read_text(encoding="utf-8")
    changed, count = re.subn(r"metrics=\([^)]*\)", 'metrics=("cider",)', text)
    assert count == 1
    (folder / f"{task}.py").write_text(changed, encoding="utf-8")
    return folder


def test_puret_with_captions_swapped_between_pictures(lab: Lab, runs: Runs) -> None:
    file = lab.golden / "coco/predictions_puret.json"
    captions = read(file)
    headline = ("--tasks-dir", headline_alone(lab, "coco"))
    before = runs("coco", file, "puret", *headline)
    many = runs("coco", lab.answers(swapped(captions, 100), "many.json"), "many", *headline)
    code, task = verdict(many, before, "--junit", lab.folder / "j.xml")
    assert (code, task["verdict"], task["changed"]) == (3, "worse", 100)
    assert task["before"] == pytest.approx(1.381600541481167, abs=1e-9)
    assert task["p"] < 0.001
    assert len(task["flips"]) == 100
    root = check_junit((lab.folder / "j.xml").read_text())
    assert len(root.findall(".//failure")) == 1
    few = runs("coco", lab.answers(swapped(captions, 2), "few.json"), "few", *headline)
    code, task = verdict(few, before)
    assert task["verdict"] in ("same", "cannot tell")
    assert code == {"same": 0, "cannot tell": 4}[task["verdict"]]
    assert task["changed"] == 2


def test_another_vqa_rule_is_refused(lab: Lab, runs: Runs) -> None:
    answers = read(lab.golden / "vqav2/predictions_reimplementation_seed42.json")["runs"][0]["prediction_samples"]
    file = lab.answers([{"question_id": row["question_id"], "answer": row["answer"]} for row in answers])
    now = runs("vqav2", file, "now", "-o", "subset=answered")
    folder = lab.folder / "tasks"
    folder.mkdir()
    text = (ROOT / "tasks" / "vqav2.py").read_text(encoding="utf-8")
    old_rule = text.replace('headline="vqa_accuracy@2021"', 'headline="vqa_accuracy@2016"')
    (folder / "vqav2.py").write_text(old_rule, encoding="utf-8")
    then = runs("vqav2", file, "then", "-o", "subset=answered", "--tasks-dir", folder)
    code, task = verdict(now, then)
    assert (code, task["verdict"]) == (1, "refused")
    assert "metric was 'vqa_accuracy@2016', is 'vqa_accuracy@2021'" in task["why"]
    cleaned = [{**row, "answer": row["answer"].upper()} for row in json.loads(file.read_text())][:900]
    fewer = runs("vqav2", lab.answers(cleaned, "fewer.json"), "fewer", "-o", "subset=answered")
    code, task = verdict(fewer, now)
    assert (code, task["verdict"], len(task["only_before"])) == (1, "refused", 100)


def test_labels_that_end_in_nul_are_labels_of_their_own(lab: Lab, runs: Runs) -> None:
    lab.lay("vqav2")
    (file,) = (lab.folder / "data" / "vqav2").glob("*annotations.json")
    content = read(file)
    kinds = ["a", "a\0", "a\0\0"]
    for number, row in enumerate(content["annotations"]):
        row["answer_type"] = kinds[number % 3]
    file.write_text(json.dumps(content))
    answers = [{"question_id": row["question_id"], "answer": "white"} for row in content["annotations"]]
    run = runs("vqav2", lab.answers(answers), "nul")
    rows = [row for row in read(run / "results.json")["measurements"] if set(row["group"] or {}) == {"answer_type"}]
    count = len(content["annotations"])
    assert {(row["group"]["answer_type"], row["n"]) for row in rows} == {
        (kind, len(range(place, count, 3))) for place, kind in enumerate(kinds)
    }
    assert verdict(run, run)[0] == 0
