"""Fingerprints of many examples are remembered by their content: what is recalled is what would be computed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anymal_eval import catalog, protocols
from anymal_eval.evaluation import requests
from anymal_eval.models import PLAIN_WORDING
from anymal_eval.records import Example, Media
from anymal_eval.sources import dataset, load, remembering, vqa
from anymal_eval.sources.dataset import TaskDataset
from anymal_eval.sources.load import missing_media
from anymal_eval.sources.remembering import digest_of, remembered
from anymal_eval.task import Task

EXAMPLES = tuple(
    Example(
        id=str(n), cluster="c", kind="short_answer", media=(Media(kind="image", uri=f"/data/vqav2/{n}.jpg"),),
        question=f"q{n}", references=("yes",) * 10,
    )
    for n in range(3)
)  # fmt: skip
Counted = Callable[[Any, str], list[int]]


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    """A cache of its own, where few examples are many; counts the calls of a function of a module."""
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remembering, "MANY", 2)

    def count(module: Any, name: str) -> list[int]:
        calls, real = [0], getattr(module, name)

        def counting(*given: Any) -> Any:
            calls[0] += 1
            return real(*given)

        monkeypatch.setattr(module, name, counting)
        return calls

    return count


@pytest.mark.parametrize(
    "change",
    [{"id": "9"}, {"cluster": "d"}, {"question": "Q0"}, {"references": ("yes",) * 9 + ("no",)}, {"references": None},
     {"options": ("a",)}, {"label": 1}, {"context": {"ocr": "x"}}, {"groups": {"g": "x"}}, {"key": "k"}, {"media": ()},
     {"media": (Media(kind="video", uri="/data/vqav2/0.jpg"),)},
     {"media": (Media(kind="image", uri="/data/vqav2/0.jpg", start_s=1.0),)}],
)  # fmt: skip
def test_every_field_is_in_the_digest(change: dict[str, Any], counted: Counted) -> None:
    assert digest_of(EXAMPLES) == digest_of([replace(each) for each in EXAMPLES])
    assert digest_of(EXAMPLES) != digest_of([replace(EXAMPLES[0], **change), *EXAMPLES[1:]])
    assert digest_of(EXAMPLES) != digest_of(EXAMPLES[::-1])


def test_data_are_written_once(tmp_path: Path, counted: Counted) -> None:
    made = counted(dataset, "fingerprints")
    task, options = _files(tmp_path, ["What?", "Why?"])
    first = dataset.load_dataset(task, options)
    again = dataset.load_dataset(task, options)
    assert made == [1]
    assert (first.fingerprint, first.content) == (again.fingerprint, again.content)
    assert (first.fingerprint, first.content) == load.fingerprints(first.examples, tmp_path / "vqav2")
    # A file that was edited gives other examples.
    _files(tmp_path, ["What?", "Who?"])
    other = dataset.load_dataset(task, options)
    assert made == [2]
    assert other.fingerprint != first.fingerprint
    # A damaged file counts as none.
    for file in (tmp_path / "cache" / "fingerprints").glob("*.json"):
        file.write_bytes(file.read_bytes().replace(other.fingerprint.encode(), b"0" * 16))
    assert dataset.load_dataset(task, options).fingerprint == other.fingerprint
    assert made == [3]


def test_prompts_are_written_once(counted: Counted) -> None:
    made = counted(requests, "prompts_hash")
    task = catalog.tasks().get("vqav2", "TASK", Task)
    data = TaskDataset(task=task, split=task.split(None), examples=EXAMPLES, all_ids=(), fingerprint="x",
                       hashed=(EXAMPLES, digest_of(EXAMPLES)))  # fmt: skip

    def prompts(data: TaskDataset, protocol: str = "blip2-2023", ablate: str = "none") -> str:
        return requests.build_requests(data, PLAIN_WORDING, protocols.get(protocol), ablate).prompts

    first = prompts(data)
    assert prompts(data) == first
    assert made == [1]
    # Other words, other media, and other examples in place of those that were hashed.
    fewer = replace(data, examples=EXAMPLES[:2])
    found = {first, prompts(data, "anymal-2023"), prompts(data, ablate="no-media"), prompts(fewer)}
    assert made == [4]
    assert len(found) == 4


@pytest.mark.parametrize("odd", ["\ud800", object(), 1 << 70])
def test_odd_examples_are_not_remembered(odd: Any, counted: Counted, tmp_path: Path) -> None:
    digest = digest_of([replace(EXAMPLES[0], question=odd), *EXAMPLES])
    assert digest is None
    assert remembered(digest, {}, lambda: 7) == 7
    assert not (tmp_path / "cache").exists()


def test_missing_media_of_a_large_folder(tmp_path: Path) -> None:
    names = [str(tmp_path / f"{n:03d}.jpg") for n in range(300)]
    for name in names[4:]:
        Path(name).write_bytes(b"x")
    Path(names[1]).mkdir()
    Path(names[2]).symlink_to(tmp_path / "nothing.jpg")
    Path(names[3]).symlink_to(names[9])
    examples = [replace(EXAMPLES[0], media=(Media(kind="image", uri=name),)) for name in (*names, names[0])]
    row = replace(EXAMPLES[0], media=(Media(kind="image", uri="row:set@1/val#3"),))
    assert missing_media([*examples, row]) == names[:3]


def _files(folder: Path, questions: list[str]) -> tuple[Task, dataset.DataOptions]:
    """A task of VQAv2's layout over files with these questions."""
    home = folder / "vqav2"
    home.mkdir(exist_ok=True)
    rows = [{"image_id": n, "question_id": n, "question": text} for n, text in enumerate(questions)]
    labels = [{"image_id": n, "question_id": n, "answers": [{"answer": "a"}] * 10} for n in range(len(questions))]
    task = catalog.tasks().get("vqav2", "TASK", Task)
    assert isinstance(task.official, vqa.VQAFiles)
    split = task.split("val")
    question_file, label_file, *_ = (home / file.name for file in task.official.files(split))
    question_file.write_text(json.dumps({"questions": rows}))
    label_file.write_text(json.dumps({"annotations": labels}))
    return task, dataset.DataOptions(data="official", data_root=folder, split="val")
