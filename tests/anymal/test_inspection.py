"""What stands in the place of a frozen part is reported without a network, and from the files that are loaded."""

import shutil
from pathlib import Path

import pytest
import torch

from anymal_eval.anymal import encoders, tiny
from anymal_eval.anymal.config import AnyMALConfig, LLMConfig, ModalityConfig, preset
from anymal_eval.anymal.encoders import imu2clip
from anymal_eval.anymal.inspection import PartReport, inspect
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.codec import decode
from tests.anymal.test_encoders import released
from tests.checkpoints.test_conversion import pickled

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def reports(llm: str, motions: Path) -> list[PartReport]:
    part = preset("tiny").modalities["imu"]
    encoder = imu2clip.Options(kind="imu2clip", path=str(motions), width=16)
    modalities = {"imu": ModalityConfig(encoder=encoder, projector=part.projector)}
    return inspect(AnyMALConfig(llm=LLMConfig(path=llm), modalities=modalities), offline=True)  # type: ignore[arg-type]


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository owner/llm in the hub's cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    home = tmp_path / "models--owner--llm"
    tiny.write_llm(home / "snapshots" / COMMIT, preset("tiny").llm)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    return home / "snapshots" / COMMIT


def test_offline_no_connection_is_opened(snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reachable() -> bool:
        pytest.fail("a connection to the hub")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("anymal_eval.checkpoints.locating.hub_reachable", reachable)
    llm = reports("owner/llm", tmp_path)[0]
    assert (llm.where, llm.files, llm.weights, llm.problem) == (snapshot, 1, "safetensors", "")
    (snapshot / "model.safetensors").rename(snapshot / "model-00001-of-00001.safetensors")
    (snapshot / "model.safetensors.index.json").write_text('{"weight_map": {"a": "none.safetensors"}}')
    assert "names 'none.safetensors'" in reports("owner/llm", tmp_path)[0].problem


def test_motions_have_one_file_under_any_name(snapshot: Path, tmp_path: Path) -> None:
    motions = tmp_path / "motions"
    motions.mkdir()
    assert "exactly one .safetensors, .pt or .ckpt file, has 0" in reports(str(snapshot), motions)[1].problem
    torch.save({"state_dict": {f"imu_encoder.{name}": one for name, one in released().items()}}, motions / "i.ckpt")
    imu = reports(str(snapshot), motions)[1]
    assert (imu.files, imu.weights, imu.problem) == (1, "pickles", "")
    shutil.copyfile(motions / "i.ckpt", motions / "j.pt")
    assert "exactly one .safetensors, .pt or .ckpt file, has 2" in reports(str(snapshot), motions)[1].problem


def test_shapes_alone_convert_no_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "cache"))
    options = preset("tiny").modalities["audio"].encoder
    table = {**vars(options), "path": str(tmp_path / "clap")}
    options = decode(encoders.options_of("clap"), table, "clap")
    tiny.write_encoder(tmp_path / "clap", options)
    pickled(tmp_path / "clap")
    assert encoders.build(options, BackboneLoading(weights=False)).weights == "shapes only"
    assert not (tmp_path / "cache").exists()
