"""Trackers get the run's own numbers, x100; read back by each tracker's own reader."""

import importlib.util
import json
import sqlite3
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from anymal_eval.cli.check import check
from anymal_eval.cli.score import score
from anymal_eval.errors import IncompleteRun, NeedsExtra, NotInCatalog, ScoreRegression
from anymal_eval.report import trackers
from anymal_eval.report.tracking import run_record
from anymal_eval.store.stored import StoredRun, open_run


@pytest.fixture
def run(scored: Callable[..., Path]) -> Path:
    return scored("night", {"vqav2": np.array([[1.0], [0.0], [1.0], [1.0]])})


def opened(run: Path) -> StoredRun:
    """The run, its one number with an interval."""
    found = open_run(run)
    first, *others = found.results.measurements
    kept = (replace(first, ci_low=0.25, ci_high=0.9375), *others)
    vars(found)["results"] = replace(found.results, measurements=kept)
    return found


# Three of four answers are right.
EXPECTED = {
    "vqav2/vqa_accuracy.2021": 75.0, "vqav2/vqa_accuracy.2021.ci_low": 25.0, "vqav2/vqa_accuracy.2021.ci_high": 93.75,
    "vqav2/vqa_accuracy.2021.n": 4.0, "vqav2/state.ok": 4.0, "vqav2/state.error": 0.0,
}  # fmt: skip


def test_tensorboard(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (line,) = trackers.log(["tensorboard"], [run_record(opened(run), step=40)], run)
    assert line == f"logged to tensorboard: {run / 'tensorboard'}"
    found = EventAccumulator(str(run / "tensorboard")).Reload()
    for name, value in EXPECTED.items():
        (event,) = found.Scalars(name)
        assert (event.step, event.value) == (40, pytest.approx(value, rel=1e-6))


def test_mlflow(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'mlruns'}")
    import mlflow

    mlflow.set_tracking_uri(f"file:{tmp_path / 'mlruns'}")
    for _ in range(2):  # the same results are one run
        trackers.log(["mlflow"], [run_record(opened(run))], run)
    (found,) = mlflow.search_runs(experiment_names=["anymal_eval"], output_format="list")
    assert EXPECTED.items() <= found.data.metrics.items()
    assert found.data.params["model"] == "made-up"
    text = Path(found.info.artifact_uri.removeprefix("file://"), "results.json").read_text()
    assert json.loads(text)["measurements"][0]["ci_low"] == 0.25


def test_wandb_offline(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    import wandb

    try:
        (line,) = trackers.log(["wandb"], [run_record(opened(run), step=40)], run)
    finally:
        wandb.teardown()
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert str(file.parent) in line
    history = [{item.nested_key[0] if item.nested_key else item.key: json.loads(item.value_json) for item in row}
               for row in wandb_history(file)]  # fmt: skip
    assert len(history) == 1
    assert history[0]["_step"] == 40
    assert EXPECTED.items() <= history[0].items()


def wandb_history(file: Path) -> list[Any]:
    """The history of an offline run, whose file is a log of LevelDB's format behind a header of seven bytes."""
    from wandb.proto import wandb_internal_pb2

    made: Any = wandb_internal_pb2
    content, at, record, rows = file.read_bytes(), 7, b"", []
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # what is left of a block is too short for a header
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found = made.Record.FromString(record)
            record = b""
            if found.WhichOneof("record_type") == "history":
                rows.append(found.history.item)
    return rows


@pytest.mark.skipif(importlib.util.find_spec("trackio") is None, reason="trackio is not installed")
def test_trackio(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    import trackio.utils

    monkeypatch.setattr(trackio.utils, "TRACKIO_DIR", tmp_path)
    trackers.log(["trackio"], [run_record(opened(run))], run)
    (file,) = tmp_path.glob("anymal_eval*.db")
    with sqlite3.connect(file) as base:
        ((content,),) = base.execute("select metrics from metrics").fetchall()
    assert EXPECTED.items() <= json.loads(content).items()


def test_what_is_not_there_is_said_before_anything_is_scored(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (run / "results.json").stat().st_mtime_ns
    refused = CliRunner().invoke(score, [str(run), "--log-to", "wanbd"]).exception
    assert isinstance(refused, NotInCatalog)
    assert str(refused) == "no tracker 'wanbd'; there are mlflow, tensorboard, trackio, wandb"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused = CliRunner().invoke(score, [str(run), "--log-to", "mlflow"]).exception
    assert isinstance(refused, NeedsExtra)
    assert str(refused) == "--log-to mlflow: mlflow-skinny is not installed: pip install mlflow-skinny"
    assert (run / "results.json").stat().st_mtime_ns == before


def test_a_tracker_that_fails_hides_no_verdict(scored: Callable[..., Path]) -> None:
    base = scored("base", {"vqav2": np.ones((200, 1))})
    worse = scored("worse", {"vqav2": np.repeat([[0.0], [1.0]], 100, axis=0)})
    done = CliRunner().invoke(check, [str(worse), "--against", str(base), "--log-to", "tensorboard"])
    assert isinstance(done.exception, ScoreRegression)
    assert "logged to tensorboard" in done.stderr
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (change,) = EventAccumulator(str(worse / "tensorboard")).Reload().Scalars("check/vqav2/change")
    assert change.value == pytest.approx(-50)

    (base / "tensorboard").write_text("a file", encoding="utf-8")
    done = CliRunner().invoke(check, [str(base), "--against", str(worse), "--log-to", "tensorboard"])
    assert isinstance(done.exception, IncompleteRun)
    assert f"they are in {base}" in str(done.exception)
    (worse / "tensorboard").rename(worse / "events")
    (worse / "tensorboard").write_text("a file", encoding="utf-8")
    done = CliRunner().invoke(check, [str(worse), "--against", str(base), "--log-to", "tensorboard"])
    assert isinstance(done.exception, ScoreRegression)
    assert "error: tensorboard took no results: FileExistsError" in done.stderr
