"""The same arguments give the same arrays on every machine; other seeds give others; small is a part of large."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from anymal_eval.demo import pairs, split_of, tasks, write_task

Hashes = Callable[[Path], tuple[str, str]]

GOLDEN = json.loads((Path(__file__).parent / "hashes.json").read_text(encoding="utf-8"))


def test_decoded_media_are_the_ones_of_every_machine(world: Path, hashes: Hashes) -> None:
    """If this fails on purpose, raise ``writing.WORLD``: caches of the old world must not be taken for the new."""
    assert {task: hashes(world / task)[0] for task in tasks()} == GOLDEN["media"]


def test_annotations_are_the_ones_of_every_machine(world: Path, hashes: Hashes) -> None:
    assert {task: hashes(world / task)[1] for task in tasks()} == GOLDEN["annotations"]


@pytest.mark.parametrize("task", ["vqav2", "audiocaps", "star", "imu_caption"])
def test_twice_is_the_same_and_another_seed_is_not(tmp_path: Path, hashes: Hashes, task: str) -> None:
    first = hashes(write_task(task, tmp_path / "a", examples=6))
    assert hashes(write_task(task, tmp_path / "b", examples=6)) == first
    other = hashes(write_task(task, tmp_path / "c", examples=6, seed=1))
    assert other[0] != first[0]
    assert other[1] != first[1]


def test_ten_are_the_first_of_forty(world: Path, tmp_path: Path) -> None:
    few = write_task("hateful_memes", tmp_path, examples=10)
    rows = (few / "dev_seen.jsonl").read_text().splitlines()
    assert rows == (world / "hateful_memes" / "dev_seen.jsonl").read_text().splitlines()[:10]


def test_pairs_repeat() -> None:
    for kind in ("image", "audio", "video", "imu"):
        first, second = (list(pairs(kind, count=5, seed=3)) for _ in range(2))
        assert [pair.digest for pair in first] == [pair.digest for pair in second]
        assert [pair.questions for pair in first] == [pair.questions for pair in second]
        assert len({pair.digest for pair in first}) == 5


def test_media_have_the_promised_form(world: Path, decoded: Callable[[Path], list[NDArray[Any]]]) -> None:
    assert {array.shape for array in decoded(world / "vqav2")} == {(64, 64, 3)}
    assert all(9000 <= len(array) <= 16000 for array in decoded(world / "audiocaps"))
    assert {array.shape for array in decoded(world / "nextqa")} == {(16, 64, 64, 3)}
    assert {array.shape for array in decoded(world / "star")} == {(32, 64, 64, 3)}
    motions = decoded(world / "imu_caption")
    assert {(array.shape, array.dtype.str) for array in motions} == {((6, 1400), "<f4")}
    assert all(np.isfinite(array).all() for array in motions)


def test_asked_windows_hold_the_asked_scene_alone(world: Path, decoded: Callable[[Path], list[NDArray[Any]]]) -> None:
    """Frames 8 to 23 of a long clip, seconds 1 to 6 of a recording, are whole evaluation scenes."""
    for task in ("star", "how2qa"):
        assert all(split_of(array[8:24]) == "eval" for array in decoded(world / task)), task
    windows = [np.ascontiguousarray(array[:, 200:1200]) for array in decoded(world / "imu_caption")]
    assert all(split_of(window) == "eval" for window in windows)
