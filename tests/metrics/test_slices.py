"""The licensed slices in this repository score what official code says of them."""

import csv
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anymal_eval.metrics import Floats, get, missing_requirement
from anymal_eval.records import Answer, Example

SLICES = Path(__file__).parents[1] / "golden" / "slices"
TASKS = sorted(folder.name for folder in SLICES.iterdir() if (folder / "expected.json").is_file())
Rows = dict[str, Example]


def _json(*parts: str) -> Any:
    return json.loads(SLICES.joinpath(*parts).read_text(encoding="utf-8"))


def _open(name: Any, references: list[str]) -> Example:
    return Example(id=str(name), cluster=str(name), kind="short_answer", references=tuple(references))


def _vqa(file: tuple[str, ...], key: str = "question_id") -> Rows:
    rows = _json(*file)
    rows = rows["annotations"] if isinstance(rows, dict) else rows
    return {str(row[key]): _open(row[key], [item["answer"] for item in row["answers"]]) for row in rows}


def _captions(pairs: list[tuple[str, str]]) -> Rows:
    references: dict[str, list[str]] = {}
    for name, text in pairs:
        references.setdefault(name, []).append(text)
    return {name: _open(name, texts) for name, texts in references.items()}


def _csv(*parts: str) -> list[dict[str, str]]:
    with SLICES.joinpath(*parts).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _nextqa() -> Rows:
    rows = {f"{row['video']}_{row['qid']}": row for row in _csv("nextqa", "val.csv")}
    return {
        name: Example(
            id=name,
            cluster=row["video"],
            kind="choice",
            options=tuple(row[f"a{at}"] for at in range(5)),
            label=int(row["answer"]),
        )
        for name, row in rows.items()
    }


def _examples(task: str) -> Rows:
    if task == "vqav2":
        return _vqa(("vqav2", "v2_mscoco_val2014_annotations.json"))
    if task == "textvqa":
        return _vqa(("textvqa", "val_annotations_vqa_format.json"))
    if task == "vizwiz":
        return _vqa(("vizwiz", "Annotations", "val.json"), "image")
    if task == "nextqa":
        return _nextqa()
    if task == "audiocaps":
        return _captions([(row["youtube_id"], row["caption"]) for row in _csv("audiocaps", "test.csv")])
    rows = _json("coco", "coco_karpathy_test_gt.json")["annotations"]
    return _captions([(str(row["image_id"]), row["caption"]) for row in rows])


def _answers(task: str) -> dict[str, Answer]:
    if task == "nextqa":
        answered = _json("nextqa", "predictions.json")
        return {name: Answer(state="ok", choice=row["prediction"]) for name, row in answered.items()}
    if task == "audiocaps":
        lines = (SLICES / "audiocaps" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
        return {row["id"]: Answer(state="ok", text=row["answer"]) for row in map(json.loads, lines)}
    answers = {}
    for row in _json(task, "predictions.json"):
        name, text = row.values()
        answers[str(name)] = Answer(state="ok", text=text)
    return answers


def _cases() -> list[tuple[str, str]]:
    return [(task, metric) for task in TASKS for metric in _json(task, "expected.json")["values"]]


def test_there_are_slices() -> None:
    assert TASKS == ["audiocaps", "coco", "nextqa", "textvqa", "vizwiz", "vqav2"]
    assert sum(file.stat().st_size for file in SLICES.rglob("*") if file.is_file()) < 1_500_000


@cache
def _meteor() -> dict[str, Floats]:
    """Both caption tasks at once: the jar takes seconds to start, and its rows do not depend on each other."""
    tasks = [task for task, name in _cases() if name == "meteor"]
    examples = [example for task in tasks for example in _examples(task).values()]
    answers = [_answers(task)[name] for task in tasks for name in _examples(task)]
    stats = get("meteor").statistics(examples, answers)
    return dict(zip(tasks, np.split(stats, len(tasks)), strict=True))


@pytest.mark.parametrize(("task", "name"), _cases())
def test_slice(task: str, name: str) -> None:
    metric = get(name)
    if why := missing_requirement(metric):
        pytest.skip(f"not computed: {why}")
    expected = _json(task, "expected.json")
    examples, answers = _examples(task), _answers(task)
    assert examples.keys() == answers.keys()
    assert len(examples) == expected["n"] == 200
    if name == "meteor":
        stats = _meteor()[task]
    else:
        stats = metric.statistics(list(examples.values()), [answers[row] for row in examples])
    values = metric.reduce(stats, np.ones((1, len(stats))), {})[0]
    got = {output.name: value for output, value in zip(metric.outputs, values.tolist(), strict=True)}
    assert got == pytest.approx(expected["values"][name], abs=1e-9)
    if name in expected["per_item"]:
        assert metric.display is not None
        scores = dict(zip(examples, metric.display(stats).tolist(), strict=True))
        assert scores == pytest.approx(expected["per_item"][name], abs=1e-9)
