"""``checkpoints`` as it is typed."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from anymal_eval.anymal import tiny
from anymal_eval.cli.main import cli
from anymal_eval.errors import AnyMALEvalError, NotInCatalog


def call(*given: object) -> Result:
    return CliRunner().invoke(cli, ["checkpoints", *map(str, given)])


def total(done: Result) -> float:
    assert done.exit_code == 0, done.output
    assert all(len(line) <= 80 for line in done.output.splitlines()[1:])
    found = re.search(r"total +([\d.]+) GiB", done.output)
    assert found
    return float(found[1])


def test_the_memory_of_a_preset_that_is_not_here() -> None:
    plain = total(call("estimate", "7b-imu"))
    # 6.74e9 numbers of 2 bytes, and little beside
    assert plain == pytest.approx(6.74e9 * 2 / 2**30, rel=0.03)
    assert total(call("estimate", "7b-imu", "--quantize", "nf4")) < 0.35 * plain
    step = call("estimate", "7b-imu", "--train", "align", "--batch-size", 4, "--text-tokens", 256)
    recomputed = call(
        "estimate", "7b-imu", "--train", "align", "--batch-size", 4, "--text-tokens", 256, "--gradient-checkpointing"
    )
    assert total(recomputed) < total(step)
    tuned = call("estimate", "7b-imu", "--train", "instruct", "--quantize", "nf4")
    assert "weights: lora, " in tuned.output
    assert "weights: lora, " not in call("estimate", "7b-imu", "--train", "align").output


def test_of_a_folder_and_of_what_is_none(tmp_path: Path) -> None:
    tiny.write(tmp_path)
    assert total(call("estimate", tmp_path / "checkpoint", "--precision", "fp32")) < 0.1
    error = call("estimate", "7b-imi").exception
    assert isinstance(error, NotInCatalog)
    assert "did you mean" in str(error)
    refused = call("join", tmp_path / "checkpoint", tmp_path / "none", "--out", tmp_path / "out").exception
    assert isinstance(refused, AnyMALEvalError)
    done = call("merge-lora", tmp_path / "checkpoint", "--out", tmp_path / "merged")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "merged" / "llm" / "model.safetensors").is_file()
