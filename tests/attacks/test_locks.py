"""Several processes on one output folder, kills at each step of a swap, and an output folder deleted in mid-run."""

import fcntl
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anymal_eval import locks
from anymal_eval.anymal import tiny
from anymal_eval.errors import OtherRun, WrongUse
from anymal_eval.locks import hold, replace_file, replacing, temporary, working
from anymal_eval.report.accepted import INDEX
from anymal_eval.report.gallery.write import MARK
from tests.attacks.conftest import Ended, listing
from tests.cli import test_interrupted as interrupted
from tests.cli.test_interrupted import answered, arguments
from tests.conftest import ROOT
from tests.training.conftest import write_data

Anymal = Callable[..., Ended]
data = interrupted.data
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
FORKED = multiprocessing.get_context("fork")


class Killed(BaseException):
    """The process ends here."""


def start(*given: object, **more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "anymal_eval", *map(str, given)],
        cwd=ROOT, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT | more,
    )  # fmt: skip


def content(folder: Path) -> str:
    return (folder / "file").read_text() if folder.is_dir() else ""


def ours(folder: Path) -> None:
    if folder.exists() and not (folder / "file").is_file():
        raise WrongUse(f"{folder} holds other files")


def replaced(folder: Path, text: str) -> None:
    with replacing(folder, ours) as new:
        (new / "file").write_text(text)
        (new / "deep").mkdir()
        (new / "deep" / "more").write_text(text)


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize("exchanged", [True, False], ids=["one step", "two renames"])
def test_a_folder_at_every_point_of_a_swap(
    exchanged: bool, after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchanged:
        monkeypatch.setattr(locks, "_exchange", lambda one, other: False)
    ended = 0
    for step in range(1, 60):
        folder = tmp_path / str(step) / "out"
        replaced(folder, "old")
        done = 0
        with pytest.MonkeyPatch.context() as patched:

            def counted(name: str, at: int = step) -> Callable[..., Any]:
                original = getattr(os, name)

                def call(*given: Any, **more: Any) -> Any:
                    nonlocal done
                    done += 1
                    if done >= at:  # nothing that comes after takes place: the process is dead
                        if after and done == at:
                            original(*given, **more)
                        raise Killed
                    return original(*given, **more)

                return call

            for name in ("mkdir", "rename", "replace", "unlink", "rmdir"):
                patched.setattr(os, name, counted(name))
            try:
                replaced(folder, "new")
                ended = step
            except Killed:
                pass
        if exchanged:
            assert content(folder) in ("old", "new"), step
        with working(folder):
            assert content(folder) in ("old", "new"), step
        replaced(folder, "newest")
        assert content(folder) == "newest"
        assert [each.name for each in folder.parent.iterdir()] == ["out"], step
        if ended:
            break
    assert ended > 5, "every point was reached"


def _write(file: Path, text: str) -> None:
    for _ in range(50):
        replace_file(file, text.encode())


def test_writers_of_one_file(tmp_path: Path) -> None:
    file, texts = tmp_path / "file", ["a" * 5000, "b" * 7000, "c" * 3000]
    writers = [FORKED.Process(target=_write, args=(file, text)) for text in texts]
    for each in writers:
        each.start()
    while any(each.is_alive() for each in writers):
        assert not file.exists() or file.read_text() in texts
    assert [each.exitcode for each in writers] == [0, 0, 0]
    assert listing(tmp_path).keys() == {str(tmp_path), str(file)}


def test_a_lock_that_is_a_link(tmp_path: Path, precious: Path) -> None:
    before = listing(precious)
    (tmp_path / ".lock").symlink_to(precious / "thesis.tex")
    with pytest.raises(OSError, match="symbolic"), hold(tmp_path / ".lock"):
        pass
    (tmp_path / ".out.anymal-eval").symlink_to(precious)
    with pytest.raises(OtherRun, match="symbolic link"), working(tmp_path / "out"):
        pass
    assert listing(precious) == before


def test_a_hidden_folder_of_the_user(tmp_path: Path, precious: Path) -> None:
    precious.rename(tmp_path / ".out.anymal-eval")
    before = listing(tmp_path / ".out.anymal-eval" / "sub", tmp_path / ".out.anymal-eval" / "thesis.tex")
    with pytest.raises(OtherRun, match="left as it is"):
        replaced(tmp_path / "out", "new")
    assert listing(tmp_path / ".out.anymal-eval").items() >= before.items()
    assert not (tmp_path / "out").exists()


def test_temporary_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed, alive, fresh, earlier = (tmp_path / f"ptb-{name}" for name in ("killed", "alive", "fresh", "earlier"))
    for folder in (killed, alive, fresh, earlier):
        folder.mkdir()
        (folder / "captions.txt").write_text("a cat")
    (killed / "lock").touch()
    os.utime(earlier, (0, 0))
    with (alive / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with temporary("ptb-") as folder:
            assert folder.is_dir()
            assert set(tmp_path.iterdir()) == {alive, fresh, folder}
    assert set(tmp_path.iterdir()) == {alive, fresh}


def test_three_reports_at_once(tmp_path: Path, anymal: Anymal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "cache"))
    run, out = tmp_path / "run", tmp_path / "gallery"
    given = ("--tasks", "vqav2", "--model", "constant", "-o", "says=red", "--data", "demo", "--demo-examples", 6)
    assert anymal("run", *given, "--out", run).code == 0
    leftover = tmp_path / ".gallery.draft"  # as an earlier version left it
    leftover.mkdir()
    (leftover / MARK).write_text("")
    several = [start("report", run, "--out", out, ANYMAL_EVAL_CACHE=str(tmp_path / "cache")) for _ in range(3)]
    errors = [each.communicate(timeout=120)[1] for each in several]
    assert [each.returncode for each in several] == [0, 0, 0], errors
    assert (out / MARK).is_file()
    assert (out / "index.html").is_file()
    assert {each.name for each in tmp_path.iterdir()} == {"cache", "run", "gallery"}


def _training(root: Path, out: Path, steps: int = 16) -> list[str]:
    return [
        "train", "align", str(root / "checkpoint"), "--data", f"pairs:{root / 'data' / 'pairs.jsonl'}",
        "--steps", str(steps), "--batch-size", "4", "--learning-rate", "1e-3", "--device", "cpu", "--log-every", "1",
        "--save-every", "4", "--out", str(out),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("network")
    tiny.write(root)
    (root / "data").mkdir()
    write_data(root / "data")
    return root


def test_two_trainings_in_one_folder(network: Path, tmp_path: Path, anymal: Anymal) -> None:
    out = tmp_path / "out"
    process = start(*_training(network, out, steps=200))
    while not (out / "steps").exists() and process.poll() is None:
        time.sleep(0.01)
    try:
        ended = anymal(*_training(network, out, steps=200))
        assert process.poll() is None, "the first one is still training"
    finally:
        process.kill()
        process.communicate()
    assert ended == Ended(1, [f"error: {out}: another training is writing there; wait for it, stop it, or choose "
                              "another --out"])  # fmt: skip


def test_what_a_killed_training_left(network: Path, tmp_path: Path, anymal: Anymal) -> None:
    out = tmp_path / "out"
    for name in (".checkpoint.k3j4h5g6", ".checkpoint.older"):  # of an earlier version
        (out / name).mkdir(parents=True)
        (out / name / "projectors.safetensors").write_bytes(b"half")
    (out / "steps" / ".checkpoint-4.draft").mkdir(parents=True)
    (out / "steps" / ".checkpoint-4.draft" / "position_0.json").write_text("{}")
    for name in (".lock", ".training.json.draft", ".log.jsonl.draft"):
        (out / name).write_text("half")
    assert anymal(*_training(network, out, steps=4)).code == 0
    assert {each.name for each in out.iterdir()} == {"checkpoint", "steps", "training.json", "log.jsonl", "run.log"}
    assert {each.name for each in (out / "steps").iterdir()} == {"checkpoint-4"}


def test_a_training_whose_folder_is_deleted(network: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(*_training(network, out, steps=5000))
    while not (out / "log.jsonl").exists() and process.poll() is None:
        time.sleep(0.01)
    out.rename(tmp_path / "gone")
    shutil.copytree(tmp_path / "gone", out)  # another training there now
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1, error
    assert [line for line in error.splitlines() if "error" in line] == [error.splitlines()[-1]]
    assert f"{out} was deleted or replaced" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("again", [False, True], ids=["deleted", "deleted and made again"])
def test_a_run_whose_folder_is_deleted(again: bool, tmp_path: Path, data: Path) -> None:
    out = tmp_path / "run"
    process = start(*arguments(data, out, seconds=1.0))  # 200 seconds in all
    while answered(out) == 0 and process.poll() is None:
        time.sleep(0.01)
    out.rename(tmp_path / "gone")
    if again:
        shutil.copytree(tmp_path / "gone", out)
    shutil.rmtree(tmp_path / "gone", ignore_errors=True)
    _, error = process.communicate(timeout=100)
    assert process.returncode == 1, error
    assert [line for line in error.splitlines() if line.startswith("error: ")] == [
        f"error: {out / 'textvqa'} was deleted or replaced while this command was writing to it; give the command again"
    ]
    assert "Traceback" not in error
    assert out.exists() is again


def test_what_a_killed_run_and_accept_left(tmp_path: Path, data: Path, anymal: Anymal) -> None:
    out, results = tmp_path / "run", tmp_path / "results"
    assert anymal(*arguments(data, out)).code == 0
    names = {each.name for each in out.iterdir()}
    for draft in (".manifest.json.draft", ".table.md.draft", "textvqa/.scores.jsonl.draft", ".lock"):
        (out / draft).write_text("half")
    assert anymal("score", out, "--data-root", data).code == 0
    assert {each.name for each in out.iterdir()} == names
    assert not list(out.glob("*/.*"))
    (results / "tables").mkdir(parents=True)
    for name in (".accepted.lock", ".tables.lock", f"tables/.{INDEX}.draft"):
        (results / name).write_text("")
    assert anymal("accept", out, "--results", results).code == 0
    assert {each.name for each in results.iterdir()} == {"accepted", "tables"}
    assert {each.name for each in (results / "tables").iterdir() if each.name.startswith(".")} == {INDEX}
    assert json.loads((results / "tables" / INDEX).read_text())["tables"]
