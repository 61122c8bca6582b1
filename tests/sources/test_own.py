"""Rows of the user's own as a task: worked by hand; every bad row is one line that says what to do."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import anymal_eval
from anymal_eval.errors import AnyMALEvalError, BadData, MissingData, NotInCatalog, WrongUse
from anymal_eval.records import Example
from anymal_eval.sources.dataset import DataOptions, TaskDataset, load_dataset
from anymal_eval.sources.load import whole_examples
from anymal_eval.sources.own import task_named
from tests.conftest import Command

CHOICE = {"image": "a.png", "question": "What?", "options": ["a dog", "a cat", "two birds"], "answer": "B"}
SHORT = {"image": "a.png", "question": "What?", "answer": "a dog"}


def written(folder: Path, rows: Sequence[dict[str, Any]] | str, name: str = "my.jsonl") -> Path:
    file = folder / name
    file.write_text(rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows))
    return file


def dataset(file: Path, *metrics: str) -> TaskDataset:
    return load_dataset(task_named(str(file), (), metrics), DataOptions())


def examples(folder: Path, rows: Sequence[dict[str, Any]] | str, name: str = "my.jsonl") -> tuple[Example, ...]:
    return dataset(written(folder, rows, name)).examples


def test_a_choice_is_named_by_text_letter_or_number(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        CHOICE | {"answer": "a cat"},
        CHOICE,
        {**CHOICE, "answer": None, "label": 2, "id": "x", "group": "g", "hint": "h"},
    ]
    found = examples(tmp_path, rows)
    assert [(one.id, one.label, one.references) for one in found] == [
        ("1", 1, ("a cat",)), ("2", 1, ("a cat",)), ("x", 2, ("two birds",)),
    ]  # fmt: skip
    last = found[2]
    assert (last.kind, last.cluster, last.media[0].uri) == ("choice", "a.png", str(tmp_path / "a.png"))
    assert (last.groups, last.context, last.options) == ({"group": "g"}, {"hint": "h"}, tuple(CHOICE["options"]))
    assert dataset(tmp_path / "my.jsonl").task.metrics == ("choice_accuracy",)


@pytest.mark.parametrize(
    ("rows", "kind", "metrics", "references", "options"),
    [
        ([SHORT, SHORT | {"answer": ["dog", "puppy"]}], "short_answer", ("answer_accuracy",), ("dog", "puppy"), ()),
        ([SHORT | {"answers": ["x"] * 10, "answer": ""}], "short_answer", ("vqa_accuracy@2021", "answer_accuracy"),
         ("x",) * 10, ()),
        ([{"audio": "a.wav", "answers": ["a bell", "ringing"]}], "caption", ("cider", "bleu", "rouge_l"),
         ("a bell", "ringing"), ()),
        ([SHORT | {"answer": "no"}, SHORT | {"answer": "Yes"}], "yes_no", ("yes_no_accuracy", "roc_auc"), ("yes",),
         ("no", "yes")),
        ([SHORT | {"answer": "yes", "kind": "short_answer"}], "short_answer", ("answer_accuracy",), ("yes",), ()),
        ([{"video": "a.mp4", "start_s": 1, "end_s": 2.5, "question": "What?", "answer": 7}], "short_answer",
         ("answer_accuracy",), ("7",), ()),
        ([{"imu": "a.npy", "question": "What?"}], "short_answer", ("answer_accuracy",), None, ()),
    ],
    ids=["short", "ten annotators", "caption", "yes or no", "kind named", "clip", "no answers"],
)  # fmt: skip
def test_the_answers_say_which_kind_they_are(
    tmp_path: Path,
    rows: Sequence[dict[str, Any]],
    kind: str,
    metrics: tuple[str, ...],
    references: tuple[str, ...] | None,
    options: tuple[str, ...],
) -> None:
    found = dataset(written(tmp_path, rows))
    last = found.examples[-1]
    assert (last.kind, found.task.metrics, last.references, last.options) == (kind, metrics, references, options)
    assert found.split.labelled == (references is not None)
    assert last.media[0].start_s == rows[-1].get("start_s")


def test_tables_are_the_same_rows(tmp_path: Path) -> None:
    lines = examples(tmp_path, [CHOICE | {"group_place": "in"}, CHOICE | {"answer": "A"}])
    forms = ('["a dog", "a cat", "two birds"]', "a dog|a cat|two birds")
    for form in forms:
        head = "image\tquestion\toptions\tanswer\tgroup_place\n"
        table = f"{head}a.png\tWhat?\t{form}\tB\tin\na.png\tWhat?\t{form}\tA\t\n"
        assert examples(tmp_path, table, "my.tsv") == lines
    columns = "image,question,A,B,C,D,answer,group_place\n" + "".join(
        f"a.png,What?,a dog,a cat,two birds,,{answer},{place}\n" for answer, place in (("a cat", "in"), ("A", ""))
    )
    assert examples(tmp_path, columns, "my.csv") == lines


BAD = [
    (CHOICE | {"answer": "D"}, "its answer 'D' is none of its 3 options; write the option's text, its letter (A to C)"),
    (CHOICE | {"answer": "1"}, "its answer '1' is none of its 3 options"),
    (CHOICE | {"options": ["B", "A"], "answer": "A"}, "'A' is one option's letter and another's text; write"),
    (CHOICE | {"options": ["a", "a"], "answer": "A"}, "two of its options are the same"),
    (CHOICE | {"options": ["a"], "answer": "A"}, "it has 1 options, and other rows have some"),
    (CHOICE | {"answer": None, "label": 3}, "'label' is 3, outside its 3 options"),
    (CHOICE | {"answer": None}, "it has no 'answer', and other rows have one; write it"),
    (CHOICE | {"answer": True}, "'answer' must be a text, such as yes or no"),
    (CHOICE | {"question": ""}, "it has no 'question'; write one"),
    (CHOICE | {"image": "/etc/passwd"}, "paths must stay inside the data folder"),
    (CHOICE | {"image": "../x.png"}, "leads out of the data folder"),
    (CHOICE | {"image": "link.png"}, "give --allow-links"),
    (CHOICE | {"image": "a\0.png"}, "is no file name"),
    (CHOICE | {"image": 7}, "'image' must be a string"),
    (CHOICE | {"id": 1.5}, "'id' must be an id"),
    ("{", "is the file whole?"),
    ("[1]", "expected an object, got list"),
]


@pytest.mark.parametrize(("row", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_a_bad_row_is_one_line(tmp_path: Path, row: dict[str, Any] | str, message: str) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "outside.png").write_bytes(b"x")
    (tmp_path / "rows" / "link.png").symlink_to(tmp_path / "outside.png")
    lines = [json.dumps(CHOICE), row if isinstance(row, str) else json.dumps(row), json.dumps(CHOICE)]
    file = written(tmp_path / "rows", "\n".join(lines) + "\n")
    with pytest.raises(BadData) as caught:
        dataset(file)
    assert str(caught.value).startswith(f"{file}: line 2: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "it holds no row"),
        ([{"question": "?", "answer": "x"}], "it has no medium; name one file of media a row under one of image, "),
        ([SHORT, {"audio": "a.wav", "question": "?", "answer": "x"}], r"media of 2 kinds \(image, audio\)"),
        ([SHORT | {"kind": "guess"}], "'kind' must be one of caption, short_answer, choice, yes_no"),
        ([{"image": "a.png", "question": "?", "anwser": "x"}], "no key 'anwser'; if 'answer' is meant, rename it"),
        ([SHORT | {"id": 1}, SHORT | {"id": 1}], "1 double id: 1"),
        ([SHORT | {"answer": "yes"}, SHORT | {"answer": "no", "options": ["no", "yes"]}], "it has 0 options"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, rows: Sequence[dict[str, Any]] | str, message: str) -> None:
    with pytest.raises(BadData, match=message) as caught:
        dataset(written(tmp_path, rows))
    assert str(caught.value).startswith(str(tmp_path / "my.jsonl"))


def test_every_bad_row_is_listed(tmp_path: Path) -> None:
    file = written(tmp_path, [CHOICE | {"answer": "Z"}, CHOICE, CHOICE | {"answer": "Y"}])
    task = task_named(str(file))
    found, faults = whole_examples(task, task.split(None), tmp_path)
    assert (len(found), [fault.split(":")[1] for fault in faults]) == (1, [" line 1", " line 3"])


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        (("cider",), WrongUse, "cider is not for the answers of .* (choice); those have choice_accuracy"),
        (("nothing",), NotInCatalog, "no metric named 'nothing'"),
    ],
)
def test_metrics_must_fit(tmp_path: Path, metrics: tuple[str, ...], error: type[AnyMALEvalError], message: str) -> None:
    with pytest.raises(error, match=message.replace("(", r"\(").replace(")", r"\)")):
        dataset(written(tmp_path, [CHOICE]), *metrics)
    with pytest.raises(WrongUse, match="needs 10 answers"):
        dataset(written(tmp_path, [SHORT]), "vqa_accuracy@2021")
    with pytest.raises(MissingData, match="there is no such file"):
        task_named(str(tmp_path / "none.jsonl"))


def test_the_fingerprint_is_of_the_file_wherever_it_lies(tmp_path: Path) -> None:
    prints = []
    for folder, rows in (("a", [CHOICE]), ("b", [CHOICE]), ("c", [CHOICE | {"group": "x"}])):
        (tmp_path / folder).mkdir()
        prints.append(dataset(written(tmp_path / folder, rows)).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_a_name_of_a_benchmark_is_not_taken(tmp_path: Path) -> None:
    assert dataset(written(tmp_path, [CHOICE], "vqav2.jsonl")).task.name == "own_vqav2"
    assert dataset(written(tmp_path, [CHOICE], "my data (2).jsonl")).task.name == "my_data_2"


def test_a_run_is_resumed_scored_checked_and_reported(tmp_path: Path, command_here: Command) -> None:
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    answers = ["A", "B", "A", "a cat"]  # by hand: the constant model ranks evenly, so that A is right on 2 of 4
    file = written(
        tmp_path, [{**CHOICE, "answer": one, "group": "pets" if n < 2 else "rest"} for n, one in enumerate(answers)]
    )
    out = tmp_path / "run"
    run = ("run", "--tasks", file, "--model", "constant", "--out", out)
    done = command_here(*run)
    assert done.returncode == 0, done.stderr
    rows = json.loads((out / "results.json").read_text())["measurements"]
    assert [(row["value"], row["data"], row["group"]) for row in rows] == [
        (0.5, "own", None), (0.5, "own", {"group": "pets"}), (0.5, "own", {"group": "rest"}),
    ]  # fmt: skip
    results = (out / "results.json").read_bytes()
    again = command_here(*run)
    assert "4 of 4 were answered before" in again.stderr
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in (file, tmp_path / "a.png"):
        shutil.move(name, moved)
    assert command_here("score", out, "--data-root", moved).returncode == 0
    assert (out / "results.json").read_bytes() == results
    assert command_here("report", out, "--data-root", moved, "--out", tmp_path / "pages").returncode == 0
    loaded = anymal_eval.load_run(out, data_root=moved)
    assert anymal_eval.compare(loaded, against=str(out)).verdicts == {"my": "same"}
    written(moved, [CHOICE])
    refused = command_here("score", out, "--data-root", moved)
    assert refused.returncode == 1
    assert "the rows of" in refused.stderr
