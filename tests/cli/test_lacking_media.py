"""A medium that a checkpoint has no encoder for is one line at every entry: the task, the medium, what to do."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

import anymal_eval
from anymal_eval import catalog
from anymal_eval.anymal.config import preset, write_config
from anymal_eval.cli.main import cli
from anymal_eval.errors import WrongUse
from anymal_eval.records import Example, Media
from anymal_eval.task import Task
from anymal_eval.training.plan import make_plan
from anymal_eval.training.resolve import resolve

DEMO = ("--data", "demo")


@pytest.fixture
def images(tmp_path: Path) -> str:
    """A checkpoint whose only encoder is for images: its config, which is all that is read of it."""
    network = write_config(preset("tiny"))
    network["modalities"] = {"image": network["modalities"]["image"]}
    (tmp_path / "images").mkdir()
    content = {"format": 1, "network": network, "frozen": {}}
    (tmp_path / "images" / "config.json").write_text(json.dumps(content))
    return f"anymal:{tmp_path / 'images'}"


def command(*arguments: object) -> None:
    cli.main([str(argument) for argument in arguments], standalone_mode=False)


def train(images: str, tmp_path: Path) -> None:
    (tmp_path / "1.png").touch()
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"id": 1, "image": "1.png", "caption": "a cat"}) + "\n")
    resolve(
        make_plan(
            stage="align",
            network=images.removeprefix("anymal:"),
            data=(f"pairs:{tmp_path / 'pairs.jsonl'}",),
            out=tmp_path / "out",
            eval_every=1,
            eval_tasks="star",
            steps=1,
            batch_size=1,
            learning_rate=1.0,
            device="cpu",
        )
    )


ENTRIES: dict[str, Callable[[str, Path], object]] = {
    "run": lambda images, _: command("run", "--tasks", "star", "--model", images, *DEMO),
    "run without media": lambda images, _: command(
        "run", "--tasks", "star", "--model", images, *DEMO, "--ablate", "no-media"
    ),
    "show": lambda images, _: command("show", "star", "--model", images, *DEMO),
    "features fill": lambda images, root: command(
        "features", "fill", "--tasks", "star", "--model", images, *DEMO, "--features", root / "features"
    ),
    "train": train,
    "evaluate": lambda images, _: anymal_eval.evaluate(images, "star", data="demo"),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_task_of_a_medium_that_the_checkpoint_lacks(entry: str, images: str, tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match=r"takes image; star needs video: take a checkpoint .* leave this task out$"):
        ENTRIES[entry](images, tmp_path)
    assert not (tmp_path / "features").exists()


class Mixed:
    """Rows of VQAv2's demo with a sound in one of them."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def files(self, split: object) -> tuple[()]:
        return ()

    def rows(self, root: Path, split: object) -> Iterator[Example]:
        sound = Media(kind="audio", uri=str(root / "b.wav"))
        picture = Media(kind="image", uri=str(root / "a.png"))
        one = {"question": "what?", "kind": self._task.kind, "references": ("a",) * 10}
        for name, media in (("a", picture), ("b", sound)):
            yield Example(id=name, cluster=name, media=(media,), **one)  # type: ignore[arg-type]


def test_an_example_of_another_medium_than_its_task(images: str, tmp_path: Path) -> None:
    task = catalog.tasks(()).get("vqav2", "TASK", Task)
    task = dataclasses.replace(task, name="mixed", official=Mixed(task), to_example=lambda row: row)
    with pytest.raises(WrongUse, match=r"model anymal takes image; mixed, example b, needs audio: take a checkpoint"):
        anymal_eval.evaluate(images, task, data_root=tmp_path)


def test_it_is_one_line(images: str) -> None:
    with pytest.raises(WrongUse) as found:
        command("run", "--tasks", "vqav2,audiocaps", "--model", images, *DEMO)
    assert "\n" not in str(found.value)
    assert not isinstance(found.value, click.ClickException)
