"""Weights are read while data are, nothing is loaded before the data are whole, and the data's error comes first."""

import threading
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.anymal import tiny
from anymal_eval.checkpoints import reading_ahead
from anymal_eval.checkpoints.reading_ahead import ReadingAhead, files_of
from anymal_eval.errors import BadData
from anymal_eval.evaluation import resolve
from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.evaluation.plan import make_plan
from anymal_eval.evaluation.run import run
from anymal_eval.models import ModelSpec, choose_model
from anymal_eval.sources.dataset import TaskDataset, load_dataset
from tests.conftest import Command

LONG_S = 120.0  # by then an event that comes at all has come


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("network")
    tiny.write(home)
    return home / "checkpoint"


def plan(network: Path, out: Path) -> Any:
    return make_plan(tasks="vqav2", data="demo", demo_examples=6, model=f"anymal:{network}", out=out)


def test_the_weights_are_read_while_the_data_are(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[ReadingAhead] = []
    begin, load = ReadingAhead.start, ModelSpec.load
    read: list[Path] = []
    loaded: list[bool] = []

    def started(own: ReadingAhead, names: list[str]) -> None:
        readers.append(own)
        read.extend(file for name in names for file in files_of(name))
        begin(own, names)

    def slow_data(*given: Any) -> TaskDataset:
        # The data end only when all weights have been read; a reader that waited for them would never be done.
        assert readers[0].done.wait(LONG_S)
        assert not loaded
        return load_dataset(*given)

    def loading(own: ModelSpec, *given: Any) -> Any:
        loaded.append(True)
        return load(own, *given)

    monkeypatch.setattr(ReadingAhead, "start", started)
    monkeypatch.setattr(resolve, "load_dataset", slow_data)
    monkeypatch.setattr(ModelSpec, "load", loading)
    assert run(plan(network, tmp_path / "run"), SilentConsole()).errors == 0
    assert (len(readers), loaded) == (1, [True])
    assert {file.suffix for file in read} == {".safetensors"}
    assert threads() == []


def test_nothing_is_loaded_where_the_data_are_bad(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad(*given: Any) -> TaskDataset:
        assert threads(), "the weights are being read"
        raise BadData("row 3 has no question")

    def never(own: ModelSpec, *given: Any) -> None:
        raise AssertionError("loaded")

    endless = threading.Event()
    monkeypatch.setattr(
        ReadingAhead, "_read", lambda own, files: endless.wait(LONG_S) if not own._stopped.wait(LONG_S) else None
    )
    monkeypatch.setattr(resolve, "load_dataset", bad)
    monkeypatch.setattr(ModelSpec, "load", never)
    with pytest.raises(BadData, match="row 3 has no question"):
        run(plan(network, tmp_path / "run"), SilentConsole())
    assert threads() == [], "it ended with the error"
    assert not (tmp_path / "run").exists()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "reading ahead"]


def test_the_error_of_the_data_comes_before_that_of_the_weights(
    network: Path, tmp_path: Path, command_here: Command
) -> None:
    """A checkpoint whose language model is gone, and data that are not there: one line, about the data."""
    given = ("run", "--tasks", "vqav2", "--data-root", tmp_path, "--model", f"anymal:{network}", "-o", "llm=gone/away")
    done = command_here(*given, "--out", tmp_path / "run")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "vqav2" in done.stderr
    assert "gone" not in done.stderr


def test_what_cannot_be_read_is_left_to_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_ahead, "CHUNK", 4)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut/model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/model.safetensors").symlink_to("/dev/zero")
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole/model.safetensors").write_bytes(b"0123456789")
    with ReadingAhead() as ahead:
        ahead.start([str(tmp_path / name) for name in ("absent", "cut", "linked", "whole")] + ["nobody/nothing"])
        assert ahead.done.wait(LONG_S)
    assert files_of(str(tmp_path / "cut")) == []
    assert files_of(str(tmp_path / "whole")) == [tmp_path / "whole/model.safetensors"]


def test_what_a_model_reads(network: Path) -> None:
    assert choose_model("constant", {}).weights_at == []
    named = choose_model(f"anymal:{network}", {}).weights_at
    assert len(named) > 1
    assert all(Path(name).exists() for name in named)
