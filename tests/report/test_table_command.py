"""``anymal-eval table`` as it is called."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from anymal_eval.cli.table import table
from anymal_eval.errors import BadData, WrongUse

DEMO: dict[str, Any] = {
    "task": "vqav2", "split": "val", "data": "demo", "protocol": "plain", "metric": "vqa_accuracy",
    "version": "2021", "output": "vqa_accuracy", "signature": "s", "value": 0.25, "unit": "fraction",
    "better": "higher", "ci_low": 0.2, "ci_high": 0.3, "ci_method": "clustered", "n": 200, "n_expected": 200,
    "states": {"ok": 200, "empty": 0, "unparsable": 0, "error": 0}, "group": None, "headline": True,
}  # fmt: skip
WHOLE = {"schema": 1, "run": {"name": "demo-constant", "model": "constant"}, "measurements": [DEMO]}


def test_a_run_beside_a_paper(run_folder: Callable[..., Path]) -> None:
    done = CliRunner().invoke(table, [str(run_folder(WHOLE)), "--like", "anymal-2023/4"])
    assert done.exit_code == 0, done.output
    assert "constant (chance) (demo data)" in done.output
    assert "demo data, not the benchmark" in done.output
    assert "***69.1***" in done.output


@pytest.mark.parametrize("format", ["md", "latex", "csv", "html"])
def test_formats(run_folder: Callable[..., Path], format: str) -> None:
    done = CliRunner().invoke(table, [str(run_folder(WHOLE)), "--format", format])
    assert done.exit_code == 0, done.output
    assert "25.0" in done.output
    assert "demo" in done.output


def test_invalid_arguments(run_folder: Callable[..., Path]) -> None:
    done = CliRunner().invoke(table, ["--gains", "anymal-2023", "--like", "anymal-2023/4"])
    assert isinstance(done.exception, WrongUse)
    assert isinstance(CliRunner().invoke(table, []).exception, WrongUse)
    newer = CliRunner().invoke(table, [str(run_folder({**WHOLE, "schema": 2}))])
    assert isinstance(newer.exception, BadData)


def test_as_a_program(run_folder: Callable[..., Path]) -> None:
    code = [sys.executable, "-m", "anymal_eval", "table"]
    done = subprocess.run([*code, "--gains", "anymal-2023"], capture_output=True, text=True, check=True)
    assert "+14.6 %" in done.stdout
    folder = run_folder(WHOLE)
    (folder / "results.json").write_text(json.dumps({**WHOLE, "schema": 9}), encoding="utf-8")
    refused = subprocess.run([*code, str(folder)], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "newer" in refused.stderr
