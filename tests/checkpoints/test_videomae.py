"""VideoMAE's files as InternVideo1 releases them, against a second computation over the released names."""

import argparse
import logging
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from anymal_eval.anymal import encoders
from anymal_eval.anymal.config import preset
from anymal_eval.anymal.encoders import Encoder
from anymal_eval.anymal.encoders.videomae import Options
from anymal_eval.anymal.inspection import inspect
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.checkpoints.released import released_file
from anymal_eval.codec import decode
from anymal_eval.errors import BadCheckpoint
from tests.checkpoints.fake_hub import serving

WIDTH, LAYERS, FRAMES, SIDE, PATCH, TUBELET = 128, 2, 4, 16, 8, 2
TOKENS = FRAMES // TUBELET * (SIDE // PATCH) ** 2


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "cache"))


def released(*, pretrained: bool) -> dict[str, Tensor]:
    """A state dict under the released names, written down here by hand, with fewer and narrower layers."""
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (WIDTH, 3, TUBELET, PATCH, PATCH), "patch_embed.proj.bias": (WIDTH,),
    }  # fmt: skip
    for layer in range(LAYERS):
        here = f"blocks.{layer}"
        shapes |= {
            f"{here}.norm1.weight": (WIDTH,), f"{here}.norm1.bias": (WIDTH,), f"{here}.norm2.weight": (WIDTH,),
            f"{here}.norm2.bias": (WIDTH,), f"{here}.attn.q_bias": (WIDTH,), f"{here}.attn.v_bias": (WIDTH,),
            f"{here}.attn.qkv.weight": (3 * WIDTH, WIDTH), f"{here}.attn.proj.weight": (WIDTH, WIDTH),
            f"{here}.attn.proj.bias": (WIDTH,), f"{here}.mlp.fc1.weight": (4 * WIDTH, WIDTH),
            f"{here}.mlp.fc1.bias": (4 * WIDTH,), f"{here}.mlp.fc2.weight": (WIDTH, 4 * WIDTH),
            f"{here}.mlp.fc2.bias": (WIDTH,),
        }  # fmt: skip
    if pretrained:
        shapes |= {"norm.weight": (WIDTH,), "norm.bias": (WIDTH,)}
        shapes = {f"encoder.{name}": shape for name, shape in shapes.items()}
        shapes |= {
            "mask_token": (1, 1, 64), "encoder_to_decoder.weight": (64, WIDTH), "decoder.norm.weight": (64,),
            "decoder.blocks.0.attn.qkv.weight": (192, 64), "decoder.head.weight": (3 * TUBELET * PATCH**2, 64),
        }  # fmt: skip
    else:
        shapes |= {"fc_norm.weight": (WIDTH,), "fc_norm.bias": (WIDTH,), "head.weight": (5, WIDTH), "head.bias": (5,)}
    torch.manual_seed(0)
    return {name: torch.randn(shape) * 0.2 for name, shape in shapes.items()}


def write(file: Path, tensors: dict[str, Tensor], wrapper: str = "model") -> Path:
    """As a trainer saves it, with its options."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {wrapper: tensors, "epoch": 799, "args": argparse.Namespace(lr=1e-4)}
    torch.save(content if wrapper else tensors, file)
    return file


def table(path: Path, **options: Any) -> dict[str, Any]:
    sizes = {"model_type": "videomae", "image_size": SIDE}
    return {"kind": "videomae", "path": str(path), "frames": FRAMES, "architecture": sizes, **options}


def built(path: Path, **options: Any) -> Encoder:
    return encoders.build(decode(Options, table(path, **options), "videomae"), BackboneLoading())


def second(state: dict[str, Tensor], clip: Tensor, *, pretrained: bool) -> Tensor:
    """(k, 3, h, h) -> (n, e): piece by piece, with sines and attention written out."""
    own = {name.removeprefix("encoder."): value for name, value in state.items()}
    kernel, tokens = own["patch_embed.proj.weight"], []
    for time in range(0, FRAMES, TUBELET):
        for row in range(0, SIDE, PATCH):
            for column in range(0, SIDE, PATCH):
                piece = clip[time : time + TUBELET, :, row : row + PATCH, column : column + PATCH]
                tokens.append(torch.einsum("ectyx,tcyx->e", kernel, piece) + own["patch_embed.proj.bias"])
    hidden = torch.stack(tokens)
    for place in range(len(hidden)):
        for channel in range(WIDTH):
            angle = place / 10_000 ** (2 * (channel // 2) / WIDTH)
            hidden[place, channel] += math.sin(angle) if channel % 2 == 0 else math.cos(angle)
    for layer in range(LAYERS):
        part = {name.removeprefix(f"blocks.{layer}."): value for name, value in own.items()}
        seen = norm(hidden, part["norm1.weight"], part["norm1.bias"])
        biases = (part["attn.q_bias"], torch.zeros(WIDTH), part["attn.v_bias"])
        query, key, value = (
            seen @ weight.T + bias for weight, bias in zip(part["attn.qkv.weight"].chunk(3), biases, strict=True)
        )
        mixed = []
        for head in range(WIDTH // 64):
            now = slice(64 * head, 64 * (head + 1))
            mixed.append(torch.softmax(query[:, now] @ key[:, now].T / 8, dim=1) @ value[:, now])
        hidden = hidden + torch.cat(mixed, dim=1) @ part["attn.proj.weight"].T + part["attn.proj.bias"]
        wide = norm(hidden, part["norm2.weight"], part["norm2.bias"]) @ part["mlp.fc1.weight"].T + part["mlp.fc1.bias"]
        wide = wide * 0.5 * (1 + torch.erf(wide / 2**0.5))
        hidden = hidden + wide @ part["mlp.fc2.weight"].T + part["mlp.fc2.bias"]
    return norm(hidden, own["norm.weight"], own["norm.bias"]) if pretrained else hidden


def norm(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centred = hidden - hidden.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt() * weight + bias


@pytest.mark.parametrize(
    ("pretrained", "name", "wrapper"),
    [
        (True, "mae-b/pytorch_model.bin", "model"),
        (True, "vit_b_hybrid_pt_800e.pth", ""),
        (False, "vit_b_hybrid_pt_800e_k400_ft.pth", "module"),
    ],
)
def test_released_files_equal_a_second_computation(
    *, pretrained: bool, name: str, wrapper: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = released(pretrained=pretrained)
    file = write(tmp_path / name, state, wrapper)
    encoder = built(file)
    assert [record.getMessage().count("converted to safetensors once") for record in caplog.records] == [1]
    clip = np.random.default_rng(0).integers(0, 256, (FRAMES, 20, 24, 3), dtype=np.uint8)
    windows = encoder.preprocess(clip)
    assert windows.shape == (1, FRAMES, 3, SIDE, SIDE)
    with torch.no_grad():
        features = encoder(windows)
    torch.testing.assert_close(features[0], second(state, windows[0], pretrained=pretrained), rtol=0, atol=1e-5)
    assert features.shape == (1, TOKENS, encoder.width)
    # a folder with that file is the same, and is converted once
    caplog.clear()
    again = built(file.parent)
    assert again.fingerprint == encoder.fingerprint
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_one_file_of_a_repository_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenGVLab/InternVideoMAE_models has a folder for each size."""
    name = "OpenGVLab/InternVideoMAE_models/mae-b/pytorch_model.bin"
    file = write(tmp_path / "hub" / name, released(pretrained=True))
    write(file.parents[1] / "mae-l" / "pytorch_model.bin", released(pretrained=True))
    config = replace(preset("tiny"), modalities={})

    def report() -> Any:
        part = replace(preset("tiny").modalities["video"], encoder=decode(Options, table(Path(name)), "videomae"))
        return next(
            each
            for each in inspect(replace(config, modalities={"video": part}), offline=True)
            if each.kind == "videomae"
        )

    wanted = built(file)
    with serving(tmp_path / "hub", tmp_path / "hub-cache", monkeypatch) as hub:
        assert report().remedy == "hf download OpenGVLab/InternVideoMAE_models mae-b/pytorch_model.bin"
        assert built(Path(name)).weights == wanted.weights
        assert set(hub.read) == {name}
        assert (report().problem, report().files) == ("", 1)
        with pytest.raises(BadCheckpoint, match=r"mae-x/pytorch_model\.bin: there is no such file here; ") as caught:
            built(Path(name.replace("mae-b", "mae-x")))
    assert "\n" not in str(caught.value)


def test_pixels_are_normalised_as_the_authors_do(tmp_path: Path) -> None:
    encoder = built(write(tmp_path / "a.pth", released(pretrained=True)))
    pixels = encoder.preprocess(np.full((FRAMES, SIDE, SIDE, 3), 255, np.uint8))
    wanted = [(1 - mean) / std for mean, std in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)]
    np.testing.assert_allclose(pixels[0, 0, :, 3, 3], wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"frames": 3}, "do not divide 3 frames of 16"),
        ({"architecture": {"image_size": 20}}, "do not divide 4 frames of 20"),
        ({"architecture": {"image_size": SIDE, "hidden_size": 768}}, r"hidden_size = 128, the encoder's .* = 768"),
        ({"architecture": {"image_size": SIDE, "num_hidden_layers": 12}}, "num_hidden_layers = 2, .* = 12"),
        ({"architecture": {"image_size": SIDE, "num_frames": 16}}, "num_frames = 4, .* = 16"),
        ({"architecture": {"image_size": SIDE, "num_attention_heads": 5}}, "which 5 heads do not divide"),
    ],
)
def test_other_frames_and_sizes_are_refused(change: dict[str, Any], match: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.pth", released(pretrained=True))
    with pytest.raises(BadCheckpoint, match=match) as caught:
        built(file, **change)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("model.safetensors"))


@pytest.mark.parametrize(
    ("name", "shape", "match"),
    [
        ("encoder.blocks.1.attn.v_bias", None, r"blocks\.1\.attn\.v_bias is missing"),
        ("encoder.blocks.0.attn.qkv.weight", (WIDTH, WIDTH), r"attn\.qkv\.weight is missing or has another shape"),
        ("encoder.blocks.0.gamma_1", (WIDTH,), r"holds blocks\.0\.gamma_1, which no released VideoMAE has"),
        ("encoder.pos_embed", (1, 2 * TOKENS, WIDTH), r"frames of 16 pixels have 8"),
        ("encoder.pos_embed", (1, TOKENS, WIDTH), "learned positions"),
        ("clip.visual.conv1.weight", (WIDTH, 3, 1, 14, 14), "its encoder is internvideo"),
    ],
)
def test_other_files_are_refused(name: str, shape: tuple[int, ...] | None, match: str, tmp_path: Path) -> None:
    state = released(pretrained=True)
    if name.startswith("clip."):
        state = {}
    if shape is None:
        del state[name]
    else:
        state[name] = torch.ones(shape)
    with pytest.raises(BadCheckpoint, match=match):
        built(write(tmp_path / "a.pth", state))
    write(tmp_path / "b.pth", state)
    with pytest.raises(BadCheckpoint, match=r"2 files of weights"):
        built(tmp_path)


class _Runs:
    def __init__(self, file: Path) -> None:
        self.file = str(file)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.file,)


def test_a_hostile_file_is_one_line_and_runs_nothing(tmp_path: Path) -> None:
    hostile: dict[str, Any] = {"model": released(pretrained=True), "args": _Runs(tmp_path / "ran")}
    torch.save(hostile, tmp_path / "a.pth")
    with pytest.raises(BadCheckpoint, match=r"a\.pth cannot be read as tensors alone") as caught:
        built(tmp_path / "a.pth")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_an_interrupted_conversion_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "a.pth", released(pretrained=True))

    def interrupted(*args: Any, **kwargs: Any) -> None:
        save_file(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("anymal_eval.checkpoints.weights.save_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            built(file)
    assert not list((tmp_path / "cache" / "converted").iterdir())
    built(file)
    (made,) = (tmp_path / "cache" / "converted").iterdir()
    assert sorted(each.name for each in made.iterdir()) == [
        "config.json", "converted.json", "model.safetensors", "preprocessor_config.json",
    ]  # fmt: skip
    assert len(load_file(made / "model.safetensors")) == 4 + 15 * LAYERS


def test_a_file_is_inspected_without_a_conversion(tmp_path: Path) -> None:
    file = write(tmp_path / "a.pth", released(pretrained=True))

    def report(**options: Any) -> Any:
        own = preset("tiny")
        part = replace(own.modalities["video"], encoder=decode(Options, table(file, **options), "videomae"))
        config = replace(own, modalities={"video": part})
        return next(each for each in inspect(config, offline=True) if each.part == "video")

    assert (report().problem, report().weights, report().files) == ("", "pickles", 1)
    assert "num_hidden_layers = 2" in report(architecture={"image_size": SIDE, "num_hidden_layers": 12}).problem
    assert not (tmp_path / "cache" / "converted").exists()
    assert released_file(str(tmp_path)) == file
