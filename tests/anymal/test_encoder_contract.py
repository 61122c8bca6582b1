"""What every encoder must do: the reference's features, alone and in a batch, over a tiny random checkpoint.

A new encoder needs ``tests/golden/encoders/NAME.json`` and no change here. Its keys: ``reference`` and ``architecture``
are a class and a configuration of transformers, ``processor`` its class and settings, ``options`` the encoder's own,
``leading`` how many of the reference's first tokens are left out, ``medium`` the shape of a decoded medium and
``features`` that of its features.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as typed

from anymal_eval.anymal import encoders
from anymal_eval.anymal.encoders import Encoder
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.codec import decode
from anymal_eval.errors import MediaError

transformers: Any = typed  # its classes are typed by halves
GOLDEN = Path(__file__).parents[1] / "golden" / "encoders"
# These have tests of their own: test_encoders.py, test_resnet_encoders.py, test_viclip.py, test_internvideo.py,
# test_imagebind.py.
OTHERS = {"clap", "frames", "imagebind", "imu2clip", "internvideo", "resnet", "resnet_frames", "viclip", "videomae"}
CASES = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(GOLDEN.glob("*.json"))}


def checkpoint(case: dict[str, Any], folder: Path, seed: int = 0) -> Path:
    """A random checkpoint of the reference."""
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(**case["architecture"])
    getattr(transformers, case["reference"])(config).save_pretrained(folder)
    settings = dict(case["processor"])
    getattr(transformers, settings.pop("class"))(**settings).save_pretrained(folder)
    return folder


def build(name: str, folder: Path, loading: BackboneLoading | None = None) -> Encoder:
    case = CASES[name]
    table = {"kind": name, "path": str(folder), "architecture": case["architecture"], **case["options"]}
    return encoders.build(decode(encoders.options_of(name), table, name), loading or BackboneLoading())


def drawn(case: dict[str, Any], seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, case["medium"], dtype=np.uint8)


def test_every_encoder_is_tested() -> None:
    missing = sorted(set(encoders.names()) - CASES.keys() - OTHERS)
    assert not missing, f"write {GOLDEN}/{missing[0]}.json: the docstring of this file lists its keys"
    assert all(case["source"] for case in CASES.values())


@pytest.mark.parametrize("name", CASES)
def test_features_are_the_reference_s(name: str, tmp_path: Path) -> None:
    case, folder = CASES[name], checkpoint(CASES[name], tmp_path / name)
    encoder = build(name, folder)
    windows = encoder.preprocess(drawn(case, 0))
    assert tuple(windows.shape[1:]) == encoder.window_shape
    with torch.no_grad():
        features = encoder(windows)
        wanted = getattr(transformers, case["reference"]).from_pretrained(folder)(windows).last_hidden_state
    wanted = wanted.flatten(2).transpose(1, 2) if wanted.ndim == 4 else wanted[:, case.get("leading", 0) :]
    assert list(features.shape) == case["features"]
    assert features.shape[-1] == encoder.width
    torch.testing.assert_close(features, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_a_batch_gives_the_features_of_each(name: str, tmp_path: Path) -> None:
    encoder = build(name, checkpoint(CASES[name], tmp_path / name))
    media = [encoder.preprocess(drawn(CASES[name], seed)) for seed in range(3)]
    with torch.no_grad():
        torch.testing.assert_close(encoder(torch.cat(media)), torch.cat([encoder(each) for each in media]))


@pytest.mark.parametrize("name", CASES)
def test_it_is_frozen_and_its_fingerprint_names_its_weights(name: str, tmp_path: Path) -> None:
    one, other = (build(name, checkpoint(CASES[name], tmp_path / str(seed), seed)) for seed in range(2))
    assert not one.training
    assert not any(parameter.requires_grad for parameter in one.parameters())
    assert one.fingerprint == build(name, tmp_path / "0").fingerprint != other.fingerprint
    assert one.preprocessing == other.preprocessing != ""
    assert one.layer == other.layer != ""


@pytest.mark.parametrize("name", CASES)
def test_another_array_is_refused_and_shapes_need_no_weights(name: str, tmp_path: Path) -> None:
    encoder = build(name, checkpoint(CASES[name], tmp_path / name))
    for wrong in (drawn(CASES[name], 0).astype(np.float32), drawn(CASES[name], 0)[..., 0]):
        with pytest.raises(MediaError, match=f"{encoder.medium}: expected "):
            encoder.preprocess(wrong)
    shapes = build(name, tmp_path / name, BackboneLoading(weights=False))
    assert all(parameter.is_meta for parameter in shapes.parameters())
    assert (shapes.width, shapes.window_shape) == (encoder.width, encoder.window_shape)
