"""SIGINT, SIGTERM and SIGHUP: what is done is kept, one line says how to resume, and the exit code names the signal."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from anymal_eval.anymal import tiny
from anymal_eval.anymal.checkpoint import PROJECTORS
from anymal_eval.cli.main import Interruption, cli
from anymal_eval.training import record
from tests.cli import test_interrupted as interrupted
from tests.cli.test_interrupted import COUNT, answered, arguments, same_bytes
from tests.conftest import ROOT, Command
from tests.training.conftest import write_data

data, whole = interrupted.data, interrupted.whole
ENDINGS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}


def start(given: Sequence[object], *before: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*before, sys.executable, "-m", "anymal_eval", *map(str, given)],
        cwd=ROOT, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT,
    )  # fmt: skip


def wait_for_answers(process: "subprocess.Popen[str]", out: Path, count: int = 1) -> None:
    while answered(out) < count and process.poll() is None:
        time.sleep(0.005)
    assert process.poll() is None


@pytest.mark.parametrize(("number", "code"), ENDINGS)
def test_a_run_resumes(
    number: signal.Signals, code: int, tmp_path: Path, data: Path, whole: Path, command_here: Command
) -> None:
    out = tmp_path / "stopped"
    process = start(arguments(data, out, seconds=0.05))
    wait_for_answers(process, out)
    process.send_signal(number)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == code, printed
    assert f"the same command with --out {out} resumes it" in printed
    assert printed.endswith("interrupted\n")
    assert "Traceback" not in printed
    assert 0 < answered(out) < COUNT
    assert json.loads((out / "timings.json").read_text())["sessions"]
    assert command_here(*arguments(data, out)).returncode == 0
    same_bytes(whole, out)


@pytest.mark.parametrize(("number", "code"), ENDINGS)
def test_two_quick_signals(
    number: signal.Signals, code: int, tmp_path: Path, data: Path, whole: Path, command_here: Command
) -> None:
    out = tmp_path / "stopped"
    # The second signal comes at another moment of the first one's work each time, and may come too late.
    for delay in (0.0, 0.001, 0.01, 0.05):
        process = start(arguments(data, out, seconds=0.05))
        wait_for_answers(process, out, answered(out) + 1)
        process.send_signal(number)
        time.sleep(delay)
        process.send_signal(number)
        _, printed = process.communicate(timeout=60)
        assert process.returncode == code, printed
        assert "resumes" in printed
        assert "Traceback" not in printed
    assert command_here(*arguments(data, out)).returncode == 0
    same_bytes(whole, out)


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "run"
    process = start(arguments(data, out, seconds=0.01), "nohup")
    wait_for_answers(process, out)
    process.send_signal(signal.SIGHUP)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert answered(out) == COUNT


def test_a_run_with_ray_resumes(tmp_path: Path, data: Path, whole: Path, command_here: Command) -> None:
    pytest.importorskip("ray")
    out = tmp_path / "stopped"
    process = start([*arguments(data, out, seconds=0.05), "--engine", "ray", "--workers", 1])
    wait_for_answers(process, out)
    process.send_signal(signal.SIGTERM)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 143, printed
    assert f"the same command with --out {out} resumes it" in printed
    assert 0 < answered(out) < COUNT
    assert command_here(*arguments(data, out)).returncode == 0
    same_bytes(whole, out)


def test_a_terminal_that_closes(tmp_path: Path, data: Path, command_here: Command) -> None:
    out = tmp_path / "run"
    master, slave = os.openpty()
    begin = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from anymal_eval.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", begin, *arguments(data, out, seconds=0.02)],
        cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, env=ENVIRONMENT, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    while answered(out) == 0 and process.poll() is None:
        time.sleep(0.01)
    os.close(master)  # the kernel sends SIGHUP, and every line that is printed fails
    assert process.wait(timeout=60) == 129
    assert 0 < answered(out) < COUNT
    assert command_here(*arguments(data, out)).returncode == 0


def test_a_training_resumes(tmp_path: Path) -> None:
    tiny.write(tmp_path)
    (tmp_path / "data").mkdir()
    write_data(tmp_path / "data")

    def given(out: str) -> list[str]:
        return [
            "train", "align", str(tmp_path / "checkpoint"), "--data", f"pairs:{tmp_path / 'data' / 'pairs.jsonl'}",
            "--steps", "16", "--batch-size", "4", "--learning-rate", "1e-3", "--device", "cpu", "--log-every", "1",
            "--save-every", "4", "--out", str(tmp_path / out),
        ]  # fmt: skip

    process = start(given("stopped"))
    while not (tmp_path / "stopped" / "steps" / "checkpoint-4").exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130, printed  # it finished its step, and saved
    (step,) = re.findall(r"stopped by SIGTERM after step (\d+) of 16, saved", printed)
    assert f"resumes after step {step}, the last that is saved in {tmp_path / 'stopped'}" in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "stopped" / "checkpoint").exists()
    for out in ("stopped", "whole"):
        done = CliRunner().invoke(cli, given(out))
        assert done.exit_code == 0, done.output
    files = [tmp_path / out / "checkpoint" / PROJECTORS for out in ("stopped", "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_watch_that_waits_for_its_training(tmp_path: Path) -> None:
    training = tmp_path / "training"
    training.mkdir()
    record.write(training, {"identity": {}})
    (training / ".lock").touch()  # of a training that is running and has saved nothing yet
    process = start(["watch", training, "--tasks", "vqav2", "--data", "demo", "--every", 600])
    assert process.stderr is not None
    printed = ""
    while "waiting for the next checkpoint" not in printed:
        line = process.stderr.readline()
        assert line, printed
        printed += line
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, printed + rest
    assert (rest.splitlines()[-1], "Traceback" in rest) == ("interrupted", False)
    assert not (training / "evaluations" / ".watch.lock").exists()


def test_handlers_are_there_only_while_a_command_runs() -> None:
    before = [signal.getsignal(number) for number, _ in ENDINGS]
    with Interruption().handled():
        assert all(signal.getsignal(number) not in before for number, _ in ENDINGS)
    assert [signal.getsignal(number) for number, _ in ENDINGS] == before
