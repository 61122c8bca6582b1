"""What ends a training early: signals, evaluations and input that fail; what is saved then, and the next start."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from anymal_eval.anymal import checkpoint
from anymal_eval.errors import MissingData, StorageFull
from anymal_eval.training import batches, speed, states, stop_signal, trainer
from anymal_eval.training.batches import Batch
from anymal_eval.training.resolve import ResolvedTraining
from anymal_eval.training.run import train
from anymal_eval.training.state_folders import step_of
from anymal_eval.training.training_module import TrainingModule
from tests.conftest import ROOT
from tests.training.conftest import align_job, assert_close, logged, losses, saving, write_pictures


def signalled_forward(step: int, *numbers: int) -> Callable[[TrainingModule, Batch], Any]:
    """A forward pass during which signals come."""
    forward, calls = TrainingModule.forward, [0]

    def signalled(module: TrainingModule, batch: Batch) -> Any:
        calls[0] += 1
        for number in numbers if calls[0] == step else ():
            os.kill(os.getpid(), number)
        return forward(module, batch)

    return signalled


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_after_its_step(
    number: int, folder: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = saving(align_job(folder, tmp_path), save_every=500, log_every=1)
    before = signal.getsignal(number)
    with monkeypatch.context() as patched:
        patched.setattr(TrainingModule, "forward", signalled_forward(3, number))
        with pytest.raises(KeyboardInterrupt):
            train(job)
    assert signal.getsignal(number) is before
    assert [each.name for each in (tmp_path / "steps").iterdir()] == ["checkpoint-3"]
    train(job)
    assert_close(losses(tmp_path), losses(whole))


@pytest.mark.parametrize("every", [500, 1])
def test_a_signal_ends_an_evaluation_which_is_made_by_the_next_start(
    every: int, folder: Path, whole: Path, tmp_path: Path
) -> None:
    """An evaluation may take longer than a cluster waits."""
    evaluated: list[int] = []

    def evaluate(network: object, step: int) -> dict[str, float]:
        del network
        if step == 4 and 4 not in evaluated:
            evaluated.append(step)
            os.kill(os.getpid(), signal.SIGUSR1)
            raise AssertionError("the evaluation went on")
        evaluated.append(step)
        return {"vqav2/accuracy": float(step)}

    job = saving(align_job(folder, tmp_path), save_every=every, log_every=1, eval_every=2)
    with pytest.raises(KeyboardInterrupt):
        train(replace(job, evaluate=evaluate))
    assert max(int(each.name.partition("-")[2]) for each in (tmp_path / "steps").iterdir()) == 4
    train(replace(job, evaluate=evaluate))
    assert evaluated == [2, 4, 4, 6]
    assert [(row["step"], row["eval_vqav2/accuracy"]) for row in logged(tmp_path) if "loss" not in row] == [
        (2, 2.0),
        (4, 4.0),
        (6, 6.0),
    ]
    assert_close(losses(tmp_path), losses(whole))


def test_an_evaluation_that_fails_leaves_the_state_of_its_step(folder: Path, tmp_path: Path) -> None:
    def evaluate(network: object, step: int) -> dict[str, float]:
        raise OSError(errno.EIO, f"no data at step {step}")

    job = saving(align_job(folder, tmp_path), save_every=3, eval_every=3)
    with pytest.raises(OSError, match="no data at step 3"):
        train(replace(job, evaluate=evaluate))
    assert [each.name for each in (tmp_path / "steps").iterdir()] == ["checkpoint-3"]


@pytest.mark.parametrize(
    ("apart", "second", "saved"),
    [
        (5.0, signal.SIGUSR1, ["checkpoint-1"]),
        (0.0, signal.SIGUSR1, []),
        (0.0, signal.SIGTERM, ["checkpoint-1"]),
    ],
)
def test_a_signal_that_comes_twice(
    apart: float, second: int, saved: list[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM and torchrun may both send it; a later one of its kind ends the training at once."""
    monkeypatch.setattr(stop_signal, "REPEATED_S", apart * 1000)  # the machine may be slow
    monkeypatch.setattr(TrainingModule, "forward", signalled_forward(1, signal.SIGUSR1, second))
    with pytest.raises(KeyboardInterrupt):
        train(saving(align_job(folder, tmp_path, steps=2), save_every=500))
    assert [each.name for each in tmp_path.glob("steps/checkpoint-*")] == saved


def test_signals_wait_while_a_state_is_written(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_signal, "REPEATED_S", 0.0)
    write = states.write_trained

    def signalled(file: Path, module: Any) -> None:
        for number in (signal.SIGUSR1, signal.SIGUSR1, signal.SIGTERM):
            os.kill(os.getpid(), number)
        write(file, module)

    monkeypatch.setattr(states, "write_trained", signalled)
    with pytest.raises(KeyboardInterrupt):
        train(saving(align_job(folder, tmp_path, steps=4), save_every=2))
    assert [each.name for each in (tmp_path / "steps").iterdir()] == ["checkpoint-2"]


def test_a_draft_of_several_processes_is_left_to_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for processes, left in ((1, []), (2, [".checkpoint-3.draft"])):
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        with pytest.raises(StorageFull), states.draft(tmp_path, 3):
            raise OSError(errno.ENOSPC, "No space left on device")
        assert [each.name for each in tmp_path.iterdir()] == left


def test_a_signal_in_the_last_step_changes_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingModule, "forward", signalled_forward(2, signal.SIGUSR1))
    assert (train(align_job(folder, tmp_path, steps=2)).checkpoint / checkpoint.CONFIG).exists()


def test_a_signal_in_the_last_step_leaves_its_evaluation_to_the_next_start(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[int] = []
    job = saving(align_job(folder, tmp_path, steps=2), eval_every=2)

    def evaluate(network: object, step: int) -> dict[str, float]:
        del network
        evaluated.append(step)
        return {"vqav2/accuracy": 1.0}

    job = replace(job, evaluate=evaluate)
    with monkeypatch.context() as patched:
        patched.setattr(TrainingModule, "forward", signalled_forward(2, signal.SIGUSR1))
        with pytest.raises(KeyboardInterrupt):
            train(job)
    assert evaluated == []
    assert (train(job).checkpoint / checkpoint.CONFIG).exists()
    assert evaluated == [2]


SIGNALLED = """
import os, signal, sys

moment, number = sys.argv.pop(1), getattr(signal, sys.argv.pop(1))

def kill(*given, **named):
    os.kill(os.getpid(), number)

def forward(module, batch):
    forward.calls += 1
    if forward.calls == 2:
        kill()
    return real(module, batch)

from anymal_eval.cli import main
if moment == "importing":
    import anymal_eval.cli._progress as progress
    progress.Terminal = kill
else:
    from anymal_eval.training import load, resolve, training_module
    forward.calls, real = 0, training_module.TrainingModule.forward
    training_module.TrainingModule.forward = forward
    if moment == "reading":
        resolve.data_of = kill
    if moment == "loading":
        load.load_network = kill
main.main()
"""


@pytest.mark.parametrize(
    ("moment", "number"),
    [("importing", "SIGUSR1"), ("reading", "SIGTERM"), ("loading", "SIGUSR1"), ("stepping", "SIGUSR1")],
)
def test_the_command_ends_with_130(moment: str, number: str, folder: Path, tmp_path: Path) -> None:
    command = [
        "train", "align", str(folder / "network.toml"), "--data", f"pairs:{folder / 'data' / 'pairs.jsonl'}",
        "--steps", "6", "--batch-size", "6", "--learning-rate", "0.01", "--device", "cpu", "--out", str(tmp_path),
    ]  # fmt: skip
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", SIGNALLED, moment, number, *command], cwd=ROOT, env=here, capture_output=True, text=True
    )
    assert ended.returncode == 130, ended.stderr
    assert "Traceback" not in ended.stderr
    saved = [each.name for each in tmp_path.glob("steps/*")]
    if moment == "stepping":
        assert saved == ["checkpoint-2"]
        assert "stopped by SIGUSR1 after step 2 of 6, saved" in ended.stderr
        assert (
            f"interrupted: the same command resumes after step 2, the last that is saved in {tmp_path}" in ended.stderr
        )
    else:
        assert saved == []
        assert f"interrupted: no state is saved in {tmp_path} yet; the same command starts anew" in ended.stderr


def commands_with(word: str) -> list[bytes]:
    """Of the processes that run."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended just now
            found.append(each.read_bytes())
    assert found
    return [command for command in found if word.encode() in command]


def test_a_step_without_input_is_preceded_by_a_saved_state(folder: Path, tmp_path: Path) -> None:
    """A shard that cannot be had, hours after the start, costs no step; neither does a signal while it is awaited."""
    picture = (folder / "data" / "0.png").read_bytes()
    shards, out = tmp_path / "shards", tmp_path / "out"
    shards.mkdir()
    for number in range(10):
        write_pictures(shards / f"{number}.tar", [picture] * 4)

    def job(out: Path = out) -> ResolvedTraining:
        hang = f"[ $f = $(cat {tmp_path}/hangs) ] && kill -TERM {os.getpid()} && sleep 600 | tee {tmp_path}/left"
        command = f"f={{0..9}}; {hang}; cat {shards}/$f.tar # {out.name}"  # another one than the fetched of another out
        return saving(
            align_job(folder, out, data=(f"webdataset:pipe:{command}",), batch_size=2, steps=20),
            save_every=500,
            log_every=1,
        )

    (tmp_path / "hangs").write_text("none", encoding="utf-8")
    train(job(tmp_path / "whole"))
    (shards / "3.tar").rename(tmp_path / "3.tar")
    with pytest.raises(MissingData):
        train(job())
    assert len(saved := list((out / "steps").glob("checkpoint-*"))) == 1
    assert step_of(saved[0]) == len(losses(out)) > 0
    (tmp_path / "3.tar").rename(shards / "3.tar")
    shutil.rmtree(out)
    (tmp_path / "hangs").write_text("3", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        train(job())
    assert len(list((out / "steps").glob("checkpoint-*"))) == 1
    assert not commands_with(f"{tmp_path}/left")
    (tmp_path / "hangs").write_text("none", encoding="utf-8")
    train(job())
    assert_close(losses(out), losses(tmp_path / "whole"))


def test_rates_leave_out_evaluations(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    clock = SimpleNamespace(perf_counter=lambda: now[0])
    for module in (speed, trainer, batches):
        monkeypatch.setattr(module, "time", clock)
    forward = TrainingModule.forward

    def takes_a_second(module: TrainingModule, batch: Batch) -> Any:
        now[0] += 1.0
        return forward(module, batch)

    def evaluate(network: object, step: int) -> dict[str, float]:
        del network, step
        now[0] += 1000.0
        return {"vqav2/accuracy": 1.0}

    monkeypatch.setattr(TrainingModule, "forward", takes_a_second)
    train(replace(saving(align_job(folder, tmp_path, steps=3), log_every=1, eval_every=1), evaluate=evaluate))
    assert [row["samples_per_s"] for row in logged(tmp_path) if "loss" in row] == [6.0, 6.0, 6.0]
