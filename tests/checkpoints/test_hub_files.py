"""The encoders that the presets name, tiny and in the released layout, by their ids from a hub on this machine."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from anymal_eval.anymal import encoders, tiny
from anymal_eval.anymal.config import preset, preset_names
from anymal_eval.anymal.encoders import EncoderOptions
from anymal_eval.anymal.encoders.clap import Options as ClapOptions
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.codec import decode
from tests.anymal import test_viclip
from tests.checkpoints.fake_hub import FakeHub, serving
from tests.checkpoints.test_conversion import pickled

VIT: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
CLAP = {
    "model_type": "clap_audio_model", "patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2],
    "spec_size": 64, "window_size": 8, "num_mel_bins": 16, "hidden_size": 32,
}  # fmt: skip
ARCHITECTURES = {
    "clip": {"model_type": "clip_vision_model", **VIT}, "dinov2": {"model_type": "dinov2", **VIT},
    "frames": {"model_type": "clip_vision_model", **VIT}, "clap": CLAP, "viclip": None,
}  # fmt: skip
# Repositories that hold pickles alone, as huggingface.co lists them.
PICKLES = {"laion/clap-htsat-unfused", "openai/clip-vit-large-patch14-336"}


def named() -> list[tuple[str, str]]:
    """Every encoder of a preset whose path is a repository."""
    presets = {name: preset(name) for name in preset_names()}
    return [
        (name, medium)
        for name, config in presets.items()
        for medium, part in config.modalities.items()
        if "/" in part.encoder.path and part.encoder.kind != "imu2clip"
    ]


def small(options: EncoderOptions, path: str) -> EncoderOptions:
    """The preset's encoder with fewer and narrower layers, at another path."""
    changed: dict[str, Any] = {"path": path, "architecture": ARCHITECTURES[options.kind]}
    if options.kind == "viclip":
        changed["frames"] = test_viclip.FRAMES
    if options.kind == "clap":
        changed["seconds"] = 1
    return decode(type(options), {**vars(options), **changed}, options.kind)


def write(folder: Path, options: EncoderOptions) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    if options.kind == "viclip":
        test_viclip.write(folder)
        (folder / "config.json").write_text('{"model_type": "viclip"}')
        return
    kind = "clip" if options.kind == "frames" else options.kind
    plain: dict[str, Any] = {"kind": kind, "path": str(folder), "architecture": options.architecture}
    if isinstance(options, ClapOptions):
        plain["seconds"] = options.seconds
    tiny.write_encoder(folder, decode(encoders.options_of(kind), plain, kind))


def features(options: EncoderOptions) -> torch.Tensor:
    encoder = encoders.build(options, BackboneLoading())
    windows = torch.randn(2, *encoder.window_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return encoder(windows)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("name", "medium"), named(), ids=lambda each: each)
def test_every_encoder_of_a_preset_loads_by_its_id(
    name: str, medium: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "own"))
    own = preset(name).modalities[medium].encoder
    repository = tmp_path / "hub" / own.path
    repository.parent.mkdir(parents=True)
    write(repository, small(own, str(repository)))
    wanted = features(small(own, str(repository)))
    if own.path in PICKLES:
        pickled(repository)
    # beside them, what other libraries read
    save_file({"a": torch.zeros(1)}, repository / "open_clip_model.safetensors")
    (repository / "tf_model.h5").write_bytes(b"not read")
    with serving(tmp_path / "hub", tmp_path / "cache", monkeypatch) as hub:
        assert torch.equal(features(small(own, own.path)), wanted)
        used = only_used(hub, own.path)
        # and once more without a request for a file
        features(small(own, own.path))
        assert only_used(hub, own.path) == used


def only_used(hub: FakeHub, repository: str) -> list[str]:
    read = [file.removeprefix(f"{repository}/") for file in hub.read]
    assert not [file for file in read if "open_clip" in file or file.endswith(".h5")]
    return read
