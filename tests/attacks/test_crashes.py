"""The crash campaign of ``benchmarks.crashes`` in small: a kill each of four commands."""

import json
import subprocess
import sys

from benchmarks.crashes_cases import timeless
from tests.attacks.test_locks import ENVIRONMENT
from tests.conftest import ROOT

COMMANDS = ("run", "score", "check", "accept")


def test_a_kill_of_each_of_four_commands() -> None:
    options = ["--kills", "9", "--full-disks", "0", "--seed", "4", "--json"]
    options += [word for name in COMMANDS for word in ("--only", name)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.crashes", *options],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {name: tally["counts"] for name, tally in found.items()} == {name: {"kills": 1} for name in COMMANDS}


def test_what_a_training_says_of_its_speed_is_no_difference() -> None:
    losses = '{"step": 2, "loss": 8.2, "grad_norm": 15.1, "learning_rate": 1e-05'
    rows = [
        losses + ', "samples_per_s": 104.6, "tokens_per_s": 3661.5, "memory_gib": 0.455, "input_wait": 1e-05, '
        '"seconds": 0.3}\n',
        losses + ', "samples_per_s": 75.8, "tokens_per_s": 2654.5, "memory_gib": 0.5, "input_wait": 0.0, '
        '"seconds": 12.1}\n',
        losses.replace("8.2", "8.3") + ', "samples_per_s": 1.0, "input_wait": 0.0, "seconds": 1.0}\n',
    ]
    first, same, other = (timeless({"trained/log.jsonl": row.encode()})["trained/log.jsonl"] for row in rows)
    assert first == same
    assert first != other
