"""Rebuilds the benchmarks' official layouts from the golden data, and answers in their submission layouts."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def lines(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def write(file: Path, data: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".jsonl":
        assert isinstance(data, list)
        file.write_text("".join(json.dumps(row) + "\n" for row in data), encoding="utf-8")
    else:
        file.write_text(json.dumps(data), encoding="utf-8")
    return file


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def lay_vqav2(golden: Path, root: Path) -> None:
    for kind, name in (("questions", "v2_OpenEnded_mscoco_val2014_questions.json"),
                       ("annotations", "v2_mscoco_val2014_annotations.json")):  # fmt: skip
        copy(golden / f"vqav2/vqav2_val_subset4084_{kind}.json", root / name)


def lay_textvqa(golden: Path, root: Path) -> None:
    for kind in ("questions", "annotations"):
        copy(golden / f"textvqa/val_{kind}_vqa_format.json", root / f"val_{kind}_vqa_format.json")


def lay_vizwiz(golden: Path, root: Path) -> None:
    asked = read(golden / "vizwiz/val_questions_vqa_format.json")["questions"]
    annotations = read(golden / "vizwiz/val_annotations_vqa_format.json")["annotations"]
    by_id = {row["question_id"]: row for row in annotations}
    rows = []
    for row in asked:
        found = by_id[row["question_id"]]
        kind = found["question_type"]
        rows.append({"image": row["image_id"], "question": row["question"], "answers": found["answers"],
                     "answer_type": kind, "answerable": int(kind != "unanswerable")})  # fmt: skip
    write(root / "Annotations/val.json", rows)


def lay_scienceqa(golden: Path, root: Path) -> None:
    gold = read(golden / "scienceqa/test_gold.json")
    asked = {row["id"]: row for row in read(golden / "scienceqa/llava_test_CQM-A.json")}
    problems = {}
    for name, row in gold.items():
        text = asked[name]["conversations"][0]["value"].replace("<image>\n", "").replace("\n<image>", "")
        question, _, options = text.partition("\nA. ")
        choices = ["?"] * row["n_choices"]
        for place, line in enumerate(("A. " + options).split("\n")[: row["n_choices"]]):
            choices[place] = line[3:] or "?"
        problems[name] = {
            "question": question, "choices": choices, "answer": row["answer"], "split": "test",
            "hint": "a hint" if row["has_text"] else "", "image": "image.png" if row["has_image"] else None,
            "task": "closed choice", "grade": "grade4", "subject": "natural science", "topic": "biology",
            "category": "x", "skill": "y", "lecture": "", "solution": "",
        }  # fmt: skip
    write(root / "problems.json", problems)
    write(root / "pid_splits.json", {"test": list(problems)})


def lay_coco(golden: Path, root: Path) -> None:
    copy(golden / "coco/captions_test5k.json", root / "coco_karpathy_test_gt.json")


def lay_nextqa(golden: Path, root: Path) -> None:
    copy(golden / "nextqa/val.csv", root / "val.csv")
    copy(golden / "nextqa/map_vid_vidorID.json", root / "map_vid_vidorID.json")


def lay_how2qa(golden: Path, root: Path) -> None:
    copy(golden / "how2qa/how2qa_val_release.jsonl", root / "how2qa_val_release.jsonl")
    names = {row["vid_name"] for row in lines(root / "how2qa_val_release.jsonl")}
    write(root / "how2_vid_mapping.json", {name: f"video{name}" for name in sorted(names)})


def lay_audiocaps(golden: Path, root: Path) -> None:
    root.mkdir(parents=True)
    with (golden / "audiocaps/predictions_example_2.csv").open(newline="", encoding="utf-8") as found:
        rows = list(csv.DictReader(found))
    with (root / "test.csv").open("w", newline="", encoding="utf-8") as made:
        out = csv.writer(made)
        out.writerow(["audiocap_id", "youtube_id", "start_time", "caption"])
        for place, row in enumerate(rows):
            for number in range(1, 6):
                out.writerow([place * 5 + number, f"clip{place:04}", 30, row[f"caption_{number}"]])


def lay_hateful_memes(golden: Path, root: Path) -> None:
    source = golden / "hateful_memes/dev_seen_labels_and_scores_notext.jsonl"
    rows = lines(source)
    memes = [{"id": row["id"], "img": f"img/{row['id']:05}.png", "label": row["label"], "text": "x"} for row in rows]
    write(root / "dev_seen.jsonl", memes)


LAYOUTS: dict[str, Callable[[Path, Path], None]] = {
    name.removeprefix("lay_"): made for name, made in list(globals().items()) if name.startswith("lay_")
}


@dataclass
class Lab:
    """A data folder with official layouts, and the command line on it."""

    golden: Path
    folder: Path
    call: Command

    def lay(self, task: str) -> Path:
        root = self.folder / "data" / task
        if not root.exists():
            LAYOUTS[task](self.golden, root)
        return root

    def answers(self, data: object, name: str = "answers.json") -> Path:
        return write(self.folder / name, data)

    def run(self, task: str, answers: Path, *more: object, out: str = "run") -> Any:
        """Run ``replay`` on a task and return the finished process."""
        self.lay(task)
        return self.call(
            "run", "--tasks", task, "--model", f"replay:{answers}", "--data", "official",
            "--data-root", self.folder / "data", "--out", self.folder / out, *more,
        )  # fmt: skip

    def measurements(self, out: str = "run") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = read(self.folder / out / "results.json")["measurements"]
        return found

    def value(self, out: str = "run", **wanted: object) -> float:
        rows = [row for row in self.measurements(out) if all(row[key] == value for key, value in wanted.items())]
        assert len(rows) == 1, (wanted, rows)
        value = rows[0]["value"]
        assert isinstance(value, float)
        return value


@pytest.fixture
def lab(golden: Path, tmp_path: Path, command_here: Command) -> Lab:
    return Lab(golden, tmp_path, command_here)
