"""Standard output and error that are closed, full, left by their reader, or of a small alphabet end no command."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.report import conftest as report

scored = report.scored
FULL = Path("/dev/full")


def shell(line: str, folder: Path = ROOT, **more: str) -> "subprocess.CompletedProcess[bytes]":
    """A line for ``bash``, in which ``anymal`` is the command line."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ANYMAL": f"{sys.executable} -m anymal_eval", **more}
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; anymal() {{ $ANYMAL "$@"; }}; {line}'],
        cwd=folder, env=environment, capture_output=True, check=False, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture
def worse(scored: Callable[..., Path]) -> str:
    """The arguments of a ``check`` that ends with 3."""
    good, bad = (scored(name, {"scienceqa": np.full((60, 1), value)}) for name, value in (("base", 1.0), ("new", 0.0)))
    return f"check {bad} --against {good}"


@pytest.mark.parametrize(
    "line",
    [
        "anymal tasks | head -1", "anymal tasks | head -c 1", "anymal tasks | true", "anymal --help | head -1",
        "anymal tasks --json | true", "anymal metrics 2>&1 | head -1",
    ],
)  # fmt: skip
def test_a_reader_that_has_left(line: str) -> None:
    done = shell(line)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_reader_that_has_left_does_not_change_the_verdict(worse: str) -> None:
    for line in (f"anymal {worse} | true", f"anymal {worse} >&-", f"anymal {worse} 2>&1 >/dev/null | true"):
        assert shell(line).returncode == 3, line


@pytest.mark.parametrize("closing", [">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed(closing: str) -> None:
    done = shell(f"anymal metrics {closing}")
    assert done.returncode == 0
    assert done.stderr == b""
    assert bool(done.stdout) is (">&-" not in closing.replace("2>&-", ""))
    refused = shell(f"anymal tasks nothing {closing}")
    assert refused.returncode == 1
    assert refused.stderr.count(b"\n") == int("2>&-" not in closing)


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path: Path, worse: str) -> None:
    # A library or a program that prints would write into it.
    assert shell(f"anymal {worse} --json {tmp_path}/found.json >&- 2>&-").returncode == 3
    number = tmp_path / "number"
    code = (
        "from anymal_eval.cli._streams import StandardStreams as S\nwith S().kept_open():\n  "
        f"print(min(open('/dev/null').fileno() for _ in range(3)), file=open({str(number)!r}, 'w'))"
    )
    assert shell(f'{sys.executable} -c "$CODE" <&- >&- 2>&-', CODE=code).returncode == 0
    assert int(number.read_text()) > 2


@pytest.mark.skipif(not FULL.is_char_device(), reason="this system has no /dev/full")
def test_a_full_device(worse: str) -> None:
    done = shell("anymal tasks > /dev/full")
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: standard output: no space left")
    assert done.stderr.count(b"\n") == 1
    assert shell(f"anymal {worse} > /dev/full").returncode == 3
    assert shell("anymal tasks 2> /dev/full").returncode == 0
    assert shell("anymal tasks nothing 2> /dev/full").returncode == 1
    assert shell("anymal tasks > /dev/full 2> /dev/full").returncode == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "ascii:strict", "utf-8", "cp037"])
def test_a_small_alphabet(encoding: str) -> None:
    text = "Où est l’œuf? 猫 🦙 \u202e"
    code = (
        "import sys, click; from anymal_eval.cli.main import cli, main;"
        f"both = lambda: (click.echo({text!r}), print({text!r}), click.echo({text!r}, err=True)) and 0;"
        "cli.list_commands = lambda *_: ['say'];"
        "cli.get_command = lambda *_: click.Command('say', callback=both);"
        "sys.argv = ['anymal-eval', 'say']; main()"
    )
    done = shell(f'{sys.executable} -c "$CODE"', CODE=code, PYTHONIOENCODING=encoding)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr.decode(errors="replace")
    assert done.stdout.count(b"\n" if encoding != "cp037" else "\n".encode("cp037")) == 2
    if encoding == "latin-1":
        assert done.stdout.decode("latin-1").startswith("Où est l\\u2019\\u0153uf? \\u732b \\U0001f999")
