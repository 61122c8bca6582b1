"""What all tests share: the real answers beside the checkout, and the command line in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def golden() -> Path:
    """Real answers of published systems with their official scores; not part of this repository."""
    folder = Path(os.environ.get("ANYMAL_EVAL_GOLDEN") or ROOT.parent / "shared" / "golden")
    if not folder.is_dir():
        pytest.skip(f"the golden data are not here: {folder.name}")
    return folder


@pytest.fixture
def command() -> Command:
    """``python -m anymal_eval ...`` as a user types it."""

    def call(*arguments: object, cwd: Path = ROOT, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "anymal_eval", *map(str, arguments)],
            capture_output=True, text=True, cwd=cwd, check=False, timeout=300,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **more},
        )  # fmt: skip

    return call


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB with a 256 KiB ``filler`` on it that a test may delete to make space."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    (folder / "filler").write_bytes(b"x" * (256 << 10))
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
