"""Tiny random models on disk, made once a session and loaded by from_pretrained."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from anymal_eval.anymal import checkpoint, tiny
from anymal_eval.anymal.llm import Loading
from anymal_eval.anymal.model import AnyMAL


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``checkpoint`` and ``backbones`` of the tiny preset."""
    folder = tmp_path_factory.mktemp("anymal")
    tiny.write(folder)
    return folder


@pytest.fixture(scope="session")
def network(tiny_folder: Path) -> AnyMAL:
    """The tiny network; tests must not change it."""
    return checkpoint.load(tiny_folder / "checkpoint", Loading())


@pytest.fixture
def rng() -> np.random.Generator:
    torch.manual_seed(0)
    return np.random.default_rng(0)


def picture(rng: np.random.Generator, height: int = 40, width: int = 48) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def sound(rng: np.random.Generator, seconds: float = 1.0, rate: int = 48_000) -> NDArray[np.float32]:
    return rng.normal(0, 0.1, int(seconds * rate)).astype(np.float32)


def clip(rng: np.random.Generator, frames: int = 4) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (frames, 36, 44, 3), dtype=np.uint8)


def motion(rng: np.random.Generator, seconds: float = 5.0) -> NDArray[np.float32]:
    return rng.normal(0, 1.0, (6, int(200 * seconds))).astype(np.float32)
