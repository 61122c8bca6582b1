"""``features fill`` loads the encoders alone, refuses the wrong ones, and says what it could not read."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from anymal_eval.anymal import tiny
from anymal_eval.cli.main import cli
from anymal_eval.errors import BadCheckpoint


def test_fill_needs_no_language_model_and_reports_what_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "world"))
    checkpoint = tiny.write(tmp_path)
    (tmp_path / "backbones" / "llm" / "model.safetensors").unlink()
    (checkpoint / "projectors.safetensors").unlink()
    given = [
        "features", "fill", "--tasks", "vqav2,imu_caption", "--data", "demo", "--demo-examples", "10",
        "--model", f"anymal:{checkpoint}", "--features", str(tmp_path / "features"),
    ]  # fmt: skip
    assert cli.main(given, standalone_mode=False) == 0
    count = len(list((tmp_path / "features").glob("??/*.safetensors")))
    assert f"{count} media: {count} encoded, 0 were there before" in capsys.readouterr().out
    picture = next((tmp_path / "world").rglob("*.jpg"))
    content = picture.read_bytes()
    picture.write_bytes(b"no picture")
    assert cli.main(given, standalone_mode=False) == 2
    told = capsys.readouterr()
    assert f"0 encoded, {count - 1} were there before" in told.out
    assert f"1 media failed: {picture}" in told.err
    picture.write_bytes(content)
    assert cli.main(given, standalone_mode=False) == 0
    shutil.copytree(tmp_path / "backbones", tmp_path / "other" / "backbones")
    shutil.copytree(checkpoint, tmp_path / "other" / "checkpoint")
    weights = tmp_path / "other" / "backbones" / "imu2clip.safetensors"
    save_file({name: value + 1 for name, value in load_file(weights).items()}, weights)
    given[given.index(f"anymal:{checkpoint}")] = f"anymal:{tmp_path / 'other' / 'checkpoint'}"
    with pytest.raises(BadCheckpoint, match="wrong imu encoder"):
        cli.main(given, standalone_mode=False)
