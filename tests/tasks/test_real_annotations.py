"""The real annotation files beside the checkout, put into their official layout, give the official numbers."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anymal_eval import catalog
from anymal_eval.errors import BadData
from anymal_eval.records import Example
from anymal_eval.sources.load import data_fingerprint, load_examples
from anymal_eval.task import Task


def read(name: str, root: Path) -> list[Example]:
    task = catalog.tasks().get(name, "TASK", Task)
    return load_examples(task, task.split(None), "official", root)


def put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def dump(data: object, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(data), encoding="utf-8")


def vqav2(golden: Path, root: Path) -> None:
    for kind, name in (
        ("questions", "v2_OpenEnded_mscoco_val2014_questions"),
        ("annotations", "v2_mscoco_val2014_annotations"),
    ):
        put(golden / "vqav2" / f"vqav2_val_subset4084_{kind}.json", root / "vqav2" / f"{name}.json")


def textvqa(golden: Path, root: Path) -> None:
    for kind in ("questions", "annotations"):
        put(golden / "textvqa" / f"val_{kind}_vqa_format.json", root / "textvqa" / f"val_{kind}_vqa_format.json")


def vizwiz(golden: Path, root: Path) -> None:
    parts = [
        json.loads((golden / "vizwiz" / f"val_{part}_vqa_format.json").read_text())
        for part in ("questions", "annotations")
    ]
    rows = [
        {
            "image": ask["image_id"],
            "question": ask["question"],
            "answers": note["answers"],
            "answer_type": note["question_type"],
        }
        for ask, note in zip(parts[0]["questions"], parts[1]["annotations"], strict=True)
    ]
    dump(rows, root / "vizwiz" / "Annotations" / "val.json")


def scienceqa(golden: Path, root: Path) -> None:
    gold = json.loads((golden / "scienceqa" / "test_gold.json").read_text())
    prompts = {row["id"]: row for row in json.loads((golden / "scienceqa" / "llava_test_CQM-A.json").read_text())}
    problems: dict[str, Any] = {}
    for name, row in gold.items():
        text = prompts[name]["conversations"][0]["value"].removeprefix("<image>\n")
        at = text.rindex("\nA. ")
        hint, _, question = (
            text[:at].removeprefix("Context: ").rpartition("\n") if row["has_text"] else ("", "", text[:at])
        )
        problems[name] = {
            "question": question,
            "choices": re.split(r"\n[A-E]\. ", text[at:])[1:],
            "answer": row["answer"],
            "hint": hint,
            "image": "image.png" if row["has_image"] else None,
            "grade": "grade1",
            "subject": "natural science",
            "split": "test",
        }
    dump(problems, root / "scienceqa" / "problems.json")
    dump({"test": list(gold)}, root / "scienceqa" / "pid_splits.json")


def copied(*pairs: tuple[str, str]) -> Callable[[Path, Path], None]:
    def write(golden: Path, root: Path) -> None:
        for source, target in pairs:
            put(golden / source, root / target)

    return write


CASES = {
    "vqav2": (vqav2, 4_084, 2_418),
    "textvqa": (textvqa, 5_000, 3_166),
    "vizwiz": (vizwiz, 4_319, 4_319),
    "scienceqa": (scienceqa, 4_241, 4_241),
    "coco": (copied(("coco/captions_test5k.json", "coco/coco_karpathy_test_gt.json")), 5_000, 5_000),
    "audiocaps": (copied(("audiocaps/test.csv", "audiocaps/test.csv")), 975, 975),
    "nextqa": (copied(("nextqa/val.csv", "nextqa/val.csv")), 4_996, 570),
    "how2qa": (copied(("how2qa/how2qa_val_release.jsonl", "how2qa/how2qa_val_release.jsonl")), 3_115, 3_058),
}


@pytest.mark.parametrize("name", CASES)
def test_counts_are_the_official_ones(name: str, golden: Path, tmp_path: Path) -> None:
    write, examples, clusters = CASES[name]
    for place in ("here", "elsewhere"):
        write(golden, tmp_path / place)
    found = read(name, tmp_path / "here")
    assert len(found) == examples
    assert len({example.cluster for example in found}) == clusters
    assert all(example.references for example in found)
    assert all(Path(medium.uri).is_absolute() for example in found for medium in example.media)
    again = read(name, tmp_path / "elsewhere")
    prints = [data_fingerprint(rows, tmp_path / at / name) for rows, at in ((found, "here"), (again, "elsewhere"))]
    assert prints[0] == prints[1] != data_fingerprint(found[1:], tmp_path / "here" / name)


def test_groups_have_the_official_sizes(golden: Path, tmp_path: Path) -> None:
    for name in ("scienceqa", "nextqa", "vizwiz"):
        CASES[name][0](golden, tmp_path)
    science = read("scienceqa", tmp_path)
    sizes = {group: sum(item.groups[group] == "yes" for item in science) for group in ("image", "text", "none")}
    assert sizes == {"image": 2_017, "text": 2_046, "none": 1_435}
    assert Counter(len(item.options) for item in science) == {2: 2_228, 3: 971, 4: 1_004, 5: 38}
    moments = read("nextqa", tmp_path)
    assert Counter(item.groups["category"] for item in moments) == {
        "causal": 2_607,
        "temporal": 1_612,
        "descriptive": 777,
    }
    assert Counter(item.groups["type"] for item in moments) == {
        "CW": 1_924, "CH": 683, "TN": 949, "TC": 663, "DC": 177, "DL": 295, "DO": 305,
    }  # fmt: skip
    blind = Counter(item.groups["answer_type"] for item in read("vizwiz", tmp_path))
    assert blind == {"other": 2_691, "unanswerable": 1_385, "yes/no": 195, "number": 48}


def test_captions_are_all_there(golden: Path, tmp_path: Path) -> None:
    for name in ("coco", "audiocaps"):
        CASES[name][0](golden, tmp_path)
    assert Counter(len(item.references or ()) for item in read("coco", tmp_path)) == {5: 4_990, 6: 10}
    assert {len(item.references or ()) for item in read("audiocaps", tmp_path)} == {5}


def test_double_ids_are_refused_with_their_file(golden: Path, tmp_path: Path) -> None:
    rows = [
        json.loads(line)
        for line in (golden / "hateful_memes/dev_seen_labels_and_scores_notext.jsonl").read_text().splitlines()
    ]
    lines = [
        json.dumps({"id": row["id"], "img": f"img/{row['id']:05d}.png", "label": row["label"], "text": ""})
        for row in rows
    ]
    file = tmp_path / "hateful_memes" / "dev_seen.jsonl"
    file.parent.mkdir()
    file.write_text("\n".join(lines))
    with pytest.raises(BadData, match=r"dev_seen\.jsonl: 4 double ids: 10285, 12045, 96250, 17908$"):
        read("hateful_memes", tmp_path)
    once = {row["id"]: line for row, line in zip(rows, lines, strict=True)}
    file.write_text("\n".join(once.values()))
    assert len(read("hateful_memes", tmp_path)) == 500
