"""What libraries print is in the log of the run, our messages on the terminal and in it; a crash is shown."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command

NOISY = """
import ctypes, os, sys, warnings
from dataclasses import dataclass
from anymal_eval.models import PLAIN_WORDING, PlainText
from anymal_eval.records import Response

class Noisy:
    accepts, wording, fingerprint = frozenset({"image"}), PLAIN_WORDING, "noisy"

    @dataclass(frozen=True, kw_only=True)
    class Options:
        fails: bool = False

    def __init__(self, options: Options) -> None:
        print("Loading weights:  50%|#### | 1/2 [00:01]\\r", end="", file=sys.stderr)
        warnings.warn("a kernel is missing", stacklevel=1)
        ctypes.CDLL(None).write(2, b"from C at load\\n", 15)
        if options.fails:
            raise RuntimeError("the model cannot be made")

    def prepare(self, request):
        return PlainText(request)

    def answer(self, batch):
        os.write(2, b"from C at work\\n")
        return [Response(id=item.request.id, answer="yes", finish="stop") for item in batch]

    def close(self) -> None:
        pass
"""
CRASH = """
import ctypes, os, sys
from anymal_eval.cli._streams import StandardStreams, messages
from anymal_eval.cli._library_output import LibraryOutput
with StandardStreams().kept_open(), LibraryOutput().kept():
    os.write(2, b"noise")
    print("ours", file=messages())
    ctypes.string_at(0)
"""


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    (tmp_path / "noisy").mkdir()
    (tmp_path / "noisy" / "model.py").write_text(NOISY, encoding="utf-8")
    return tmp_path


def run(command: Command, folder: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    return command(
        "run", "--tasks", "textvqa", "--model", "noisy.model:Noisy", "--data", "demo", "--demo-examples", 4,
        "--out", folder / "run", *more, PYTHONPATH=f"{ROOT}:{folder}",
    )  # fmt: skip


def test_the_terminal_has_our_messages_and_the_log_has_all(noisy: Path, command: Command) -> None:
    done = run(command, noisy)
    assert done.returncode == 0, done.stderr
    log = (noisy / "run" / "run.log").read_text(encoding="utf-8")
    for text in ("Loading weights", "a kernel is missing", "from C at load", "from C at work"):
        assert text not in done.stderr
        assert text in log, text
    (answers,) = [line for line in done.stderr.splitlines() if " answers in " in line]
    assert re.search(rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d {re.escape(answers)}$", log, re.MULTILINE)


def test_what_libraries_printed_before_there_is_a_run_is_shown_where_it_fails(noisy: Path, command: Command) -> None:
    done = run(command, noisy, "-o", "fails=true")
    assert done.returncode in (1, 70)
    assert not (noisy / "run").exists()
    assert "from C at load" in done.stderr
    assert "a kernel is missing" in done.stderr
    assert "Loading weights" not in done.stderr
    assert "the model cannot be made" in done.stderr


def test_a_crash_is_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASH], capture_output=True, text=True, cwd=ROOT, check=False, timeout=100
    )
    assert done.returncode == -signal.SIGSEGV
    assert "ours" in done.stderr
    assert "Segmentation fault" in done.stderr
    assert "noise" not in done.stderr
