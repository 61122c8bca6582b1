"""A name that comes from a file stays one path component below its root, whatever the file holds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anymal_eval.errors import BadData
from anymal_eval.paths import inside
from anymal_eval.store import digests
from anymal_eval.store.folder import RunFolder
from tests.attacks.conftest import Ended, edit, listing

Scored = Callable[..., Path]
Anymal = Callable[..., Ended]
RIGHT = np.ones((100, 1))
BAD = ["..", ".", "", "../../../precious", "/precious", "a/b", "a\\b", ".hidden", "a\0b", "a\nb", "x" * 256, " a",
       "a ", "~", "é", "a;b", "$HOME", "\u202egnp"]  # fmt: skip


@pytest.mark.parametrize("name", BAD, ids=repr)
def test_no_path_component(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadData) as error:
        inside(tmp_path, name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["vqav2", "demo-anymal-cf2f636f", "anymal:7b-0a1b", "test-dev", "my task", "a..b"])
def test_path_component(name: str, tmp_path: Path) -> None:
    assert inside(tmp_path, name) == tmp_path / name


def test_links_lead_nowhere_else(tmp_path: Path, precious: Path) -> None:
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "out").symlink_to(precious)
    (root / "within").symlink_to(root / "real")
    (root / "loop").symlink_to(root / "loop")
    assert inside(root, "within", "file") == root / "within" / "file"
    with pytest.raises(BadData, match="leads out"):
        inside(root, "out", "thesis.tex")
    assert inside(root, "loop") == root / "loop"


FORGED = [
    ("run", "../../../precious"),
    ("run", "{precious}"),
    ("run", ".."),
    ("run", "."),
    ("run", ""),
    ("task", "../precious"),
    ("task", "{precious}"),
    ("split", "../../../../precious/x"),
    ("split", "{precious}/x"),
]
COMMANDS = {
    "accept": ["accept", "{run}", "--results", "{deep}"],
    "accept --replace": ["accept", "{run}", "--replace", "--results", "{deep}"],
    "check": ["check", "{run}", "--against", "{run}"],
    "score": ["score", "{run}"],
    "report": ["report", "{run}", "--out", "{deep}/report"],
    "evalai": ["export", "{run}", "--format", "evalai", "--out", "{deep}/export"],
    "eval-results": ["export", "{run}", "--format", "eval-results", "--out", "{deep}/export"],
    "inspect": ["export", "{run}", "--format", "inspect", "--out", "{deep}/export"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("forged", FORGED, ids=" ".join)
def test_names_in_a_manifest(
    forged: tuple[str, str], command: str, scored: Scored, anymal: Anymal, tmp_path: Path, precious: Path
) -> None:
    run, deep = scored("run", {"vqav2": RIGHT}), tmp_path / "a" / "results"
    deep.mkdir(parents=True)
    edit(run, lambda manifest: _forge(manifest, forged[0], forged[1].format(precious=precious)))
    before = listing(tmp_path)
    ended = anymal(*(word.format(run=run, deep=deep) for word in COMMANDS[command]))
    assert ended.code == 1, ended.lines
    assert len(ended.lines) == 1
    assert "is no name" in ended.lines[0]
    after = listing(tmp_path)
    after.pop(str(run / ".lock"), None)  # score locks the run before it reads the manifest
    before.pop(str(run / ".lock"), None)
    assert after == before


def _forge(manifest: dict[str, Any], what: str, name: str) -> None:
    if what == "run":
        manifest["run"] = name
    elif what == "task":
        manifest["tasks"][name] = manifest["tasks"]["vqav2"]
    else:
        manifest["tasks"]["vqav2"]["split"] = name


def test_a_task_folder_that_leads_out(scored: Scored, anymal: Anymal, tmp_path: Path, precious: Path) -> None:
    run = scored("run", {"vqav2": RIGHT})
    (run / "vqav2").rename(precious / "vqav2")
    (run / "vqav2").symlink_to(precious / "vqav2")
    before = listing(tmp_path)
    ended = anymal("accept", run, "--results", tmp_path / "results")
    assert (ended.code, len(ended.lines)) == (1, 1)
    assert "leads out" in ended.lines[0]
    assert listing(tmp_path) == before
    with pytest.raises(BadData):
        RunFolder(run).write_scores("vqav2", [])
    assert listing(tmp_path) == before


@pytest.mark.parametrize("name", ["../precious/thesis.tex", "{precious}/thesis.tex", "vqav2/../../precious/thesis.tex"])
def test_names_in_digests(name: str, scored: Scored, anymal: Anymal, tmp_path: Path, precious: Path) -> None:
    run = scored("run", {"vqav2": RIGHT})
    known = json.loads((run / digests.FILE).read_text())
    known["sha256"][name.format(precious=precious)] = "0" * 64
    (run / digests.FILE).write_text(json.dumps(known))
    before = listing(tmp_path)
    ended = anymal("check", run, "--against", run)
    assert (ended.code, len(ended.lines)) == (1, 1)
    assert "is no name" in ended.lines[0]
    assert listing(tmp_path) == before


def test_a_forged_name_takes_no_other_models_place(scored: Scored, anymal: Anymal, tmp_path: Path) -> None:
    results = tmp_path / "results"
    assert anymal("accept", scored("mine", {"vqav2": RIGHT}, model="mine"), "--results", results).code == 0
    (kept,) = (results / "accepted").glob("[!.]*")
    forged = scored("forged", {"vqav2": RIGHT * 0.5}, model="other")
    edit(forged, lambda manifest: manifest.update(run=kept.name))
    before = listing(tmp_path)
    ended = anymal("accept", forged, "--replace", "--results", results)
    assert (ended.code, len(ended.lines)) == (1, 1)
    assert "its manifest is wrong" in ended.lines[0]
    assert listing(tmp_path) == before
