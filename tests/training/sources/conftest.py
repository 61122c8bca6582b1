"""Small real media and tables, made in the test."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from anymal_eval.demo.files import write_motion, write_picture, write_sound

Write = Callable[..., str]


@pytest.fixture
def picture(tmp_path: Path) -> Write:
    def write(name: str, grey: int = 0) -> str:
        write_picture(tmp_path / name, np.full((2, 2, 3), grey, np.uint8))
        return str(tmp_path / name)

    return write


@pytest.fixture
def sound(tmp_path: Path) -> Write:
    def write(name: str) -> str:
        write_sound(tmp_path / name, np.zeros(80, np.int16), 8000)
        return str(tmp_path / name)

    return write


@pytest.fixture
def motion(tmp_path: Path) -> Write:
    def write(name: str, seconds: int = 10) -> str:
        write_motion(tmp_path / name, np.zeros((6, 200 * seconds), np.float32))
        return str(tmp_path / name)

    return write


@pytest.fixture
def lines(tmp_path: Path) -> Write:
    def write(name: str, *rows: object) -> str:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(tmp_path / name)

    return write
