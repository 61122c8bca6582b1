"""The files and keys are the official ones, as facts/scoring.md has them: nothing missing, nothing added."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.demo import GROUPS, tasks, wording_of

OURS = {"DEMO.txt", GROUPS}
FILES = {
    "vqav2": {"v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json", "val2014"},
    "okvqa": {"OpenEnded_mscoco_val2014_questions.json", "mscoco_val2014_annotations.json", "val2014"},
    "textvqa": {"TextVQA_0.5.1_val.json", "train_images"},
    "vizwiz": {"Annotations", "val"},
    "scienceqa": {"problems.json", "pid_splits.json", "images"},
    "hateful_memes": {"dev_seen.jsonl", "img"},
    "coco": {"dataset_coco.json", "val2014"},
    "audiocaps": {"test.csv", "audio"},
    "nextqa": {"val.csv", "map_vid_vidorID.json", "videos"},
    "star": {"STAR_val.json", "videos"},
    "how2qa": {"how2qa_val_release.jsonl", "how2_vid_mapping.json", "videos"},
    "mmit_cap": {"test.jsonl", "images"},
    "imu_caption": {"test.jsonl", "imu"},
}
TRAIN_FILES = {
    "vqav2": "v2_mscoco_train2014_annotations.json",
    "okvqa": "mscoco_train2014_annotations.json",
    "textvqa": "TextVQA_0.5.1_train.json",
    "vizwiz": "Annotations/train.json",
    "hateful_memes": "train.jsonl",
    "audiocaps": "train.csv",
    "nextqa": "train.csv",
    "star": "STAR_train.json",
    "how2qa": "how2qa_train_release.jsonl",
}


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _keys(rows: list[dict[str, Any]]) -> set[frozenset[str]]:
    return {frozenset(row) for row in rows}


def test_files_are_the_official_ones(world: Path, training: Path) -> None:
    assert set(tasks()) == set(FILES)
    for task, names in FILES.items():
        assert {path.name for path in (world / task).iterdir()} == names | OURS, task
    for task, name in TRAIN_FILES.items():
        assert (training / task / name).is_file(), task


def test_note_says_that_it_is_generated(world: Path) -> None:
    for task in tasks():
        assert (world / task / "DEMO.txt").read_text().startswith("Generated demo data")


def test_vqav2(world: Path) -> None:
    folder = world / "vqav2"
    questions = _json(folder / "v2_OpenEnded_mscoco_val2014_questions.json")
    annotations = _json(folder / "v2_mscoco_val2014_annotations.json")
    assert {"info", "task_type", "data_type", "license", "data_subtype", "questions"} == set(questions)
    assert {"info", "data_type", "license", "data_subtype", "annotations"} == set(annotations)
    kinds = tuple(questions[key] for key in ("task_type", "data_type", "data_subtype"))
    assert kinds == ("Open-Ended", "mscoco", "val2014")
    assert _keys(questions["questions"]) == {frozenset({"image_id", "question", "question_id"})}
    keys = {"question_id", "image_id", "question_type", "answer_type", "multiple_choice_answer", "answers"}
    assert _keys(annotations["annotations"]) == {frozenset(keys)}
    assert [q["question_id"] for q in questions["questions"]] == [a["question_id"] for a in annotations["annotations"]]
    for row in annotations["annotations"]:
        assert row["question_id"] // 1000 == row["image_id"]
        assert row["answer_type"] in {"yes/no", "number", "other"}
        assert [answer["answer_id"] for answer in row["answers"]] == list(range(1, 11))
        assert _keys(row["answers"]) == {frozenset({"answer", "answer_confidence", "answer_id"})}
        assert Counter(a["answer"] for a in row["answers"]).most_common(1)[0][0] == row["multiple_choice_answer"]
        assert (folder / "val2014" / f"COCO_val2014_{row['image_id']:012d}.jpg").is_file()


def test_okvqa(world: Path) -> None:
    annotations = _json(world / "okvqa" / "mscoco_val2014_annotations.json")["annotations"]
    keys = {"question_id", "image_id", "question_type", "answer_type", "confidence", "answers"}
    assert _keys(annotations) == {frozenset(keys)}
    for row in annotations:
        assert row["answer_type"] == "other"
        assert _keys(row["answers"]) == {frozenset({"answer_id", "raw_answer", "answer_confidence", "answer"})}
        answers = [answer["answer"] for answer in row["answers"]]
        assert answers[::2] == answers[1::2]  # five people, each twice
        assert (world / "okvqa" / "val2014" / f"COCO_val2014_{row['image_id']:012d}.jpg").is_file()
    assert any(answer["answer"] != answer["raw_answer"] for row in annotations for answer in row["answers"])


def test_textvqa(world: Path) -> None:
    whole = _json(world / "textvqa" / "TextVQA_0.5.1_val.json")
    assert set(whole) == {"dataset_type", "dataset_name", "dataset_version", "data"}
    keys = {"question", "image_id", "image_classes", "flickr_original_url", "flickr_300k_url", "image_width"}
    keys |= {"image_height", "answers", "question_tokens", "question_id", "set_name"}
    assert _keys(whole["data"]) == {frozenset(keys)}
    for row in whole["data"]:
        assert len(row["answers"]) == 10
        assert (world / "textvqa" / "train_images" / f"{row['image_id']}.jpg").is_file()
    pairs = {(row["image_id"], row["question"].lower()) for row in whole["data"]}
    assert len(pairs) == len(whole["data"])


def test_vizwiz(world: Path) -> None:
    rows = _json(world / "vizwiz" / "Annotations" / "val.json")
    assert _keys(rows) == {frozenset({"image", "question", "answers", "answer_type", "answerable"})}
    for row in rows:
        assert _keys(row["answers"]) == {frozenset({"answer", "answer_confidence"})}
        assert (row["answer_type"] == "unanswerable") == (row["answerable"] == 0)
        assert (world / "vizwiz" / "val" / row["image"]).is_file()
    assert 0.15 < sum(row["answerable"] == 0 for row in rows) / len(rows) < 0.55


def test_scienceqa(world: Path) -> None:
    folder = world / "scienceqa"
    problems = _json(folder / "problems.json")
    keys = {"question", "choices", "answer", "hint", "image", "task", "grade", "subject", "topic", "category"}
    keys |= {"skill", "lecture", "solution", "split"}
    assert _keys(list(problems.values())) == {frozenset(keys)}
    splits = _json(folder / "pid_splits.json")
    assert set(splits) == {"train", "val", "test", "trainval", "minitrain", "minival", "minitest"}
    assert splits["test"] == list(problems)
    for pid, row in problems.items():
        assert 2 <= len(row["choices"]) <= 5
        assert 0 <= row["answer"] < len(row["choices"])
        assert (folder / "images" / "test" / pid / "image.png").is_file() == (row["image"] == "image.png")
    sources = Counter((row["image"] is not None, bool(row["hint"])) for row in problems.values())
    assert len(sources) == 4, "pictures and hints: both, either and neither occur"


def test_hateful_memes(world: Path) -> None:
    rows = _lines(world / "hateful_memes" / "dev_seen.jsonl")
    assert _keys(rows) == {frozenset({"id", "img", "label", "text"})}
    assert {row["label"] for row in rows} == {0, 1}
    assert all((world / "hateful_memes" / row["img"]).is_file() for row in rows)


def test_coco(world: Path) -> None:
    whole = _json(world / "coco" / "dataset_coco.json")
    assert set(whole) == {"images", "dataset"}
    keys = {"filepath", "sentids", "filename", "imgid", "split", "sentences", "cocoid"}
    assert _keys(whole["images"]) == {frozenset(keys)}
    for row in whole["images"]:
        assert row["split"] == "test"
        assert _keys(row["sentences"]) == {frozenset({"tokens", "raw", "imgid", "sentid"})}
        assert len({sentence["raw"] for sentence in row["sentences"]}) == 5
        assert (world / "coco" / row["filepath"] / row["filename"]).is_file()


def test_audiocaps(world: Path) -> None:
    with (world / "audiocaps" / "test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["audiocap_id", "youtube_id", "start_time", "caption"]
    clips = Counter((row["youtube_id"], row["start_time"]) for row in rows)
    assert set(clips.values()) == {5}
    assert all((world / "audiocaps" / "audio" / f"{name}_{start}.wav").is_file() for name, start in clips)


def test_nextqa(world: Path) -> None:
    with (world / "nextqa" / "val.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = "video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4"
    assert list(rows[0]) == columns.split(",")
    paths = _json(world / "nextqa" / "map_vid_vidorID.json")
    assert {row["type"] for row in rows} <= {"CW", "CH", "TN", "TP", "TC", "DC", "DL", "DO"}
    assert len({row["type"] for row in rows}) >= 6
    assert len({(row["video"], row["qid"]) for row in rows}) == len(rows)
    assert all((world / "nextqa" / "videos" / f"{paths[row['video']]}.mp4").is_file() for row in rows)


def test_star(world: Path) -> None:
    rows = _json(world / "star" / "STAR_val.json")
    keys = {"question_id", "question", "video_id", "start", "end", "answer", "choices"}
    assert _keys(rows) == {frozenset(keys | {"question_program", "situations"})}
    types = Counter(row["question_id"].partition("_")[0] for row in rows)
    assert types == {"Interaction": 10, "Sequence": 10, "Prediction": 10, "Feasibility": 10}
    for row in rows:
        assert [choice["choice_id"] for choice in row["choices"]] == [0, 1, 2, 3]
        assert [choice["choice"] for choice in row["choices"]].count(row["answer"]) == 1
        assert (world / "star" / "videos" / f"{row['video_id']}.mp4").is_file()


def test_how2qa(world: Path) -> None:
    rows = _lines(world / "how2qa" / "how2qa_val_release.jsonl")
    assert _keys(rows) == {frozenset({"vid_name", "ts", "qid", "q", "a0", "a1", "a2", "a3", "answer_idx"})}
    names = _json(world / "how2qa" / "how2_vid_mapping.json")
    for row in rows:
        assert row["ts"] == "1.00-2.95"
        assert (world / "how2qa" / "videos" / f"{names[row['vid_name']]}.mp4").is_file()


@pytest.mark.parametrize(
    ("task", "keys"),
    [
        ("mmit_cap", {"id", "image", "question", "references"}),
        ("imu_caption", {"id", "imu", "start_s", "end_s", "references"}),
    ],
)
def test_our_own_lines(world: Path, task: str, keys: set[str]) -> None:
    rows = _lines(world / task / "test.jsonl")
    assert _keys(rows) == {frozenset(keys)}
    for row in rows:
        assert len(set(row["references"])) == 5
        assert (world / task / row["image" if task == "mmit_cap" else "imu"]).is_file()


def test_every_example_has_its_wording(world: Path, training: Path) -> None:
    for task in tasks():
        wordings = {group["wording"] for group in _json(world / task / GROUPS).values()}
        captions = task in {"coco", "audiocaps", "imu_caption", "hateful_memes"}
        assert wordings == ({"seen"} if captions else {"seen", "held-out"}), task
        assert {group["wording"] for group in _json(training / task / GROUPS).values()} == {"seen"}, task
        assert len(_json(world / task / GROUPS)) == 40, task


def test_wording_of_agrees_with_the_file(world: Path) -> None:
    groups = _json(world / "textvqa" / GROUPS)
    for row in _json(world / "textvqa" / "TextVQA_0.5.1_val.json")["data"]:
        assert wording_of(row["question"]) == groups[str(row["question_id"])]["wording"]
    with pytest.raises(ValueError, match="not a question"):
        wording_of("Who painted this?")
