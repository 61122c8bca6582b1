"""Two processes compute the same losses as one."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from anymal_eval.training.run import train
from tests.conftest import ROOT
from tests.training.conftest import align_job, assert_close, every_step, logged


@pytest.mark.parametrize("accumulate", [1])
def test_two_processes_equal_one(accumulate: int, folder: Path, tmp_path: Path) -> None:
    train(every_step(align_job(folder, tmp_path / "one", steps=4, warmup=0, learning_rate=1e-4)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port),
        "-m", "anymal_eval", "train", "align", str(folder / "network.toml"), "--device", "cpu", "--steps", "4",
        "--data", f"pairs:{folder / 'data' / 'pairs.jsonl'}", "--batch-size", "6", "--learning-rate", "1e-4",
        "--accumulate", str(accumulate), "--log-every", "1", "--save-every", "1", "--out", str(tmp_path / "two"),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = logged(tmp_path / "one"), logged(tmp_path / "two")
    for name in ("loss", "grad_norm"):
        assert_close([row[name] for row in two], [row[name] for row in one])
    states = sorted(file.name for file in (tmp_path / "two" / "steps" / "checkpoint-4").iterdir())
    assert "rng_state_1.pth" in states
    assert done.stdout.count("checkpoint") == 1
