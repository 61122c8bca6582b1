"""What the metric tests share."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def golden() -> Path:
    """Published predictions with known scores. Some may not be redistributed, so they lie beside the checkout."""
    folder = Path(os.environ.get("ANYMAL_EVAL_GOLDEN") or ROOT.parent / "shared" / "golden")
    if not folder.is_dir():
        pytest.skip(f"published predictions are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def official_vqa() -> ModuleType:
    """The straight-line transcription of the official VQA scorers, which shares nothing with ours."""
    file = ROOT / "benchmarks" / "official_vqa.py"
    spec = importlib.util.spec_from_file_location("official_vqa", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
