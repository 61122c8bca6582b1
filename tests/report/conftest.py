"""Hand-made results.json files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write a run folder that holds only its results."""

    def write(data: Any, name: str = "night") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps(data), encoding="utf-8")
        return folder

    return write
