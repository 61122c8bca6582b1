"""The official loader reads every task's files unchanged, and the media decode to what was drawn."""

import runpy
from pathlib import Path

import pytest

from anymal_eval.demo import tasks
from anymal_eval.media.reader import MediaReader
from anymal_eval.paths import builtin_tasks
from anymal_eval.sources.load import load_examples
from anymal_eval.task import Task

SHAPES = {"image": (64, 64, 3), "video": (8, 64, 64, 3), "imu": (6, 1000)}


@pytest.mark.parametrize("name", tasks())
def test_official_loader(world: Path, name: str) -> None:
    task = runpy.run_path(str(builtin_tasks() / f"{name}.py"))["TASK"]
    assert isinstance(task, Task)
    examples = load_examples(task, task.splits[0], "official", world)
    assert len(examples) == 40
    assert all(example.references for example in examples)
    with MediaReader() as reader:
        for example in [example for example in examples if example.media][:3]:
            (medium,) = example.media
            if medium.kind == "image":
                assert reader.image(medium).shape == SHAPES["image"]
            elif medium.kind == "video":
                assert reader.video(medium, 8).shape == SHAPES["video"]
            elif medium.kind == "imu":
                assert reader.imu(medium).shape == SHAPES["imu"]
            else:
                assert 9000 <= len(reader.audio(medium, 8000)) <= 16000
