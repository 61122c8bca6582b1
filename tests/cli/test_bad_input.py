"""Each bad input gets one clear line, the exit code of the design, and loses nothing that was computed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Lab, write
from tests.conftest import Command

QUESTIONS = {
    "questions": [
        {"image_id": number, "question": f"what is picture {number}?", "question_id": number * 1000}
        for number in range(1, 9)
    ]
}
ANNOTATIONS = {
    "annotations": [
        {"image_id": number, "question_id": number * 1000, "question_type": "what is", "answer_type": "other",
         "answers": [{"answer": "cat", "answer_id": place} for place in range(1, 11)]}
        for number in range(1, 9)
    ]
}  # fmt: skip
ANSWERS = [{"question_id": number * 1000, "answer": "cat"} for number in range(1, 9)]


class Bench:
    """A small VQAv2 of our own in its official layout, with answers to it."""

    def __init__(self, folder: Path, command: Command) -> None:
        self.folder, self.command = folder, command
        self.questions = write(folder / "data/vqav2/v2_OpenEnded_mscoco_val2014_questions.json", QUESTIONS)
        self.annotations = write(folder / "data/vqav2/v2_mscoco_val2014_annotations.json", ANNOTATIONS)
        self.answers = write(folder / "answers.json", ANSWERS)

    def run(self, *more: object, tasks: str = "vqav2", model: str | None = None) -> Any:
        return self.command(
            "run", "--tasks", tasks, "--model", model or f"replay:{self.answers}",
            "--data-root", self.folder / "data", "--out", self.folder / "run", *more,
        )  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path, command_here: Command) -> Bench:
    return Bench(tmp_path, command_here)


def change(file: Path, how: Callable[[Any], None]) -> None:
    data = json.loads(file.read_text())
    how(data)
    file.write_text(json.dumps(data))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def double(rows: list[Any]) -> None:
    rows.append(rows[0])


SPOILT: dict[str, tuple[Callable[[Bench], object], str]] = {
    "no questions": (lambda b: b.questions.unlink(), r"not in .*v2_OpenEnded_mscoco_val2014_questions\.json"),
    "no annotations": (lambda b: b.annotations.unlink(), r"not in .*v2_mscoco_val2014_annotations\.json"),
    "no answers": (lambda b: b.answers.unlink(), r"answers\.json: there is no such file"),
    "questions cut": (lambda b: cut(b.questions), r"questions\.json: line 1: .*is the file whole"),
    "annotations cut": (lambda b: cut(b.annotations), r"annotations\.json: line 1: .*is the file whole"),
    "answers cut": (lambda b: cut(b.answers), r"answers\.json: line 1: .*is the file whole"),
    "another schema": (lambda b: b.questions.write_text('{"rows": []}'), r"questions\.json.*questions"),
    "a list": (lambda b: b.annotations.write_text("[1, 2]"), r"annotations\.json"),
    "a key gone": (
        lambda b: change(b.questions, lambda d: d["questions"][2].pop("question")),
        r"questions\.json.*(row|question) ?.*3.*question|questions\.json.*2.*question",
    ),
    "a double question": (lambda b: change(b.questions, lambda d: double(d["questions"])), "double .*1000"),
    "a double answer": (lambda b: change(b.answers, double), r"answers\.json: 1 ids stand in it more than once: 1000"),
    "an unknown answer": (
        lambda b: change(b.answers, lambda d: d.append({"question_id": 77, "answer": "x"})),
        r"answers\.json: 1 of its 9 ids are not in the data: 77",
    ),
    "nine answers": (
        lambda b: change(b.annotations, lambda d: d["annotations"][1]["answers"].pop()),
        r"annotations\.json.*(9|nine|ten|10)",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_data_is_said_in_one_line(bench: Bench, name: str) -> None:
    import re

    spoil, said = SPOILT[name]
    spoil(bench)
    done = bench.run()
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert re.search(said, done.stderr), done.stderr
    assert done.stdout == ""
    assert not (bench.folder / "run" / "results.json").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tasks": "vqa2"}, "no task named 'vqa2'; did you mean vqav2"),
        ({"tasks": ","}, "names no task"),
        ({"model": "replai:x"}, "no model named 'replai'; did you mean replay"),
        ({"options": ["--split", "vall"]}, "no split 'vall'; it has val"),
        ({"options": ["--protocol", "anymal"]}, "no protocol named 'anymal'; did you mean"),
        ({"options": ["-o", "subset"]}, "-o subset: write KEY=VALUE"),
        ({"options": ["-o", "subset=some"]}, "must be one of"),
        ({"options": ["--max-errors", "few"]}, "write a number or a percentage"),
        ({"options": ["--quantize", "nf4"]}, "has no option 'quantize'"),
        ({"options": ["--nonsense"]}, "No such option"),
    ],
)
def test_a_wrong_word_is_answered_with_near_ones(bench: Bench, more: dict[str, Any], said: str) -> None:
    options = more.pop("options", [])
    done = bench.run(*options, **more)
    assert done.returncode == 1, done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_missing_answers_are_counted_and_named(bench: Bench) -> None:
    change(bench.answers, lambda rows: rows.pop(3))
    done = bench.run()
    assert done.returncode == 2
    assert "vqav2: 1 of 8 answers are errors and are left out of the value: 4000" in done.stderr
    rows = json.loads((bench.folder / "run/results.json").read_text())["measurements"]
    headline = next(row for row in rows if row["headline"])
    assert (headline["value"], headline["n"], headline["states"]["error"]) == (1.0, 7, 1)
    assert "7 of 8" in done.stdout


def test_too_many_errors_stop_the_run_and_lose_nothing(bench: Bench) -> None:
    change(bench.answers, lambda rows: rows.__delitem__(slice(2, None)))
    done = bench.run("--max-errors", "2", "--batch-size", "1")
    assert done.returncode == 2
    assert "stopped: 3 errors" in done.stderr
    assert len((bench.folder / "run/vqav2/responses.jsonl").read_text().splitlines()) == 5
    bench.answers.write_text(json.dumps(ANSWERS))


def test_a_real_model_without_its_pictures_is_told_before_it_loads(bench: Bench) -> None:
    done = bench.command("data", "check", "vqav2", "--data-root", bench.folder / "data")
    assert done.returncode == 1
    assert "COCO_val2014_000000000001.jpg" in done.stdout + done.stderr


def test_a_label_outside_the_options(tmp_path: Path, command_here: Command) -> None:
    folder = tmp_path / "data/how2qa"
    row = {"vid_name": "1", "ts": "1.0-2.0", "qid": 5, "q": "who?", "a0": "a", "a1": "b", "a2": "c", "a3": "d"}
    write(folder / "how2qa_val_release.jsonl", [row | {"answer_idx": 4}])
    write(folder / "how2_vid_mapping.json", {"1": "abc"})
    done = command_here(
        "run", "--tasks", "how2qa", "--model", "constant", "--data-root", tmp_path / "data", "--out", tmp_path / "run"
    )
    assert done.returncode == 1
    assert "how2qa_val_release.jsonl" in done.stderr
    assert "4" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_split_without_labels_gets_responses_and_no_value(bench: Bench) -> None:
    write(bench.questions.with_name("v2_OpenEnded_mscoco_test-dev2015_questions.json"), QUESTIONS)
    done = bench.run("--split", "test-dev")
    assert done.returncode == 0, done.stderr
    assert "no public labels" in done.stdout
    assert json.loads((bench.folder / "run/results.json").read_text())["measurements"] == []
    assert len((bench.folder / "run/vqav2/responses.jsonl").read_text().splitlines()) == 8


def test_scoring_again_gives_the_same_bytes(bench: Bench) -> None:
    assert bench.run().returncode == 0
    before = {file.name: file.read_bytes() for file in (bench.folder / "run").rglob("*.json*")}
    done = bench.command("score", bench.folder / "run", "--data-root", bench.folder / "data")
    assert done.returncode == 0, done.stderr
    assert before == {file.name: file.read_bytes() for file in (bench.folder / "run").rglob("*.json*")}


def test_limits_are_the_same_sample_for_every_model(bench: Bench) -> None:
    done = bench.run("--limit", "3")
    assert done.returncode == 0, done.stderr
    assert "limit 3 of " in done.stdout
    ids = {json.loads(line)["id"] for line in (bench.folder / "run/vqav2/scores.jsonl").read_text().splitlines()}
    other = bench.command(
        "run", "--tasks", "vqav2", "--model", "constant", "--data-root", bench.folder / "data", "--limit", "3",
        "--out", bench.folder / "other",
    )  # fmt: skip
    assert other.returncode == 0, other.stderr
    assert ids == {
        json.loads(line)["id"] for line in (bench.folder / "other/vqav2/scores.jsonl").read_text().splitlines()
    }


def test_a_task_may_be_added_to_a_run(lab: Lab) -> None:
    lab.lay("nextqa")
    lab.lay("how2qa")
    base = ("run", "--model", "constant", "--data-root", lab.folder / "data", "--out", lab.folder / "run")
    assert lab.call(*base, "--tasks", "nextqa").returncode == 0
    assert lab.call(*base, "--tasks", "how2qa").returncode == 0
    assert {row["task"] for row in lab.measurements()} == {"nextqa", "how2qa"}


def test_without_a_model_the_demo_world_is_meant(tmp_path: Path, command_here: Command) -> None:
    done = command_here("run", "--tasks", "vqav2", "--demo-examples", "20", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "no model named: the demo model" in done.stderr
    assert "demo" in done.stdout
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert (manifest["identity"]["model"], manifest["identity"]["protocol"]) == ("anymal:demo", "demo")
    official = command_here("run", "--tasks", "vqav2", "--data", "official")
    assert official.returncode == 1
    assert "--model is needed" in official.stderr


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (("--data-root", "elsewhere"), "--data-root elsewhere: the demo model reads no files; give --model with it"),
        (("--hub-id", "a/b"), "--model is needed: "),
        (("--hub-revision", "main"), "--model is needed: "),
        (("--data", "demo", "--hub-id", "a/b"), "--hub-revision go with --data hub, not with demo data"),
        (("--model", "constant", "--data", "official", "--hub-config", "a"), "--data hub, not with official data"),
        (("--model", "constant", "--demo-examples", "5"), "--demo-examples 5 goes with --data demo, not with official"),
        (("--workers", "3"), "--workers 3 has no effect without --engine ray"),
        (("--gpus-per-worker", "1"), "--gpus-per-worker 1.0 has no effect without --engine ray"),
        (("--address", "10.0.0.1"), "--address 10.0.0.1 has no effect without --engine ray"),
        (("--max-errors", "101%"), "--max-errors 101%: write a number or a percentage up to 100, such as 1%"),
        (("--max-errors", "-1"), "--max-errors -1: write a number or a percentage up to 100, such as 1%"),
    ],
)
def test_no_option_is_passed_over(given: tuple[str, ...], line: str, command_here: Command) -> None:
    done = command_here("run", "--tasks", "vqav2", *given)
    assert (done.returncode, done.stdout) == (1, "")
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_manifest_holds_what_was_resolved(bench: Bench) -> None:
    assert bench.run().returncode == 0
    manifest = json.loads((bench.folder / "run/manifest.json").read_text())
    assert manifest["model"]["options"]["field"] == "results"
    assert {"python", "torch", "numpy", "git", "device"} <= set(manifest["environment"])
    entry = manifest["tasks"]["vqav2"]
    assert (entry["n"], entry["split"], entry["reading"]["clean"]) == (8, "val", "none")
    assert len(entry["prompts"]) == len(entry["examples"]) == 16
