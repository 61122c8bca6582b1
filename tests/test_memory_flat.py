"""Memory stays flat while pictures, sounds, clips and motions pass through ``prepare``: the short way.

The long way, by hand: ``python benchmarks/memory_flat.py``, with 10,000 examples.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="resident memory is read from /proc")
def test_memory_is_flat_over_1500_examples(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "memory_flat.py", "--examples", "1600", "--after", "600"],
        capture_output=True, text=True, cwd=ROOT, check=False, timeout=300,
        env={**os.environ, "ANYMAL_EVAL_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["examples"] == 1600
    assert found["growth_percent"] < 5
