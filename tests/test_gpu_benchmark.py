"""The checks for GPUs: the quickest run in small on the processor; one that does not end stops no other."""

import argparse
import importlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

gpu = importlib.import_module("benchmarks.gpu")
place = importlib.import_module("benchmarks.gpu_place")
wheels = importlib.import_module("benchmarks.gpu_wheels")
GIVEN = argparse.Namespace(device="cpu", tiny=True, rounds=1, budget=1e6, only=None, write=False)


@pytest.mark.parametrize("name", ["masked attention", "checkpointing", "70B-shaped training"])
def test_in_small_on_the_processor(name: str) -> None:
    (check,) = [each for each in gpu.CHECKS if each.name == name]
    found = gpu.here(check, "cpu", True, 1)
    assert found.state == "met", found
    assert len(found.figures) > 2


def test_every_check_has_its_function() -> None:
    assert len(gpu.CHECKS) == 11
    for check in gpu.CHECKS:
        module, _, function = check.function.partition(".")
        assert callable(getattr(importlib.import_module(f"benchmarks.{module}"), function))


def ending(monkeypatch: pytest.MonkeyPatch, raised: BaseException | None, figures: Any = ()) -> Any:
    """The outcome of a check that raises, or returns figures."""

    def measure(here: Any) -> Any:
        if raised is not None:
            raise raised
        return figures

    monkeypatch.setattr(importlib.import_module("benchmarks.gpu_numbers"), "parity", measure)
    return gpu.here(gpu.CHECKS[0], "cpu", True, 1)


def test_how_a_check_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ending(monkeypatch, torch.OutOfMemoryError("no room")).state == "out of memory"
    assert ending(monkeypatch, ValueError("odd")).error == "ValueError: odd"
    high, low = place.Figure("a", 2.0, most=1.0), place.Figure("b", 2.0, least=2.0)
    unknown, shown = place.Figure("c", float("nan"), most=1.0), place.Figure("d", float("nan"))
    assert [each.met for each in (high, low, unknown, shown)] == [False, True, False, True]
    assert ending(monkeypatch, None, [high, low]).state == "not met"
    outcome = ending(monkeypatch, None, [low, shown])
    assert outcome.state == "met"
    text = gpu.table([outcome, gpu.Outcome("speed", "too long", 9.0, error="it did not\nend")])
    assert text.splitlines()[2:] == [
        "| parity, 0 s | b | 2 | at least 2 | yes |",
        "|  | d | - |  |  |",
        "| speed | too long: it did not end | | | no |",
    ]


def test_a_process_that_dies_is_one_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    def died(command: list[str], **_: Any) -> Any:
        return subprocess.CompletedProcess(command, -9, "loading\n", "one\nKilled\n")

    monkeypatch.setattr(gpu.subprocess, "run", died)
    outcome = gpu.apart(gpu.CHECKS[0], GIVEN, 1e6)
    assert (outcome.state, outcome.error) == ("failed", "exit -9: one Killed")

    def slow(command: list[str], timeout: float, **_: Any) -> Any:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(gpu.subprocess, "run", slow)
    assert gpu.apart(gpu.CHECKS[0], GIVEN, 1e6).state == "too long"
    assert gpu.apart(gpu.CHECKS[0], GIVEN, 10.0).state == "left out"


def test_a_line_for_each_check_and_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    states = iter(["met", "not met", "failed"])
    monkeypatch.setattr(gpu, "apart", lambda check, given, left: gpu.Outcome(check.name, next(states)))
    only = [word for name in ("parity", "speed", "loading") for word in ("--only", name)]
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--tiny", *only])
    assert gpu.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["check"] for line in lines[:3]] == ["parity", "loading", "speed"]
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--tiny", "--write"])
    with pytest.raises(SystemExit) as refused:
        gpu.main()
    assert refused.value.code == 2
    assert "figures of a processor, or of small shapes, are not written" in capsys.readouterr().err


def test_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    assert gpu.main() == 1
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err == "benchmarks.gpu: torch finds no GPU; --device cpu --tiny runs the same code in small\n"


def test_the_wheels_have_pinned_versions_and_one_cuda(tmp_path: Path) -> None:
    command = wheels.command(tmp_path, "3.12")
    assert all(f"{name}==" in " ".join(command) for name in ("bitsandbytes", "av", "msgspec"))
    wheel = tmp_path / "bitsandbytes-1-py3-none-any.whl"
    names = [f"bitsandbytes/libbitsandbytes_{kind}.so" for kind in ("cpu", "cuda128", "cuda130", "rocm64")]
    with zipfile.ZipFile(wheel, "w") as whole:
        for name in (*names, "bitsandbytes/__init__.py"):
            whole.writestr(name, name)
        whole.writestr("bitsandbytes-1.dist-info/RECORD", "".join(f"{name},sha256=0,1\n" for name in names))
    wheels.slim(wheel, "130")
    with zipfile.ZipFile(wheel) as small:
        kept = [name for name in small.namelist() if name.endswith(".so")]
        record = small.read("bitsandbytes-1.dist-info/RECORD").decode()
        assert "bitsandbytes/__init__.py" in small.namelist()
    assert kept == [names[0], names[2]] == [line.partition(",")[0] for line in record.splitlines()]
