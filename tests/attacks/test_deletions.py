"""Only what this package wrote is deleted or replaced; everything else is left, byte by byte."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from anymal_eval.anymal import checkpoint
from anymal_eval.anymal.features import FeatureCache
from anymal_eval.errors import WrongUse
from anymal_eval.report.accepted import INDEX
from anymal_eval.training import states
from anymal_eval.training.state_folders import saved_states
from tests.attacks.conftest import Ended, listing

Scored = Callable[..., Path]
Anymal = Callable[..., Ended]
RIGHT = np.ones((100, 1))


def _foreign_folder(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")


def _manifest_alone(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")


def _beside_the_run(folder: Path) -> None:
    (folder / "vqav2" / "plot.png").write_text("mine")


def _deep(folder: Path) -> None:
    (folder / "vqav2" / "more").mkdir()


def _other_folder(folder: Path) -> None:
    (folder / "figures").mkdir()


def _link(folder: Path) -> None:
    (folder / "link").symlink_to(folder.parent)


def _no_digests(folder: Path) -> None:
    (folder / "digests.json").unlink()


def _no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize(
    "change", [_foreign_folder, _beside_the_run, _deep, _other_folder, _link, _no_digests, _no_manifest]
)
@pytest.mark.parametrize("name", ["same", "another"])
def test_an_accepted_run_with_other_files(
    name: str, change: Callable[[Path], None], scored: Scored, anymal: Anymal, tmp_path: Path
) -> None:
    results, first = tmp_path / "results", scored("first", {"vqav2": RIGHT}, model="m")
    second = first if name == "same" else scored("second", {"vqav2": RIGHT}, model="m")
    assert anymal("accept", first, "--results", results).code == 0
    (kept,) = (results / "accepted").glob("[!.]*")
    change(kept)
    before = listing(kept, first)
    ended = anymal("accept", second, "--replace", "--results", results)
    assert listing(kept, first) == before
    if not (name == "another" and change is _no_manifest):  # without a manifest it is no accepted run at all
        assert (ended.code, len(ended.lines)) == (1, 1)


@pytest.mark.parametrize("change", [_foreign_folder, _manifest_alone])
@pytest.mark.parametrize("what", ["{name}", ".{name}.older", ".{name}.draft", ".{name}.removed", ".other.draft"])
def test_a_folder_in_the_place_of_an_accepted_run(
    what: str, change: Callable[[Path], None], scored: Scored, anymal: Anymal, tmp_path: Path
) -> None:
    run, results = scored("run", {"vqav2": RIGHT}), tmp_path / "results"
    name = json.loads((run / "manifest.json").read_text())["run"]
    there = results / "accepted" / what.format(name=name)
    there.mkdir(parents=True)
    change(there)
    (there / "deep").mkdir()
    (there / "deep" / "work.txt").write_text("mine")
    before = listing(there)
    ended = anymal("accept", run, "--results", results)
    assert (ended.code, len(ended.lines)) == (1, 1)
    assert listing(there) == before


def test_tables_of_the_user(scored: Scored, anymal: Anymal, tmp_path: Path) -> None:
    results = tmp_path / "results"
    tables = results / "tables"
    tables.mkdir(parents=True)
    for name in ("paper.tex", "notes.md", "data.csv", "page.html", "anymal-2023-table-9.md", "ours.md"):
        (tables / name).write_text("years of work")
    before = listing(tables)
    assert anymal("accept", scored("run", {"vqav2": RIGHT}), "--results", results).code == 0
    assert listing(tables).items() >= before.items()
    index = tables / INDEX
    index.write_text(json.dumps({"tables": [*json.loads(index.read_text())["tables"], "ours.md"]}))
    assert anymal("accept", scored("run2", {"vqav2": RIGHT}), "--replace", "--results", results).code == 0
    del before[str(tables / "ours.md")]
    after = listing(tables)
    assert after.items() >= before.items()
    assert str(tables / "ours.md") not in after
    assert "ours.md" not in json.loads(index.read_text())["tables"]


@pytest.mark.parametrize(
    "forged",
    [
        {"tables": ["../precious/thesis.tex"]},
        {"tables": ["{precious}/thesis.tex"]},
        {"a": 1},
        {"tables": [1]},
        [1],
        "x",
    ],
    ids=str,
)
def test_a_forged_index(forged: object, scored: Scored, anymal: Anymal, tmp_path: Path, precious: Path) -> None:
    tables = tmp_path / "results" / "tables"
    tables.mkdir(parents=True)
    (tables / INDEX).write_text(json.dumps(forged).replace("{precious}", str(precious)))
    before = listing(precious, tables)
    ended = anymal("accept", scored("run", {"vqav2": RIGHT}), "--results", tmp_path / "results")
    assert (ended.code, len(ended.lines)) == (1, 1)
    assert listing(precious, tables) == before


def test_features_of_others(anymal: Anymal, tmp_path: Path, precious: Path) -> None:
    folder = tmp_path / "features"
    cache = FeatureCache(folder)
    keys = [f"{at:02x}" + "0" * 62 for at in range(4)]
    for key in keys:
        cache.put(key, torch.zeros(100, 100))
    ours = sorted(folder.glob("??/*.safetensors"))
    (folder / "ab").mkdir()
    for name in ("model.safetensors", "adapter.safetensors", "old.draft", "x" * 64 + ".safetensors"):
        (folder / "ab" / name).write_bytes(b"years of work")
    (folder / "00" / ("ff" + "0" * 62 + ".safetensors")).write_bytes(b"not in its folder")
    save_file({"weight": torch.ones(200, 200)}, folder / "ab" / ("ab" + "0" * 62 + ".safetensors"))
    (precious / ("cd" + "0" * 62 + ".safetensors")).write_bytes(b"behind a link")
    (folder / "cd").symlink_to(precious)
    (folder / "ab" / ("ab" + "1" * 62 + ".safetensors")).symlink_to(precious / "thesis.tex")
    for path in folder.glob("ab/*"):
        os.utime(path, (0, 0))
    before = {path: found for path, found in listing(folder, precious).items() if Path(path) not in ours}
    content = bytearray(ours[1].read_bytes())
    content[-1] ^= 1
    ours[1].write_bytes(content)
    assert anymal("features", "verify", "--features", folder, "--repair").code == 1
    assert [file for file in ours if file.exists()] == [ours[0], *ours[2:]]
    assert listing(folder, precious).items() >= before.items()
    assert anymal("features", "prune", "--features", folder, "--max-size", "0").code == 0
    assert not [file for file in ours if file.exists()]
    assert listing(folder, precious).items() >= before.items()


def test_states_of_a_training(tmp_path: Path) -> None:
    steps = tmp_path / "steps"
    foreign = [steps / "checkpoint-1", steps / "checkpoint-2", steps / ".checkpoint-3.draft", steps / "checkpoint-9"]
    for folder in foreign:
        (folder / "sub").mkdir(parents=True)
        (folder / "model.bin").write_bytes(b"years of work")
    (foreign[1] / "position_0.json").write_text("{}")
    before = listing(*foreign)
    states.delete_drafts(steps)
    for step in (4, 5, 6):
        with states.draft(steps, step) as draft:
            states.write(draft / states.POSITION.format(0), b"{}")
        states.publish(draft, step, keep=1)
    assert listing(*foreign) == before
    assert [state.name for state in saved_states(steps)] == [
        "checkpoint-1", "checkpoint-2", "checkpoint-6", "checkpoint-9"
    ]  # fmt: skip
    with states.draft(steps, 9) as draft, pytest.raises(WrongUse, match="holds other files"):
        states.publish(draft, 9, keep=1)
    assert listing(*foreign) == before


@pytest.mark.parametrize("name", ["checkpoint", ".checkpoint.older"])
def test_a_folder_in_the_place_of_a_checkpoint(name: str, tmp_path: Path, precious: Path) -> None:
    precious.rename(tmp_path / name)
    before = listing(tmp_path)
    with pytest.raises(WrongUse, match="holds other files"):
        checkpoint.require_replaceable(tmp_path / "checkpoint")
    assert listing(tmp_path) == before


@pytest.mark.parametrize("name", ["gallery", ".gallery.draft", ".gallery.older"])
def test_a_folder_in_the_place_of_a_report(name: str, tmp_path: Path, precious: Path, anymal: Anymal) -> None:
    run, cache = tmp_path / "run", tmp_path / "cache"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ANYMAL_EVAL_CACHE", str(cache))
        ended = anymal("run", "--tasks", "vqav2", "--model", "constant", "-o", "says=red", "--data", "demo",
                       "--demo-examples", 6, "--out", run)  # fmt: skip
        assert ended.code == 0, ended.lines
        precious.rename(tmp_path / name)
        before = listing(tmp_path)
        ended = anymal("report", run, "--out", tmp_path / "gallery", "--media", "none")
        assert ended.code == 1, ended.lines
        assert "holds other files and no report" in ended.lines[-1]
        assert listing(tmp_path) == before
