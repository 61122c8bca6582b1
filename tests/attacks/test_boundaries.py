"""Whatever path a command opens, and whatever the operating system says to it: 0, 1 or 2 and at most one line.

``benchmarks.boundaries`` tries every path of every command with every error. Here, each command with some of its paths.
"""

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anymal_eval.errors import FileUnusable, StorageFull, system_error
from benchmarks import boundaries
from tests.conftest import ROOT

# Each of its paths takes seconds where a command imports much; the benchmark tries all.
PATHS = {"tasks": 3, "data check": 8, "show": 8, "accept": 8, "check": 4}


def test_faults(tmp_path: Path) -> None:
    """In a process of its own: the audit hook stays."""
    code = (
        "import sys; from pathlib import Path; from tests.attacks.test_boundaries import try_faults;"
        f"try_faults(Path({str(tmp_path)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == [name for name in " ".join(PATHS).split()]


def try_faults(folder: Path) -> None:
    """Some paths of each command of ``PATHS``, each with one error by turns."""
    world, saved = folder / "world", folder / "saved"
    boundaries.build(world, network=False)
    shutil.copytree(world, saved, symlinks=True)
    for name, count in PATHS.items():
        arguments = boundaries.COMMANDS[name].split()
        plain = boundaries.call(world, arguments)
        assert (plain.code, plain.wrong) in ((0, ""), (1, "")), plain
        boundaries.preload(plain.modules)
        chosen = plain.seen[:: max(1, len(plain.seen) // count)]
        failed = 0
        for path, number in boundaries.cases(chosen, boundaries.ERRORS, every=False):
            boundaries.restore(world, saved)
            ended = boundaries.call(world, arguments, path, number)
            assert not ended.wrong, f"{name}: {path}: {errno.errorcode[number]}: {ended.wrong}\n{ended.stderr}"
            failed += ended.code != plain.code
        assert failed, f"{name}: no fault has changed anything"
        boundaries.restore(world, saved)
        print(name)


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_error_of_the_operating_system_is_one_line(number: int) -> None:
    for error in (OSError(number, os.strerror(number), "a file"), OSError(number, os.strerror(number))):
        found = system_error(error)
        assert isinstance(found, StorageFull if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else FileUnusable)
        assert found.exit_code in (1, 2)
        assert "\n" not in str(found)
        assert str(found).startswith("a file: ") is (error.filename is not None)


def test_errors_of_libraries_without_a_number() -> None:
    for error in (OSError("We couldn't\n connect.\n\nTry again"), OSError(), PermissionError()):
        found = str(system_error(error, "weights"))
        assert found.startswith("weights: ")
        assert len(found) > len("weights: ")
        assert "\n" not in found


def without_override() -> None:
    """Root may read everything; without these two capabilities it obeys the bits of its own files, as any user does."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP, for the program that is started


def test_bits_of_permission(tmp_path: Path) -> None:
    """Files that C and Rust open too, which no audit hook sees."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}

    def call(*arguments: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "anymal_eval", *map(str, arguments)], cwd=ROOT, env=environment, text=True,
            capture_output=True, check=False, preexec_fn=without_override,  # no threads here
        )  # fmt: skip

    data, answers, model = tmp_path / "data", tmp_path / "answers.jsonl", tmp_path / "model"
    assert call("data", "draw", "scienceqa", "--split", "eval", "--examples", 6, "--data-root", data).returncode == 0
    answers.write_text('{"id": "1", "answer": "a"}\n')
    shutil.copytree(ROOT / "anymal_eval" / "demo" / "model" / "checkpoint", model)
    weights = max(model.rglob("*.safetensors"), key=lambda file: file.stat().st_size)
    run = ["run", "--tasks", "scienceqa", "--data", "official", "--data-root", data, "--out", tmp_path / "run"]
    for path, chosen in (
        (data / "scienceqa" / "problems.json", "constant"),
        (data / "scienceqa", "constant"),
        (answers, f"replay:{answers}"),
        (weights, f"anymal:{model}"),
        (model, f"anymal:{model}"),
    ):
        mode = path.stat().st_mode
        path.chmod(0)
        done = call(*run, "--model", chosen)
        path.chmod(mode)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert (done.returncode, len(errors)) == (1, 1), f"{path}: {done.stderr}"
        assert str(path) in errors[0], errors
