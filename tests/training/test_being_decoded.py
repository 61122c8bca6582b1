"""A decoder that ends its process, as a fault in a library does: the next start names what it was decoding."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.training.being_decoded import BeingDecoded, left_behind
from anymal_eval.training.run import train
from tests.conftest import ROOT
from tests.training.conftest import align_job, assert_close, every_step, losses

CRASHES = """
import ctypes, sys
from pathlib import Path

from anymal_eval.models.anymal.media_inputs import MediaInputs
from anymal_eval.training.run import train
from tests.training.conftest import align_job

make = MediaInputs.make

def crash(self, media, frames):
    if media.uri.endswith("/8.png"):
        ctypes.string_at(0)
    return make(self, media, frames)

MediaInputs.make = crash
train(align_job(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def test_what_was_decoded_is_named(folder: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    died = subprocess.run([sys.executable, "-c", CRASHES, folder, tmp_path], cwd=ROOT, env=here, capture_output=True)
    assert died.returncode < 0, died.stderr
    messages: list[str] = []
    monkeypatch.setattr(SilentConsole, "message", lambda _, line: messages.append(line))
    train(every_step(align_job(folder, tmp_path)))
    (line,) = [line for line in messages if line.startswith("the process before ended at once while it decoded")]
    assert f"{folder / 'data' / '8.png'}" in line
    assert not list(tmp_path.glob(".decoding*"))
    assert_close(losses(tmp_path), losses(whole))


def test_what_is_decoded_no_more_is_not_named(tmp_path: Path) -> None:
    decoded, long = BeingDecoded(tmp_path, 0, 2), "ä" * 2000
    with decoded.noted("a.png"):
        pass
    with decoded.noted(long):
        assert left_behind(tmp_path) == [long[:512]]
    assert left_behind(tmp_path) == []
    decoded.close()
