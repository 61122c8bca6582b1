"""Every bad input becomes one line that names the file, and the row or the ids."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anymal_eval import catalog
from anymal_eval.errors import BadData, MissingData, NotInCatalog
from anymal_eval.records import Example
from anymal_eval.sources.load import load_examples
from anymal_eval.task import Task
from tests.conftest import golden_cases

# A task without golden rows fails in tests/tasks.
TASKS = [name for name in catalog.tasks().names() if golden_cases(name)]
Change = Callable[[Any], Any]


def official(name: str, number: int = 0) -> dict[str, Any]:
    return [case for case in golden_cases(name) if case["source"] == "official"][number]


def write(case: dict[str, Any], folder: Path) -> None:
    for name, content in case["files"].items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".jsonl") and not isinstance(content, str):
            content = "".join(f"{json.dumps(row)}\n" for row in content)
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def refused(name: str, case: dict[str, Any], root: Path) -> str:
    write(case, root / name)
    task = catalog.tasks().get(name, "TASK", Task)
    with pytest.raises((BadData, MissingData)) as caught:
        load_examples(task, task.split(case["split"]), "official", root)
    message = str(caught.value)
    assert "\n" not in message
    assert str(root) in message
    assert caught.value.exit_code == 1
    return message


def read(name: str, case: dict[str, Any], root: Path) -> list[Example]:
    write(case, root / name)
    task = catalog.tasks().get(name, "TASK", Task)
    return load_examples(task, task.split(case["split"]), "official", root)


def rows_of(case: dict[str, Any], file: str) -> list[Any]:
    """The list of rows in one of the files, wherever the layout has it."""
    content = case["files"][file]
    if isinstance(content, list):
        return content
    if file == "problems.json":
        return list(content.values())
    return next(value for value in content.values() if isinstance(value, list) and value)


JSON_FILES = [
    (name, file)
    for name in TASKS
    for file in official(name)["files"]
    if file.endswith((".json", ".jsonl")) and "OCR" not in file
]


@pytest.mark.parametrize(("name", "file"), JSON_FILES, ids=[f"{name}-{Path(file).name}" for name, file in JSON_FILES])
def test_truncated(name: str, file: str, tmp_path: Path) -> None:
    case = official(name)
    content = case["files"][file]
    text = "".join(f"{json.dumps(row)}\n" for row in content) if file.endswith(".jsonl") else json.dumps(content)
    case["files"][file] = text[: int(len(text) * 0.7)]
    message = refused(name, case, tmp_path)
    assert Path(file).name in message
    assert "whole" in message


@pytest.mark.parametrize("name", TASKS)
def test_missing_files_are_named_with_their_origin(name: str, tmp_path: Path) -> None:
    case = official(name)
    needed = next(iter(case["files"]))
    case["files"] = {}
    message = refused(name, case, tmp_path)
    assert f"not in {tmp_path / name}" in message
    assert needed in message
    assert "--data-root" in message


@pytest.mark.parametrize("content", [[], {}, "text", 3, None, [[]], [3], {"questions": 1}], ids=repr)
@pytest.mark.parametrize(("name", "file"), JSON_FILES, ids=[f"{name}-{Path(file).name}" for name, file in JSON_FILES])
def test_another_schema(name: str, file: str, content: object, tmp_path: Path) -> None:
    if file.startswith(("map_vid", "how2_vid")) and content == {}:
        return
    case = official(name)
    case["files"][file] = json.dumps(content)
    assert Path(file).name in refused(name, case, tmp_path)


NEEDED = [
    ("vqav2", "v2_mscoco_val2014_annotations.json", "answers"),
    ("vqav2", "v2_OpenEnded_mscoco_val2014_questions.json", "question"),
    ("vqav2", "v2_OpenEnded_mscoco_val2014_questions.json", "image_id"),
    ("okvqa", "mscoco_val2014_annotations.json", "question_id"),
    ("textvqa", "TextVQA_0.5.1_val.json", "answers"),
    ("vizwiz", "Annotations/val.json", "image"),
    ("hateful_memes", "dev_seen.jsonl", "label"),
    ("hateful_memes", "dev_seen.jsonl", "img"),
    ("coco", "dataset_coco.json", "sentences"),
    ("star", "STAR_val.json", "choices"),
    ("star", "STAR_val.json", "end"),
    ("how2qa", "how2qa_val_release.jsonl", "answer_idx"),
    ("mmit_cap", "test.jsonl", "references"),
    ("imu_caption", "test.jsonl", "imu"),
]


ONLY_A_GROUP = [
    ("vqav2", "v2_mscoco_val2014_annotations.json", "answer_type"),
    ("okvqa", "mscoco_val2014_annotations.json", "question_type"),
    ("vizwiz", "Annotations/val.json", "answer_type"),
    ("scienceqa", "problems.json", "grade"),
    ("scienceqa", "problems.json", "subject"),
]


@pytest.mark.parametrize(("name", "file", "key"), ONLY_A_GROUP)
def test_a_copy_without_a_key_that_only_groups_is_read(name: str, file: str, key: str, tmp_path: Path) -> None:
    case = official(name)
    for row in rows_of(case, file):
        del row[key]
    assert all(key not in example.groups for example in read(name, case, tmp_path / "without"))
    for row in rows_of(case, file):
        row[key] = {"no": 1.5}
    assert repr(key) in refused(name, case, tmp_path / "wrong")


@pytest.mark.parametrize(("name", "file", "key"), NEEDED)
def test_a_missing_or_wrong_key_is_named_with_its_row(name: str, file: str, key: str, tmp_path: Path) -> None:
    for number, wrong in enumerate(({}, {key: {"no": 1.5}})):
        case = official(name)
        row = rows_of(case, file)[0]
        del row[key]
        row.update(wrong)
        message = refused(name, case, tmp_path / str(number))
        assert Path(file).name in message
        assert repr(key) in message or key in ("start", "end")


def test_rows_are_told_by_where_they_stand(tmp_path: Path) -> None:
    case = official("hateful_memes")
    case["files"]["dev_seen.jsonl"][1]["label"] = 2
    message = refused("hateful_memes", case, tmp_path)
    assert message.endswith("dev_seen.jsonl: line 2: 'label' is 2, outside its 2 options (0 to 1)")


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("nextqa", lambda text: text.replace("6,CH", "6,XX"), "line 2: type 'XX' is none of CW"),
        ("nextqa", lambda text: text.replace(",2,6,CH", ",5,6,CH"), "line 2: 'answer' is 5, outside its 5 options"),
        ("nextqa", lambda text: text[:-20], "line 3: expected 13 columns, as in line 1, and it has"),
        ("nextqa", lambda text: text.replace("qid", "id", 1), "line 1: no column qid"),
        ("audiocaps", lambda text: text + text.splitlines()[1] + "\n", "1 double line: 1"),
        ("audiocaps", lambda text: text.replace(",30,", ",x,"), "'start_time' must be a whole number, not 'x'"),
        ("audiocaps", lambda text: text.splitlines()[0], "no example in split test"),
    ],
)
def test_bad_tables(name: str, change: Change, expected: str, tmp_path: Path) -> None:
    case = official(name)
    file = next(iter(case["files"]))
    case["files"][file] = change(case["files"][file])
    assert expected in refused(name, case, tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "change", "expected"),
    [
        (
            "scienceqa",
            "problems.json",
            lambda data: data["5"].update(answer=3),
            "problem 5: 'answer' is 3, outside its 3",
        ),
        (
            "scienceqa",
            "problems.json",
            lambda data: data["5"].update(grade="grade13"),
            "grade1 to grade12, not 'grade13'",
        ),
        (
            "scienceqa",
            "problems.json",
            lambda data: data.pop("4"),
            "1 of 3 problems of pid_splits.json are not there: 4",
        ),
        ("scienceqa", "pid_splits.json", lambda data: data["test"].append("5"), "1 double problem id: 5"),
        (
            "star",
            "STAR_val.json",
            lambda data: data[0].update(answer="x"),
            "row 1: 'answer' 'x' is none of its 4 choices",
        ),
        ("star", "STAR_val.json", lambda data: data[0].update(question_id="Q_1"), "type 'Q' is none of Interaction"),
        (
            "star",
            "STAR_val.json",
            lambda data: data[0].update(start=99),
            "it ends at 19.6 s before it starts at 99.0 s",
        ),
        ("star", "STAR_val.json", lambda data: data.append(data[0]), "1 double id: Interaction_T1_13"),
        (
            "how2qa",
            "how2qa_val_release.jsonl",
            lambda data: data[1].update(ts="soon"),
            "line 2: start 'soon' and end ''",
        ),
        (
            "how2qa",
            "how2qa_val_release.jsonl",
            lambda data: data[1].update(answer_idx=-1),
            "'answer_idx' is -1, outside",
        ),
        (
            "coco",
            "dataset_coco.json",
            lambda data: data["images"][0].update(sentences=[]),
            "images row 1: it has no caption",
        ),
        ("mmit_cap", "test.jsonl", lambda data: data[0].update(references=[]), "line 1: it has no caption"),
        ("vizwiz", "Annotations/val.json", lambda data: data[1]["answers"].pop(), "row 2: 'answers' holds 9 answers"),
    ],
)
def test_contradictions(name: str, file: str, change: Change, expected: str, tmp_path: Path) -> None:
    case = official(name)
    change(case["files"][file])
    message = refused(name, case, tmp_path)
    assert expected in message
    assert Path(file).name in message


NOTES, ASKED = "v2_mscoco_val2014_annotations.json", "v2_OpenEnded_mscoco_val2014_questions.json"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda files: files[ASKED]["questions"].append(files[ASKED]["questions"][0]), "1 double question_id: 42000"),
        (
            lambda files: files[NOTES]["annotations"].append(files[NOTES]["annotations"][1]),
            "1 double question_id: 42000",
        ),
        (lambda files: files[NOTES]["annotations"].pop(), "question_id 42000 has no annotation in"),
        (lambda files: files[ASKED]["questions"].pop(), "1 unknown question_id, not in"),
        (
            lambda files: files[NOTES]["annotations"][0].update(image_id=1),
            "image_id 1 contradicts the question's 133827",
        ),
        (lambda files: files[NOTES]["annotations"][0]["answers"].append({"answer": "2"}), "'answers' holds 11 answers"),
        (
            lambda files: files[NOTES]["annotations"][0]["answers"].__setitem__(0, {"answer": 2}),
            "must hold strings, not 2",
        ),
        (lambda files: files[NOTES]["annotations"][0]["answers"].__setitem__(0, {}), "must be an object with 'answer'"),
    ],
)
def test_questions_and_annotations_that_do_not_fit(change: Change, expected: str, tmp_path: Path) -> None:
    case = official("vqav2")
    change(case["files"])
    assert expected in refused("vqav2", case, tmp_path)


ESCAPES = [
    ("hateful_memes", lambda files, bad: files["dev_seen.jsonl"][0].update(img=bad)),
    ("vizwiz", lambda files, bad: files["Annotations/val.json"][0].update(image=bad)),
    ("textvqa", lambda files, bad: files["TextVQA_0.5.1_val.json"]["data"][0].update(image_id=bad)),
    ("scienceqa", lambda files, bad: files["problems.json"]["5"].update(image=bad)),
    ("coco", lambda files, bad: files["dataset_coco.json"]["images"][0].update(filename=f"../{bad}")),
    ("audiocaps", lambda files, bad: files.update({"test.csv": files["test.csv"].replace("rqfQRErjfk8", bad)})),
    ("nextqa", lambda files, bad: files.update({"val.csv": files["val.csv"].replace("4882821564", bad)})),
    ("nextqa", lambda files, bad: files["map_vid_vidorID.json"].update({"4882821564": bad})),
    ("star", lambda files, bad: files["STAR_val.json"][0].update(video_id=bad)),
    ("how2qa", lambda files, bad: files["how2qa_val_release.jsonl"][0].update(vid_name=bad)),
    ("mmit_cap", lambda files, bad: files["test.jsonl"][0].update(image=bad)),
    ("imu_caption", lambda files, bad: files["test.jsonl"][0].update(imu=bad)),
]


@pytest.mark.parametrize("bad", ["../../../../etc/passwd", "/etc/passwd"])
@pytest.mark.parametrize(("name", "change"), ESCAPES, ids=[f"{n}{i}" for i, (n, _) in enumerate(ESCAPES)])
def test_paths_that_leave_the_folder(name: str, change: Callable[..., Any], bad: str, tmp_path: Path) -> None:
    if (name, bad[0]) in {("scienceqa", "/"), ("coco", "/")}:
        bad = "../../.." + bad  # there the layout puts its own folder before the name
    case = official(name)
    change(case["files"], bad)
    message = refused(name, case, tmp_path)
    assert "passwd" in message
    assert "data folder" in message


def test_links_that_lead_out(tmp_path: Path) -> None:
    case = official("mmit_cap")
    outside = tmp_path / "secret.jpg"
    outside.write_bytes(b"x")
    (tmp_path / "mmit_cap" / "images").mkdir(parents=True)
    (tmp_path / "mmit_cap" / "images" / "7.jpg").symlink_to(outside)
    message = refused("mmit_cap", case, tmp_path)
    assert "test.jsonl: line 1" in message
    assert "out of the data folder" in message


def test_a_linked_folder_of_pictures_is_its_owners_choice(tmp_path: Path) -> None:
    case = official("vizwiz")
    (tmp_path / "pictures").mkdir()
    write(case, tmp_path / "vizwiz")
    (tmp_path / "vizwiz" / "val").symlink_to(tmp_path / "pictures")
    task = catalog.tasks().get("vizwiz", "TASK", Task)
    assert len(load_examples(task, task.split("val"), "official", tmp_path)) == 2


def test_a_wrong_split_is_told_which_there_are() -> None:
    with pytest.raises(NotInCatalog, match="vizwiz has no split 'tset'; it has val, test-dev"):
        catalog.tasks().get("vizwiz", "TASK", Task).split("tset")
