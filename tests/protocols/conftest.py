"""One hand-written example a task, so that prompts can be looked at without any data."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anymal_eval import catalog
from anymal_eval.records import AnswerKind, Example, Media, MediaKind
from anymal_eval.task import DataFile, Split, Task
from tests.conftest import golden_cases

SHAPES: dict[str, tuple[AnswerKind, MediaKind]] = {
    "vqav2": ("short_answer", "image"),
    "textvqa": ("short_answer", "image"),
    "scienceqa": ("choice", "image"),
    "vizwiz": ("short_answer", "image"),
    "okvqa": ("short_answer", "image"),
    "hateful_memes": ("yes_no", "image"),
    "coco": ("caption", "image"),
    "audiocaps": ("caption", "audio"),
    "how2qa": ("choice", "video"),
    "star": ("choice", "video"),
    "nextqa": ("choice", "video"),
    "mmit_cap": ("caption", "image"),
    "imu_caption": ("caption", "imu"),
}
QUESTIONS = {
    "vqav2": 'What does the sign say: "Stop"?',
    "textvqa": "What is the brand?",
    "scienceqa": "Which of these is a solid?",
    "vizwiz": "What is this? Thanks.",
    "okvqa": "Which sport is this?",
    "how2qa": "What does the woman hold?",
    "star": "Which object was taken by the person?",
    "nextqa": "why did the boy laugh",
    "mmit_cap": "Describe the picture in detail.",
}
CONTEXT = {
    "textvqa": {"ocr_tokens": "nous, les, gosses"},
    "scienceqa": {"hint": "A solid keeps its shape."},
    "hateful_memes": {"ocr": "look who came to dinner"},
}
OPTIONS = {"choice": ("a cup.", "a book."), "yes_no": ("no", "yes")}


class NoSource:
    """A source without files."""

    def files(self, split: Split) -> tuple[DataFile, ...]:
        return ()

    def rows(self, root: Path, split: Split) -> Iterator[Any]:
        return iter(())


def task_of(name: str) -> Task:
    if name not in SHAPES:
        return catalog.tasks().get(name, "TASK", Task)
    kind, media = SHAPES[name]
    return Task(
        name=name, version=1, kind=kind, media=media, splits=(Split("val", 1),), official=NoSource(),
        to_example=lambda row: example_of(name), metrics=(), headline="",
    )  # fmt: skip


def example_of(name: str) -> Example:
    """A task that is not in the tables above gives the first example of its golden rows."""
    if name not in SHAPES:
        first = golden_cases(name)[0]["expected"][0]
        fields: dict[str, Any] = {key: tuple(of) if isinstance(of, list) else of for key, of in first.items()}
        fields["media"] = tuple(Media(**medium) for medium in first["media"])
        return Example(**fields)
    kind, media = SHAPES[name]
    return Example(
        id="1",
        cluster="1",
        kind=kind,
        media=(Media(kind=media, uri=f"{name}.bin"),),
        question=QUESTIONS.get(name, ""),
        context=CONTEXT.get(name, {}),
        options=OPTIONS.get(kind, ()),
    )


@pytest.fixture
def task() -> Callable[[str], Task]:
    return task_of


@pytest.fixture
def example() -> Callable[[str], Example]:
    return example_of
