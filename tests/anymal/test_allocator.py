"""Large blocks go back to the system as soon as they are freed."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

COUNT, LARGE, SMALL = 40, 4 << 20, 100_000
HELD = f"""
import json, sys
from pathlib import Path
from anymal_eval.anymal.allocator import return_large_blocks

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

if sys.argv[1] == "fixed":
    assert return_large_blocks()
del [b"x" * (31 << 20)][:]  # a freed block of its own, by which glibc's threshold rises
before = resident()
pairs = [(b"x" * {LARGE}, b"x" * {SMALL}) for _ in range({COUNT})]
assert resident() - before > 0.9 * {COUNT} * {LARGE}
kept = [small for _, small in pairs]
del pairs
print(json.dumps(resident() - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_freed_blocks_are_given_back() -> None:
    held = {
        how: json.loads(subprocess.check_output([sys.executable, "-c", HELD, how], cwd=ROOT, text=True))
        for how in ("fixed", "plain")
    }
    print({how: f"{size / 2**20:.0f} MiB" for how, size in held.items()})
    assert held["fixed"] < 2 * COUNT * SMALL
    assert held["plain"] > COUNT * LARGE / 2, "glibc keeps them: if it no longer does, the module is not needed"
