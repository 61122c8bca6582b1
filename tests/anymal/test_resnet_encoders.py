"""The convolutional encoders give transformers' numbers, and their tokens say where and when they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as typed

from anymal_eval.anymal import encoders, tiny
from anymal_eval.anymal.encoders import Encoder
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.codec import decode
from anymal_eval.errors import BadCheckpoint

transformers: Any = typed
ARCHITECTURE = {
    "model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic",
}  # fmt: skip
PLACES = 2 * 3  # sines and cosines of three waves, an axis


def made(kind: str, folder: Path, **options: Any) -> Encoder:
    table = {"kind": kind, "path": str(folder), "side": 32, "architecture": ARCHITECTURE, **options}
    own = decode(encoders.options_of(kind), table, kind)
    if not folder.exists():
        tiny.write_encoder(folder, own)
    return encoders.build(own, BackboneLoading())


def picture(seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_picture_tokens_are_transformers_cells_and_their_places(tmp_path: Path) -> None:
    encoder = made("resnet", tmp_path / "resnet")
    theirs = transformers.ResNetModel.from_pretrained(tmp_path / "resnet").eval()
    pixels = encoder.preprocess(picture(0))
    # 32 pixels are 32 pixels: nothing is resized, only scaled
    assert torch.allclose(pixels[0], torch.from_numpy(picture(0)).permute(2, 0, 1) / 127.5 - 1, atol=1e-6)
    with torch.no_grad():
        cells = theirs(pixel_values=pixels).last_hidden_state.flatten(2).transpose(1, 2)
        tokens = encoder(pixels)
    assert tokens.shape == (1, 16, encoder.width) == (1, 16, 16 + 2 * PLACES)
    torch.testing.assert_close(tokens[..., :16], cells, rtol=0, atol=1e-6)
    places = tokens[0, :, 16:]
    assert len({tuple(place.tolist()) for place in places.round(decimals=4)}) == 16, "no two cells share a place"


def test_without_places_the_cells_are_bare(tmp_path: Path) -> None:
    assert made("resnet", tmp_path / "resnet", places=False).width == 16


def test_a_moving_thing_backwards_is_another_clip(tmp_path: Path) -> None:
    encoder = made("resnet_frames", tmp_path / "frames", frames=4, grid=2)
    clip = np.stack([picture(seed) for seed in range(4)])
    with torch.no_grad():
        there, back = encoder(encoder.preprocess(clip)), encoder(encoder.preprocess(clip[::-1].copy()))
    assert there.shape == (1, 4 * 2 * 2, 16 + 3 * PLACES)
    as_set = [{tuple(token.tolist()) for token in tokens[0].round(decimals=3)} for tokens in (there, back)]
    assert as_set[0] != as_set[1], "a resampler sees a set of tokens: order must be in them"
    bare = made("resnet_frames", tmp_path / "frames", frames=4, grid=2, places=False)
    with torch.no_grad():
        there, back = bare(bare.preprocess(clip)), bare(bare.preprocess(clip[::-1].copy()))
    torch.testing.assert_close(there.sort(dim=1).values, back.sort(dim=1).values)


def test_frames_are_taken_evenly(tmp_path: Path) -> None:
    encoder = made("resnet_frames", tmp_path / "frames", frames=2)
    clip = np.stack([picture(seed) for seed in range(4)])
    torch.testing.assert_close(encoder.preprocess(clip), encoder.preprocess(clip[[1, 3]]))


def test_another_input_size_is_refused(tmp_path: Path) -> None:
    made("resnet", tmp_path / "resnet")
    with pytest.raises(BadCheckpoint, match=r"the encoder takes \(3, 64, 64\)"):
        made("resnet", tmp_path / "resnet", side=64).preprocess(picture(0))
