"""Memory that is freed stays with the process: no page is cleared again for the next block of the same size."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

CHILD = """
import resource, sys
import torch
from anymal_eval.generation.freed_memory import keep_freed_memory
kept = keep_freed_memory()

def blocks():
    for _ in range(20):
        for size in (7 << 20, 11 << 20):
            torch.zeros(size // 4).add_(1)

blocks()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
blocks()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
@pytest.mark.parametrize("own", [{}, {"MALLOC_TRIM_THRESHOLD_": "131072"}])
def test_blocks_are_used_again(own: dict[str, str]) -> None:
    plain = {name: value for name, value in os.environ.items()
             if not name.startswith("MALLOC_") and name not in ("GLIBC_TUNABLES", "LD_PRELOAD")}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, check=True,
        env={**plain, "PYTHONPATH": str(ROOT), **own},
    )  # fmt: skip
    kept, faults = done.stdout.split()
    if own:  # the user's settings stay
        assert kept == "False"
    elif kept == "True":
        assert int(faults) < 2000
