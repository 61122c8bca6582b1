"""ViCLIP's video tower against a second computation, over tensors named as in OpenGVLab/ViCLIP-L-14-hf.

The layout is seen in OpenGVLab/InternVideo, Data/InternVid/viclip: ``ViCLIP`` has ``vision_encoder``, ``text_encoder``
and ``temp``; ``VisionTransformer`` the names below.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from anymal_eval.anymal import encoders
from anymal_eval.anymal.encoders import viclip
from anymal_eval.anymal.encoders.viclip import Options, ViCLIP
from anymal_eval.anymal.projectors import perceiver
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.errors import BadCheckpoint, BadData, MediaError

Draw = Callable[..., NDArray[Any]]
WIDTH, LAYERS, FRAMES, SIDE, PATCH = 128, 2, 4, 28, 14


def released() -> dict[str, Tensor]:
    """A state dict under the released names, written down here by hand, with fewer and narrower layers."""
    places = (SIDE // PATCH) ** 2 + 1
    shapes: dict[str, tuple[int, ...]] = {
        "class_embedding": (WIDTH,), "positional_embedding": (places, WIDTH),
        "temporal_positional_embedding": (1, FRAMES, WIDTH), "proj": (WIDTH, 96),
        "conv1.weight": (WIDTH, 3, 1, PATCH, PATCH),
    }  # fmt: skip
    for norm in ("ln_pre", "ln_post"):
        shapes |= {f"{norm}.weight": (WIDTH,), f"{norm}.bias": (WIDTH,)}
    for layer in range(LAYERS):
        here = f"transformer.resblocks.{layer}"
        shapes |= {
            f"{here}.attn.in_proj_weight": (3 * WIDTH, WIDTH), f"{here}.attn.in_proj_bias": (3 * WIDTH,),
            f"{here}.attn.out_proj.weight": (WIDTH, WIDTH), f"{here}.attn.out_proj.bias": (WIDTH,),
            f"{here}.ln_1.weight": (WIDTH,), f"{here}.ln_1.bias": (WIDTH,),
            f"{here}.ln_2.weight": (WIDTH,), f"{here}.ln_2.bias": (WIDTH,),
            f"{here}.mlp.c_fc.weight": (4 * WIDTH, WIDTH), f"{here}.mlp.c_fc.bias": (4 * WIDTH,),
            f"{here}.mlp.c_proj.weight": (WIDTH, 4 * WIDTH), f"{here}.mlp.c_proj.bias": (WIDTH,),
        }  # fmt: skip
    torch.manual_seed(0)
    # Time about as large as the content of the patches, so that it counts.
    large = {"temporal_positional_embedding": 4.0}
    return {name: torch.randn(shape) * large.get(name, 0.2) for name, shape in shapes.items()}


def write(folder: Path, tensors: dict[str, Tensor] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    content = {f"vision_encoder.{name}": tensor for name, tensor in (tensors or released()).items()}
    others = {"text_encoder.ln_final.weight": torch.ones(3), "temp": torch.ones(())}
    save_file({**content, **others}, folder / "model.safetensors")
    return folder


def built(folder: Path, **options: Any) -> ViCLIP:
    found = encoders.build(Options(kind="viclip", path=str(folder), frames=FRAMES, **options), BackboneLoading())
    assert isinstance(found, ViCLIP)
    return found


def second(state: dict[str, Tensor], clip: Tensor, layers: int = LAYERS) -> Tensor:
    """(k, 3, h, h) -> (1 + g g k, e), before the last norm: token by token, with attention written out."""
    kernel = state["conv1.weight"][:, :, 0]
    tokens = [state["class_embedding"] + state["positional_embedding"][0]]
    grid = SIDE // PATCH
    for row in range(grid):
        for column in range(grid):
            for frame in range(len(clip)):
                square = clip[frame, :, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
                content = torch.einsum("echw,chw->e", kernel, square)
                place = state["positional_embedding"][1 + row * grid + column]
                tokens.append(content + place + state["temporal_positional_embedding"][0, frame])
    hidden = norm(torch.stack(tokens), state, "ln_pre")
    for layer in range(layers):
        here = f"transformer.resblocks.{layer}"
        own = {name.removeprefix(f"{here}."): value for name, value in state.items() if name.startswith(f"{here}.")}
        seen = norm(hidden, own, "ln_1") @ own["attn.in_proj_weight"].T + own["attn.in_proj_bias"]
        mixed = []
        for head in range(WIDTH // 64):
            query, key, value = (part[:, head * 64 : (head + 1) * 64] for part in seen.chunk(3, dim=1))
            mixed.append(torch.softmax(query @ key.T / 8.0, dim=1) @ value)
        hidden = hidden + torch.cat(mixed, dim=1) @ own["attn.out_proj.weight"].T + own["attn.out_proj.bias"]
        wide = norm(hidden, own, "ln_2") @ own["mlp.c_fc.weight"].T + own["mlp.c_fc.bias"]
        wide = wide / (1 + torch.exp(-1.702 * wide))
        hidden = hidden + wide @ own["mlp.c_proj.weight"].T + own["mlp.c_proj.bias"]
    return hidden


def norm(hidden: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    centred = hidden - hidden.mean(dim=-1, keepdim=True)
    size = (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    return centred / size * state[f"{name}.weight"] + state[f"{name}.bias"]


def test_features_equal_a_second_computation(tmp_path: Path, draw: Draw) -> None:
    state = released()
    encoder = built(write(tmp_path / "viclip"))
    windows = torch.cat([encoder.preprocess(draw("video", frames=FRAMES)) for _ in range(2)])
    assert encoder.window_shape == tuple(windows.shape[1:]) == (FRAMES, 3, SIDE, SIDE)
    wanted = torch.stack([norm(second(state, clip), state, "ln_post") for clip in windows])
    with torch.no_grad():
        torch.testing.assert_close(encoder(windows), wanted[:, 1:], rtol=0, atol=1e-5)
        with_token = built(tmp_path / "viclip", class_token=True)
        torch.testing.assert_close(with_token(windows), wanted, rtol=0, atol=1e-5)
        inner = built(tmp_path / "viclip", layer=-2)
        torch.testing.assert_close(inner(windows)[0], second(state, windows[0], LAYERS - 1)[1:], rtol=0, atol=1e-5)
    assert len({encoder.fingerprint, with_token.fingerprint, inner.fingerprint}) == 3
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_frames_are_resized_and_normalised(tmp_path: Path) -> None:
    encoder = built(write(tmp_path / "viclip"))
    # A picture of half the size: each of its pixels is two wide; bilinear, the middle of an edge is a mean.
    frame = np.zeros((SIDE // 2, SIDE // 2, 3), np.uint8)
    frame[:, 7:] = (255, 100, 0)
    pixels = encoder.preprocess(np.stack([frame] * FRAMES))[0]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    row = {0: 0.0, 12: 0.0, 13: 0.25, 14: 0.75, 15: 1.0, 27: 1.0}
    for column, share in row.items():
        wanted = (np.round(np.array([255, 100, 0]) * share) / 255 - mean) / std
        np.testing.assert_allclose(pixels[0, :, 5, column], wanted, atol=1e-5)
    with pytest.raises(MediaError, match="expected uint8"):
        encoder.preprocess(frame)


def test_a_reversed_clip_has_other_features(tmp_path: Path, draw: Draw) -> None:
    encoder = built(write(tmp_path / "viclip"))
    clip = draw("video", frames=FRAMES)
    with torch.no_grad():
        forward, backward = encoder(encoder.preprocess(clip)), encoder(encoder.preprocess(clip[::-1].copy()))
        # the patches of each frame, wherever they now stand
        turned = backward.reshape(1, -1, FRAMES, WIDTH).flip(2).flatten(1, 2)
    assert (forward - turned).abs().max() > 0.1 * forward.std()


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    state = released()
    write(tmp_path / "viclip")
    with pytest.raises(BadCheckpoint, match="takes 4 frames, the encoder's option is frames = 8"):
        encoders.build(Options(kind="viclip", path=str(tmp_path / "viclip")), BackboneLoading())
    del state["temporal_positional_embedding"]
    with pytest.raises(BadCheckpoint, match=r"vision_encoder\.temporal_positional_embedding is missing"):
        built(write(tmp_path / "image", state))
    state = released()
    del state["transformer.resblocks.1.ln_2.bias"]
    with pytest.raises(BadCheckpoint, match=r"resblocks\.1\.ln_2\.bias"):
        built(write(tmp_path / "cut", state))
    (tmp_path / "viclip" / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(BadCheckpoint, match="no safetensors file"):
        built(tmp_path / "viclip")


def test_the_released_sizes_need_no_weights() -> None:
    encoder = encoders.build(Options(kind="viclip", path="not/here"), BackboneLoading(weights=False))
    assert (encoder.width, encoder.window_shape, encoder.frames) == (1024, (8, 3, 224, 224), 8)
    # CLIP's ViT-L/14 tower without its projection, and the times of 8 frames
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 303_179_776 + 8 * 1024
    assert encoder(torch.empty(2, 8, 3, 224, 224, device="meta")).shape == (2, 256 * 8, 1024)
    assert viclip.Sizes().num_hidden_layers == 24


def test_time_embeddings_tell_frames_apart() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 12, 16)
    turned = features.reshape(2, 3, 4, 16).flip(1).flatten(1, 2)
    sizes: dict[str, Any] = {"kind": "perceiver", "tokens": 4, "layers": 1, "width": 16, "heads": 2, "head_size": 8}
    blind = perceiver.build(perceiver.Options(**sizes), 16, 24)
    torch.testing.assert_close(blind(features), blind(turned), rtol=0, atol=1e-5)
    timed = perceiver.build(perceiver.Options(**sizes, frames=3), 16, 24)
    assert (timed(features) - timed(turned)).abs().max() > 0.1 * timed(features).std()
    # by hand: the embedding of frame i is added to its four features
    by_hand = features.clone()
    assert timed.times is not None
    for place in range(12):
        by_hand[:, place] += timed.times[place // 4, 0]
    torch.testing.assert_close(timed(features), timed.output(timed.resample(by_hand)))
    assert timed.times.requires_grad
    with pytest.raises(BadData, match="13 features are not of 3 frames"):
        timed(torch.randn(1, 13, 16))
