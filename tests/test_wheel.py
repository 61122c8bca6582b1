"""What is installed from a wheel: the tasks are inside it, and a neighbour called ``tasks`` is nobody of ours."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from the sdist as a release would be, and unpacked where nothing else of ours lies."""
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    site = folder / "site"
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    (site / "tasks").mkdir()
    (site / "tasks" / "stranger.py").write_text('"""Somebody else\'s."""\n')
    return site


def call(site: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    # The wheel comes first on the path, before the editable checkout that the tests run in.
    return subprocess.run(
        [sys.executable, "-m", "anymal_eval", *arguments],
        cwd=site.parent, env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_tasks_come_along(installed: Path) -> None:
    done = call(installed, "tasks", "--json")
    assert done.returncode == 0, done.stderr
    assert '"vqav2"' in done.stdout
    assert "stranger" not in done.stdout
    assert str(installed / "anymal_eval" / "_tasks" / "coco.py") in call(installed, "tasks", "coco").stdout


@pytest.mark.parametrize("what", ["protocols", "metrics", "models"])
def test_what_is_no_python_comes_along_too(installed: Path, what: str) -> None:
    here = subprocess.run(
        [sys.executable, "-m", "anymal_eval", what], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert call(installed, what).stdout == here.stdout


def test_a_run_works_outside_the_checkout(installed: Path) -> None:
    arguments = (
        "run",
        "--tasks",
        "scienceqa",
        "--data",
        "demo",
        "--demo-examples",
        "20",
        "--model",
        "constant",
        "--out",
        "run",
    )
    done = call(installed, *arguments)
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout
