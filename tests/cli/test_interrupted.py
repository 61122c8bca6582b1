"""Killed, interrupted or out of space: the same command goes on, and the scores are the same bytes."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command

COUNT = 400
WRITTEN = ("scores.jsonl", "statistics.npz")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """TextVQA in its official layout, with questions of our own."""
    folder = tmp_path / "data" / "textvqa"
    folder.mkdir(parents=True)
    rows = [
        {"question": f"what is written on sign {number}?", "image_id": f"{number // 4:016x}", "question_id": number,
         "answers": ["stop" if number % 3 else f"word {number}"] * 6 + ["go"] * 4, "set_name": "val"}
        for number in range(COUNT)
    ]  # fmt: skip
    (folder / "TextVQA_0.5.1_val.json").write_text(json.dumps({"dataset_type": "val", "data": rows}))
    return folder.parent


def arguments(data: Path, out: Path, seconds: float = 0.0) -> list[str]:
    return [
        "run", "--tasks", "textvqa", "--model", "constant", "-o", "says=stop", "-o", f"seconds={seconds}",
        "--data", "official", "--data-root", str(data), "--batch-size", "2", "--out", str(out),
    ]  # fmt: skip


def start(given: Sequence[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "anymal_eval", *given],
        cwd=ROOT, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.fixture
def whole(tmp_path: Path, data: Path, command_here: Command) -> Path:
    """The run that nothing stopped."""
    assert command_here(*arguments(data, tmp_path / "whole")).returncode == 0
    return tmp_path / "whole"


def same_bytes(one: Path, other: Path) -> None:
    for name in WRITTEN:
        assert (one / "textvqa" / name).read_bytes() == (other / "textvqa" / name).read_bytes(), name
    assert (one / "results.json").read_bytes() == (other / "results.json").read_bytes()


def answered(out: Path) -> int:
    file = out / "textvqa" / "responses.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def test_killed_at_twenty_random_moments(tmp_path: Path, data: Path, whole: Path, command_here: Command) -> None:
    moments = random.Random(2309)
    out = tmp_path / "killed"
    progress = []
    for _ in range(20):
        process = start(arguments(data, out, seconds=0.02))
        # Most kills fall into the asking, some into starting up; the wait is for the first write, then chance decides.
        before, limit = answered(out), time.monotonic() + 20
        while answered(out) == before and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.005)
        time.sleep(moments.uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        progress.append(answered(out))
    assert progress == sorted(progress)
    assert sum(later > earlier for earlier, later in itertools.pairwise(progress)) >= 10
    assert command_here(*arguments(data, out)).returncode == 0
    same_bytes(whole, out)


def test_interrupted_says_how_to_go_on(tmp_path: Path, data: Path, whole: Path, command_here: Command) -> None:
    out = tmp_path / "stopped"
    process = start(arguments(data, out, seconds=0.05))
    while answered(out) == 0 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"--out {out} resumes it" in said
    assert "Traceback" not in said
    assert 0 < answered(out) < COUNT
    assert command_here("score", out, "--data-root", data).returncode == 2
    done = command_here(*arguments(data, out))
    assert done.returncode == 0
    assert "were answered before" in done.stderr
    same_bytes(whole, out)


def test_a_full_disk_in_the_middle(data: Path, small_disk: Path, whole: Path, command: Command) -> None:
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    (small_disk / "more").write_bytes(b"x" * (free - (16 << 10)))
    out = small_disk / "run"
    done = command(*arguments(data, out))
    assert done.returncode == 2
    assert "no space left" in done.stderr
    assert "make space and give the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert 0 < answered(out) < COUNT
    (small_disk / "more").unlink()
    (small_disk / "filler").unlink()
    assert command(*arguments(data, out)).returncode == 0
    same_bytes(whole, out)


def test_another_command_on_the_same_folder_is_refused(tmp_path: Path, data: Path, command_here: Command) -> None:
    out = tmp_path / "run"
    given = arguments(data, out)
    assert command_here(*given).returncode == 0
    changed = command_here(*given, "-o", "says=go")
    assert changed.returncode == 1
    assert "-o says is given twice" in changed.stderr
    changed = command_here(*[each.replace("says=stop", "says=go") for each in given])
    assert changed.returncode == 1
    assert "differs in fingerprint" in changed.stderr
    limited = command_here(*given, "--limit", 5)
    assert limited.returncode == 1
    assert "differs in limit" in limited.stderr
    file = data / "textvqa" / "TextVQA_0.5.1_val.json"
    file.write_text(file.read_text().replace("sign 7?", "sign seven?"))
    other = command_here(*given)
    assert other.returncode == 1
    assert "another examples, prompts" in other.stderr
    again = command_here("score", out, "--data-root", data)
    assert again.returncode == 1
    assert "are not those that the run" in again.stderr
