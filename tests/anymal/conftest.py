"""Tiny random models on disk, made once a session and loaded by from_pretrained."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from anymal_eval.anymal import checkpoint, tiny
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.checkpoints.loading import Loading


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


@pytest.fixture
def draw(rng: np.random.Generator) -> Callable[..., NDArray[Any]]:
    """An array of a medium as the decoders give it, of any size: ``draw("audio", seconds=2.5)``."""

    def drawn(medium: str, seconds: float | None = None, frames: int = 4) -> NDArray[Any]:
        if medium == "image":
            return rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        if medium == "video":
            return rng.integers(0, 256, (frames, 36, 44, 3), dtype=np.uint8)
        if medium == "audio":
            return rng.normal(0, 0.1, int(48_000 * (seconds or 1.0))).astype(np.float32)
        return rng.normal(0, 1.0, (6, int(200 * (seconds or 5.0)))).astype(np.float32)

    return drawn
