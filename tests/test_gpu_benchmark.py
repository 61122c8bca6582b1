"""The benchmark for GPUs runs: in small on the processor, and says in one line when there is none."""

import importlib
import sys

import pytest
import torch

gpu = importlib.import_module("benchmarks.gpu")


def test_in_small_on_the_processor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--tiny", "--rounds", "1"])
    assert gpu.main() == 0
    printed = capsys.readouterr().out
    for line in ("sdpa", "% of the matrix rate", "% of the memory rate", "examples a second"):
        assert line in printed


def test_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    assert gpu.main() == 1
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err == "benchmarks.gpu: torch finds no GPU; --device cpu --tiny runs the same code in small\n"
