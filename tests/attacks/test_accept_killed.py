"""Whenever ``accept`` stops, a whole baseline is found, and the next ``accept`` leaves nothing over."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anymal_eval.errors import OtherRun
from anymal_eval.store import digests
from anymal_eval.store.accepted import accept, accepted_runs, find
from anymal_eval.store.stored import StoredRun, open_run

Scored = Callable[..., Path]
RIGHT = np.ones((100, 1))
STEPS = 40  # more than an accept makes


class Killed(BaseException):
    """The process ends here."""


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
    """End at the n-th change of a name, before or after it took place; deleting a folder stops half-way."""
    done = 0

    def counted(name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def call(*arguments: Any, **more: Any) -> Any:
            nonlocal done
            done += 1
            if done == step:
                if after:
                    original(*arguments, **more)
                raise Killed
            return original(*arguments, **more)

        return call

    # shutil.rmtree deletes by os.unlink and os.rmdir.
    for name in ("replace", "rename", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, counted(name))


def accepted_after(step: int, run: Path, folder: Path, *, after: bool) -> bool:
    """Whether the accept ended by itself."""
    with pytest.MonkeyPatch.context() as patched:
        opened = open_run(run)
        kill_at(step, patched, after=after)
        try:
            accept(opened, folder, replace=True)
        except Killed:
            return False
    return True


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize("same_name", [True, False], ids=["the same run", "another run"])
def test_a_baseline_at_every_point(same_name: bool, after: bool, scored: Scored, tmp_path: Path) -> None:
    old = scored("old", {"vqav2": RIGHT}, model="m")
    new = scored("new", {"vqav2": RIGHT * 0.5, "coco": RIGHT}, model="m")
    if same_name:
        file = new / "manifest.json"
        file.write_text(file.read_text().replace(_name(new), _name(old)))
        digests.write(new, ["vqav2", "coco"])
    contents = {_content(open_run(old)), _content(open_run(new))}
    assert len(contents) == 2
    ended = 0
    for step in range(1, STEPS):
        folder = tmp_path / f"accepted-{step}"
        accept(open_run(old), folder)
        if accepted_after(step, new, folder, after=after):
            ended = step
            break
        found = find("m", open_run(old).manifest, folder)
        assert _content(found["vqav2"]) in contents, f"step {step}"
        accept(open_run(new), folder, replace=True)
        assert {path.name for path in folder.iterdir()} == {_name(new)}, f"step {step}"
        assert _content(open_run(folder / _name(new))) == _content(open_run(new))
    assert ended > 10, "every point was reached"


@pytest.mark.parametrize("what", ["older", "draft"])
def test_only_the_older_run_is_left(what: str, scored: Scored, tmp_path: Path) -> None:
    folder = tmp_path / "accepted"
    kept = accept(open_run(scored("old", {"vqav2": RIGHT})), folder)
    kept.rename(folder / f".{kept.name}.{what}")
    assert [run.root for run in accepted_runs(folder)] == ([kept] if what == "older" else [])


def test_one_at_a_time(scored: Scored, tmp_path: Path) -> None:
    folder, run = tmp_path / "accepted", scored("run", {"vqav2": RIGHT})
    folder.mkdir()
    with (tmp_path / ".accepted.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OtherRun, match="another process is accepting"):
            accept(open_run(run), folder)
    assert accept(open_run(run), folder).is_dir()


def _name(run: Path) -> str:
    return open_run(run).manifest.run


def _content(run: StoredRun) -> bytes:
    return (run.root / digests.FILE).read_bytes()
