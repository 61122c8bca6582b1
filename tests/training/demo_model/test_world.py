"""The demo model trains on the training half only, with the prompts of evaluation, in files that ``train`` reads."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anymal_eval import catalog, protocols
from anymal_eval.demo import split_of, write_task
from anymal_eval.protocols.prompting import build_request
from anymal_eval.records import Media
from anymal_eval.sources.load import load_examples
from anymal_eval.task import Task
from anymal_eval.training.demo_model import world
from anymal_eval.training.sources import open_data
from tests.conftest import DEMO_TASKS


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    world.write(world.draw({"image": 40, "audio": 5, "video": 4, "imu": 5}, 6, seed=0), folder, seed=0)
    return folder


def test_train_reads_every_row(written: Path) -> None:
    for kind in world.KINDS:
        source = open_data(f"pairs:{written / f'pairs-{kind}.jsonl'}", prompt=world.CAPTION)
        assert source.samples is not None
        assert {sample.media[0].kind for sample in source.samples} == {kind}
        assert all(sample.turns[0].parts[1:] == ("\n",) for sample in source.samples)
    source = open_data(f"instructions:{written / 'instructions.jsonl'}")
    assert source.samples is not None
    assert {len(sample.media) for sample in source.samples} == {0, 1}


def test_no_picture_is_of_the_evaluation_half(written: Path) -> None:
    pictures = [np.asarray(Image.open(file)) for file in sorted((written / "image").glob("*.png"))]
    assert len(pictures) == 40
    assert {split_of(picture) for picture in pictures} == {"train"}


@pytest.mark.parametrize("name", DEMO_TASKS)
def test_evaluation_has_the_prompts_of_training(name: str, tmp_path: Path) -> None:
    task = catalog.tasks().get(name, "TASK", Task)
    write_task(name, tmp_path, examples=12)
    protocol = protocols.get("demo")
    for example in load_examples(task, task.split(None), "demo", tmp_path):
        request = build_request(example, task, {}, protocol)
        text = "".join(part for message in request.messages for part in message.parts if not isinstance(part, Media))
        given = [example.context.get(key, "") for key in ("hint", "ocr")]
        question = "".join(f"\n{line}" for line in (*given, example.question) if line)
        assert text == (question if example.kind != "caption" or name == "mmit_cap" else world.CAPTION)
        assert set(request.candidates) == set(example.options)


def test_memes_come_twice(written: Path) -> None:
    rows = [json.loads(line) for line in (written / "instructions.jsonl").read_text(encoding="utf-8").splitlines()]
    memes = [row for row in rows if "hateful" in row["instruction"]]
    assert len(memes) == 2 * len({row["image"] for row in memes}) > 0
