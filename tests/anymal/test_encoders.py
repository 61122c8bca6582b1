"""Every encoder gives transformers' numbers, and every clip is heard to its end."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as typed
from numpy.typing import NDArray

from anymal_eval.anymal import encoders, tiny
from anymal_eval.anymal.encoders import Encoder, imu2clip
from anymal_eval.anymal.encoders.frames import Frames
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.codec import decode
from anymal_eval.errors import BadCheckpoint, BadDefinition, MediaError

transformers: Any = typed  # its classes are typed by halves
Draw = Callable[..., NDArray[Any]]
VIT: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
ARCHITECTURES = {
    "clip": {"model_type": "clip_vision_model", **VIT},
    "dinov2": {"model_type": "dinov2", **VIT},
    "siglip": {"model_type": "siglip_vision_model", **VIT},
}


def made(kind: str, folder: Path, **options: Any) -> Encoder:
    """An encoder over random weights saved to disk."""
    own = decode(
        encoders.options_of(kind),
        {"kind": kind, "path": str(folder), "architecture": ARCHITECTURES[kind], **options},
        kind,
    )
    if not folder.exists():
        tiny.write_encoder(folder, own)
    return encoders.build(own, BackboneLoading())


@pytest.mark.parametrize(
    ("kind", "name", "leading"),
    [("clip", "CLIPVisionModel", 1), ("dinov2", "Dinov2Model", 1), ("siglip", "SiglipVisionModel", 0)],
)
def test_image_features_are_transformers_hidden_states(
    kind: str, name: str, leading: int, tmp_path: Path, draw: Draw
) -> None:
    size = {"image_size": 32} if kind == "dinov2" else {}
    last = made(kind, tmp_path / kind, layer=-1, **size)
    inner = made(kind, tmp_path / kind, layer=-2, **size)
    theirs = getattr(transformers, name).from_pretrained(tmp_path / kind)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / kind, backend="pil")
    picture = draw("image")
    pixels = last.preprocess(picture)
    from PIL import Image

    wanted = processor(Image.fromarray(picture), return_tensors="pt")["pixel_values"]
    assert torch.equal(pixels, wanted)
    with torch.no_grad():
        out = theirs(pixel_values=pixels, output_hidden_states=True)
        torch.testing.assert_close(last(pixels), out.last_hidden_state[:, leading:], rtol=0, atol=1e-6)
        torch.testing.assert_close(inner(pixels), out.hidden_states[-2][:, leading:], rtol=0, atol=1e-6)
    assert last(pixels).shape == (1, 16, 32)
    assert last.fingerprint != inner.fingerprint, "the layer is part of a feature's key"
    assert not any(parameter.requires_grad for parameter in last.parameters())


def test_a_layer_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(BadDefinition, match="layer -9 of 3"):
        made("clip", tmp_path / "clip", layer=-9)


def test_frames_are_the_image_encoder_side_by_side(tmp_path: Path, draw: Draw) -> None:
    image = made("clip", tmp_path / "clip")
    options = decode(
        encoders.options_of("frames"), {"kind": "frames", "path": str(tmp_path / "clip"), "frames": 3}, "frames"
    )
    video = encoders.build(options, BackboneLoading())
    assert isinstance(video, Frames)
    frames = draw("video", frames=3)
    windows = video.preprocess(frames)
    assert torch.equal(windows, torch.cat([image.preprocess(frame) for frame in frames]))
    torch.testing.assert_close(video(windows), image(windows))


def test_sound_longer_than_a_window_is_heard_to_its_end(network: AnyMAL, draw: Draw) -> None:
    encoder = network.encoder("audio")
    sound = draw("audio", seconds=2.4)
    windows = encoder.preprocess(sound, 48_000)
    assert windows.shape == (3, 1, 101, 16)
    for index, start in enumerate([0, 48_000, len(sound) - 48_000]):
        assert torch.equal(windows[index], encoder.preprocess(sound[start : start + 48_000], 48_000)[0])
    features = network.encode("audio", [windows])[0]
    for start in (0, 60_000, len(sound) - 2_400):  # a change anywhere in the clip is heard
        changed = sound.copy()
        changed[start : start + 2_400] = 0
        other = network.encode("audio", [encoder.preprocess(changed, 48_000)])[0]
        assert not torch.allclose(other, features)
    assert torch.equal(windows, encoder.preprocess(sound, 48_000)), "nothing is random"


def test_sound_at_another_rate_is_resampled(network: AnyMAL) -> None:
    time = np.arange(48_000) / 48_000
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    slow = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32)
    encoder = network.encoder("audio")
    here, there = encoder.preprocess(tone, 48_000), encoder.preprocess(slow, 16_000)
    peak = here[0, 0].mean(dim=0).argmax()
    assert abs(float(here[0, 0, 20:80, peak].mean() - there[0, 0, 20:80, peak].mean())) < 0.5
    with pytest.raises(MediaError, match="rate is not known"):
        encoder.preprocess(tone)


def test_clap_features_are_transformers(network: AnyMAL, tiny_folder: Path, draw: Draw) -> None:
    encoder = network.encoder("audio")
    theirs = transformers.ClapAudioModel.from_pretrained(tiny_folder / "backbones" / "clap")
    windows = encoder.preprocess(draw("audio"), 48_000)
    with torch.no_grad():
        out = theirs(input_features=windows).last_hidden_state
        torch.testing.assert_close(encoder(windows), out.mean(dim=2).transpose(1, 2))


def test_full_size_clap_has_32_time_steps() -> None:
    options = decode(
        encoders.options_of("clap"),
        {"kind": "clap", "path": "not/here", "architecture": {"model_type": "clap_audio_model"}},
        "clap",
    )
    encoder = encoders.build(options, BackboneLoading(weights=False))
    assert encoder.window_shape == (1, 1001, 64)
    assert encoder(torch.empty(2, 1, 1001, 64, device="meta")).shape == (2, 32, 768)


def released(width: int = 16) -> dict[str, torch.Tensor]:
    """A state dict under the released names and shapes, written down here by hand."""
    shapes = {
        "net.0.weight": (6,), "net.0.bias": (6,), "net.1.net.0.weight": (32, 6, 10), "net.2.net.0.weight": (32, 32, 5),
        "net.3.net.0.weight": (32, 32, 5), "net.4.weight": (32,), "net.4.bias": (32,),
        "net.5.weight_ih_l0": (3 * width, 32), "net.5.weight_hh_l0": (3 * width, width),
        "net.5.bias_ih_l0": (3 * width,), "net.5.bias_hh_l0": (3 * width,),
    }  # fmt: skip
    return {name: torch.randn(shape) * 0.3 for name, shape in shapes.items()}


def imu(path: Path, **options: Any) -> Encoder:
    return encoders.build(imu2clip.Options(kind="imu2clip", path=str(path), **options), BackboneLoading())


def second(state: dict[str, torch.Tensor], windows: torch.Tensor) -> torch.Tensor:
    """(w, 6, 1000) -> (w, 32, e): the layers one by one, and the recurrent one step by step."""
    functional = torch.nn.functional
    hidden = functional.group_norm(windows, 2, state["net.0.weight"], state["net.0.bias"])
    for block in (1, 2, 3):
        hidden = functional.max_pool1d(functional.conv1d(hidden, state[f"net.{block}.net.0.weight"], dilation=2), 3)
    hidden = functional.group_norm(hidden, 4, state["net.4.weight"], state["net.4.bias"])
    assert hidden.shape[1:] == (32, 32)
    cell = torch.nn.GRUCell(32, 16)
    cell.load_state_dict({k.split(".")[2].removesuffix("_l0"): v for k, v in state.items() if k.startswith("net.5")})
    last = torch.zeros(len(windows), 16)
    states = []
    for step in range(32):
        last = cell(hidden[:, step], last)
        states.append(last)
    return torch.stack(states, dim=1)


def test_imu2clip_loads_the_released_names_and_computes_them(tmp_path: Path, draw: Draw) -> None:
    torch.manual_seed(0)
    state = released()
    other = {"text_encoder.weight": torch.zeros(2)}
    torch.save({"state_dict": {f"imu_encoder.{k}": v for k, v in state.items()} | other}, tmp_path / "i.ckpt")
    encoder = imu(tmp_path / "i.ckpt")
    assert encoder.width == 16
    windows = encoder.preprocess(draw("imu"))
    wanted = second(state, windows)
    torch.testing.assert_close(encoder(windows), wanted)
    pooled = imu(tmp_path / "i.ckpt", output="last")
    torch.testing.assert_close(pooled(windows), wanted[:, -1:])


def test_motion_windows(tmp_path: Path, draw: Draw) -> None:
    torch.save(released(), tmp_path / "i.pt")
    encoder = imu(tmp_path / "i.pt")
    long = draw("imu", seconds=7.0)
    assert torch.equal(encoder.preprocess(long)[1], torch.from_numpy(long[:, -1000:]))
    short = encoder.preprocess(draw("imu", seconds=1.0))
    assert short.shape == (1, 6, 1000)
    assert not short[0, :, 200:].any()


class _Runs:
    def __init__(self, file: Path) -> None:
        self.file = str(file)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.file,)


@pytest.mark.parametrize("name", ["i.pt", "i.ckpt"])
def test_a_hostile_imu2clip_is_one_line_and_runs_nothing(name: str, tmp_path: Path) -> None:
    torch.save({"state_dict": released(), "callbacks": _Runs(tmp_path / "ran")}, tmp_path / name)
    with pytest.raises(BadCheckpoint, match="cannot be read as tensors alone") as caught:
        imu(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    # what a trainer writes beside the tensors, without any code, is no obstacle
    torch.save({"state_dict": released(), "args": argparse.Namespace(lr=1e-3), "epoch": 3}, tmp_path / name)
    assert imu(tmp_path / name).width == 16


def test_imu2clip_refuses_what_is_not_its_state_dict(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(BadCheckpoint, match="holds 0 tensors named"):
        imu(tmp_path / "other.pt")
    torch.save({"code": Path("x")}, tmp_path / "pickled.pt")
    with pytest.raises(BadCheckpoint, match="tensors alone"):
        imu(tmp_path / "pickled.pt")
    state = released()
    del state["net.4.bias"]
    torch.save(state, tmp_path / "cut.pt")
    with pytest.raises(BadCheckpoint, match=r"net\.4\.bias"):
        imu(tmp_path / "cut.pt")
    with pytest.raises(BadCheckpoint, match="no such file"):
        imu(tmp_path / "none.pt")


def test_weights_that_are_missing_or_pickled_are_refused(tmp_path: Path) -> None:
    made("clip", tmp_path / "clip")
    (tmp_path / "clip" / "model.safetensors").rename(tmp_path / "clip" / "weights.onnx")
    with pytest.raises(BadCheckpoint, match=r"safetensors"):
        made("clip", tmp_path / "clip")
    options = decode(encoders.options_of("clip"), {"kind": "clip", "path": "no/where"}, "clip")
    with pytest.raises(BadCheckpoint, match="no such folder"):
        encoders.build(options, BackboneLoading())


def test_another_architecture_is_refused_not_filled_with_noise(
    tmp_path: Path, network: AnyMAL, tiny_folder: Path
) -> None:
    options = decode(
        encoders.options_of("dinov2"), {"kind": "dinov2", "path": str(tiny_folder / "backbones" / "videomae")}, "x"
    )
    with pytest.raises(BadCheckpoint):
        encoders.build(options, BackboneLoading())


def test_an_unknown_encoder_names_those_there_are() -> None:
    with pytest.raises(BadDefinition, match=r"no encoder named 'vgg'; there are .*clip, .*siglip, .*videomae"):
        encoders.options_of("vgg")
