"""``features fill`` on Ray: the local cache, whatever the number of workers, also when one is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anymal_eval.anymal import tiny
from anymal_eval.cli.main import cli
from anymal_eval.errors import WrongUse
from tests.conftest import ROOT
from tests.engine.test_ray import workers_of

pytest.importorskip("ray")

EXAMPLES = 24


def arguments(checkpoint: Path, cache: Path, *more: object) -> list[str]:
    given = [
        "features", "fill", "--tasks", "vqav2,audiocaps", "--data", "demo", "--demo-examples", EXAMPLES,
        "--model", f"anymal:{checkpoint}", "--features", cache, "--threads", 1, *more,
    ]  # fmt: skip
    return [str(each) for each in given]


def entries(cache: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(cache.glob("??/*.safetensors"))}


def test_workers_fill_the_same_cache_also_when_one_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "world"))
    checkpoint = tiny.write(tmp_path)
    assert cli.main(arguments(checkpoint, tmp_path / "local"), standalone_mode=False) == 0
    whole = entries(tmp_path / "local")
    ray = ("--engine", "ray", "--workers", 2)
    # Ray gives its workers little of a busy machine.
    around = os.environ | {"PYTHONPATH": str(ROOT), "RAY_worker_niceness": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "anymal_eval", *arguments(checkpoint, tmp_path / "ray", *ray)],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=around,
    )  # fmt: skip
    limit = time.monotonic() + 120
    while len(list((tmp_path / "ray").glob("??/*.safetensors"))) < 2 and time.monotonic() < limit:
        time.sleep(0.01)
    victims = workers_of(process.pid, b"ray::FillWorker")
    assert victims, "the workers were at work"
    os.kill(victims[0], signal.SIGKILL)
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert f"{len(whole)} media: " in said
    assert entries(tmp_path / "ray") == whole
    assert not list((tmp_path / "ray").rglob("*.draft"))
    assert cli.main(arguments(checkpoint, tmp_path / "ray"), standalone_mode=False) == 0
    assert f"0 encoded, {len(whole)} were there before" in capsys.readouterr().out


def test_an_address_where_nothing_listens_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "world"))
    given = arguments(tiny.write(tmp_path), tmp_path / "features", "--engine", "ray", "--address", "127.0.0.1:1")
    with pytest.raises(WrongUse, match=r"^--address 127.0.0.1:1: no Ray cluster there"):
        cli.main(given, standalone_mode=False)
