"""A run that version 0.1.0 made is resumed, scored, checked and reported; another package is still refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from anymal_eval import __version__
from anymal_eval.errors import OtherRun
from anymal_eval.store import manifest as manifests
from tests.conftest import ROOT, Command

STORED = ROOT / "tests" / "golden" / "runs" / "0.1.0"
SCORED = ("results.json", "vqav2/scores.jsonl", "scienceqa/scores.jsonl")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The stored run, stopped after 5 of the 12 answers of its first task, on this machine's other packages."""
    folder = tmp_path / "run"
    shutil.copytree(STORED, folder)
    responses = folder / "vqav2" / "responses.jsonl"
    responses.write_text("".join(responses.read_text().splitlines(keepends=True)[:5]))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["environment"] = {**manifests.environment("none"), "anymal_eval": "0.1.0"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def resume(command_here: Command, run: Path) -> Any:
    return command_here(
        "run", "--tasks", "vqav2,scienceqa", "--model", "constant", "-o", "says=red", "--data", "demo",
        "--demo-examples", 12, "--out", run, ANYMAL_EVAL_CACHE=str(run.parent / "cache"),
    )  # fmt: skip


def version_of(run: Path) -> str:
    return str(json.loads((run / "manifest.json").read_text())["environment"]["anymal_eval"])


def test_it_is_resumed_and_says_so(run: Path, command_here: Command) -> None:
    done = resume(command_here, run)
    assert done.returncode == 0, done.stderr
    assert f"{run}: made by anymal_eval 0.1.0, resumed by {__version__}" in done.stderr
    assert "5 of 12 were answered before" in done.stderr
    for name in SCORED:
        assert (run / name).read_bytes() == (STORED / name).read_bytes(), name
    assert version_of(run) == f"0.1.0, {__version__}"
    assert resume(command_here, run).returncode == 0
    assert version_of(run) == f"0.1.0, {__version__}"


def test_another_package_is_still_refused(run: Path, command_here: Command) -> None:
    file = run / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["environment"]["numpy"] = "1.0"
    file.write_text(json.dumps(manifest))
    done = resume(command_here, run)
    assert done.returncode == 1
    assert "started with another numpy:" in done.stderr
    assert "anymal_eval was" not in done.stderr


def test_it_is_scored_checked_and_reported(tmp_path: Path, command_here: Command) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(STORED, old)
    cache = {"ANYMAL_EVAL_CACHE": str(tmp_path / "cache")}
    assert command_here("score", old, **cache).returncode == 0
    for name in SCORED:
        assert (old / name).read_bytes() == (STORED / name).read_bytes(), name
    assert version_of(old) == "0.1.0"
    assert resume(command_here, new).returncode == 0
    assert version_of(new) == __version__
    checked = command_here("check", new, "--against", old)
    assert checked.returncode == 0, checked.stderr
    assert f"anymal_eval: 0.1.0 -> {__version__}" in checked.stdout
    reported = command_here("report", new, "--against", old, "--out", tmp_path / "report", **cache)
    assert reported.returncode == 0, reported.stderr
    assert (tmp_path / "report" / "index.html").is_file()


def test_the_versions_are_recorded_in_order() -> None:
    stored = manifests.read(STORED / "manifest.json")
    later = manifests.new(stored.identity, "x", {**stored.environment, "anymal_eval": "0.2.0"})
    both = manifests.resumed(stored, later)
    assert both.tasks == stored.tasks
    assert both.environment == {**stored.environment, "anymal_eval": "0.1.0, 0.2.0"}
    manifests.check_same(STORED / "manifest.json", both, later, allow_environment=False)
    other = manifests.new(stored.identity, "x", {**stored.environment, "anymal_eval": "0.2.0", "device": "cuda"})
    with pytest.raises(OtherRun, match="another device:"):
        manifests.check_same(STORED / "manifest.json", both, other, allow_environment=False)
