"""The crash campaign of ``benchmarks.crashes`` in small: a kill each of four commands."""

import json
import subprocess
import sys

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
