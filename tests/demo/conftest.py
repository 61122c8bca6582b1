"""One small demo world for all tests of this folder."""

import hashlib
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from anymal_eval.demo import content_hash, tasks, write_task

EXAMPLES = 40


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds every task's evaluation files, 40 examples each, seed 0."""
    root = tmp_path_factory.mktemp("world")
    for task in tasks():
        write_task(task, root, examples=EXAMPLES)
    return root


@pytest.fixture(scope="session")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for the training split, seed 0 as well."""
    root = tmp_path_factory.mktemp("training")
    for task in tasks():
        write_task(task, root, examples=EXAMPLES, split="train")
    return root


def decode(path: Path) -> NDArray[Any]:
    """A medium as the array that every reader must get from it: lossless, so nothing depends on the decoder."""
    if path.suffix == ".wav":
        with wave.open(str(path)) as sound:
            assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 8000)
            return np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2")
    if path.suffix == ".mp4":
        with av.open(str(path)) as clip:
            return np.stack([frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)])
    if path.suffix == ".npy":
        array: NDArray[Any] = np.load(path)
        return array
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def media(folder: Path) -> list[Path]:
    """All media files of a task, by name."""
    return sorted(path for path in folder.rglob("*") if path.suffix in {".jpg", ".png", ".wav", ".mp4", ".npy"})


def media_hash(folder: Path) -> str:
    """SHA-256 over the names and decoded arrays of a task's media."""
    whole = hashlib.sha256()
    for path in media(folder):
        whole.update(f"{path.relative_to(folder).as_posix()} {content_hash(decode(path))}\n".encode())
    return whole.hexdigest()


def text_hash(folder: Path) -> str:
    """SHA-256 over a task's annotation files."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".json", ".jsonl", ".csv"}:
            whole.update(path.read_bytes())
    return whole.hexdigest()


@pytest.fixture(scope="session")
def hashes() -> Callable[[Path], tuple[str, str]]:
    """The hash of a task folder's decoded media, and of its annotations."""
    return lambda folder: (media_hash(folder), text_hash(folder))


@pytest.fixture(scope="session")
def decoded() -> Callable[[Path], list[NDArray[Any]]]:
    """All decoded media of a task folder, in the order of their names."""
    return lambda folder: [decode(path) for path in media(folder)]
