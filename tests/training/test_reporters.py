"""Reporters begin before the network is loaded, write into the training's folder, and end no training."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.errors import WrongUse
from anymal_eval.training import load, reporters
from anymal_eval.training.resolve import ResolvedTraining
from anymal_eval.training.run import train
from tests.training.conftest import Stopped, align_job, saving, stop_at


class Messages:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.message = self.lines.append


def reporting(job: ResolvedTraining, *names: str) -> ResolvedTraining:
    return saving(job, report_to=names, log_every=1)


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No login, and no settings that wandb and mlflow read in another test."""
    import wandb
    from mlflow.tracking._tracking_service import utils

    monkeypatch.setattr(utils, "_tracking_uri", None)

    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_DIR", "TENSORBOARD_LOGGING_DIR", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wandb.teardown()
    yield
    wandb.teardown()


def no_network(*_: Any) -> None:
    raise AssertionError("the network was loaded")


@pytest.mark.parametrize(("name", "why"), [("wandb", "wandb login"), ("mlflow", "store|backend")])
def test_no_login_and_no_store_are_found_before_the_network_is_loaded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, why: str
) -> None:
    monkeypatch.setattr(load, "load_network", no_network)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'no' / 'mlruns'}")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    (tmp_path / "no").write_text("a file where the store's folder was")
    with pytest.raises(WrongUse, match=f"--report-to {name}: it cannot begin: .*({why}).*log.jsonl") as found:
        train(reporting(align_job(folder, tmp_path / "out"), name))
    assert "\n" not in str(found.value)
    assert not (tmp_path / "out" / "training.json").exists()


def test_a_resumed_training_continues_the_curves_of_tensorboard(folder: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def job() -> ResolvedTraining:
        return saving(reporting(align_job(folder, tmp_path / "out"), "tensorboard"), save_every=2, eval_every=1)

    with pytest.raises(Stopped):
        train(replace(job(), evaluate=stop_at(3)))
    done = job()
    train(saving(done, eval_every=0))
    found = EventAccumulator(str(tmp_path / "out" / "tensorboard")).Reload()
    losses = found.Scalars("train/loss")
    assert [event.step for event in losses] == list(range(1, done.recipe.steps + 1))
    rows = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [event.value for event in losses] == pytest.approx([row["loss"] for row in rows if "loss" in row], rel=1e-6)


def test_wandb_writes_into_the_folder_and_not_on_standard_output(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    train(reporting(align_job(folder, tmp_path / "out"), "wandb"))
    assert wandb.run is None  # it has ended before the command prints its last line
    assert len(list((tmp_path / "out" / "wandb").glob("offline-run-*/run-*.wandb"))) == 1
    assert not (tmp_path / "wandb").exists()
    assert capfd.readouterr().out == ""


def test_a_reporter_that_fails_on_the_way_is_left_out(folder: Path, tmp_path: Path) -> None:
    class Made:
        calls: list[str] = []  # noqa: RUF012

        def __getattr__(self, event: str) -> Any:
            def call(*_: Any, **__: Any) -> None:
                self.calls.append(event)
                if event == "on_log":
                    raise ConnectionError("the server\nis gone")

            return call

    arguments: Any = None
    one = reporters.Reporter("mlflow", Made(), arguments)
    messages = Messages()
    one.notify = messages.message
    for event in ("on_train_begin", "on_step_end", "on_log", "on_log", "on_train_end"):
        getattr(one, event)(None, None, None, logs={})
    assert Made.calls == ["on_init_end", "on_train_begin", "on_step_end", "on_log"]
    assert messages.lines == ["--report-to mlflow failed and is left out from here on: the server is gone"]
