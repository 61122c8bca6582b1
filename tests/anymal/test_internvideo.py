"""InternVideo's multimodal tower against a second computation, over tensors named as in InternVideo-MM-L-14.ckpt.

The layout is seen in OpenGVLab/InternVideo, InternVideo1/Pretrain/Multi-Modalities-Pretraining: ``load_model`` reads
``state_dict`` and removes ``clip.``; ``VideoIntern`` and its ``VisionTransformer`` have the names below.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from anymal_eval.anymal import encoders
from anymal_eval.anymal.encoders import Encoder
from anymal_eval.anymal.encoders.internvideo import Options
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.codec import decode
from anymal_eval.errors import BadCheckpoint, MediaError

Draw = Callable[..., NDArray[Any]]
WIDTH, LAYERS, DECODERS, FRAMES, SIDE, PATCH = 128, 3, 2, 4, 28, 14
GRID = SIDE // PATCH


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "cache"))


def released() -> dict[str, Tensor]:
    """The video tower under the released names, written down here by hand, with fewer and narrower layers."""
    layers = "visual.transformer"
    shapes: dict[str, tuple[int, ...]] = {
        "visual.conv1.weight": (WIDTH, 3, 1, PATCH, PATCH), "visual.class_embedding": (WIDTH,),
        "visual.positional_embedding": (GRID**2 + 1, WIDTH), "visual.ln_pre.weight": (WIDTH,),
        "visual.ln_pre.bias": (WIDTH,), f"{layers}.temporal_cls_token": (1, 1, WIDTH), f"{layers}.balance": (WIDTH,),
        "visual_ln_post.weight": (WIDTH,), "visual_ln_post.bias": (WIDTH,), "visual_proj": (WIDTH, 96),
    }  # fmt: skip
    blocks: list[tuple[str, tuple[str, ...]]] = [
        (f"{layers}.resblocks.{number}", ("ln_1", "ln_2")) for number in range(LAYERS)
    ]
    blocks += [(f"{layers}.dec.{number}", ("ln_1", "ln_2", "ln_3")) for number in range(DECODERS)]
    for here, norms in blocks:
        shapes |= {
            f"{here}.attn.in_proj_weight": (3 * WIDTH, WIDTH), f"{here}.attn.in_proj_bias": (3 * WIDTH,),
            f"{here}.attn.out_proj.weight": (WIDTH, WIDTH), f"{here}.attn.out_proj.bias": (WIDTH,),
            f"{here}.mlp.c_fc.weight": (4 * WIDTH, WIDTH), f"{here}.mlp.c_fc.bias": (4 * WIDTH,),
            f"{here}.mlp.c_proj.weight": (WIDTH, 4 * WIDTH), f"{here}.mlp.c_proj.bias": (WIDTH,),
        }  # fmt: skip
        shapes |= {f"{here}.{name}.{end}": (WIDTH,) for name in norms for end in ("weight", "bias")}
    for number in range(DECODERS):
        shapes |= {f"{layers}.dpe.{number}.weight": (WIDTH, 1, 3, 3, 3), f"{layers}.dpe.{number}.bias": (WIDTH,)}
    torch.manual_seed(0)
    # Neighbours in time about as large as a patch itself, so that they count.
    return {name: torch.randn(shape) * (2.0 if ".dpe." in name else 0.2) for name, shape in shapes.items()}


def write(file: Path, tensors: dict[str, Tensor] | None = None) -> Path:
    """As a trainer saves it, beside the text tower."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {f"clip.{name}": tensor for name, tensor in (tensors or released()).items()}
    others = {
        "clip.transformer.resblocks.0.attn.in_proj_weight": torch.ones(3), "clip.positional_embedding": torch.ones(2),
        "clip.logit_scale": torch.ones(()), "clip.token_embedding.weight": torch.ones(2, 2),
    }  # fmt: skip
    torch.save({"state_dict": content | others, "epoch": 3, "global_step": 7}, file)
    return file


def built(path: Path, **options: Any) -> Encoder:
    table = {"kind": "internvideo", "path": str(path), "frames": FRAMES, **options}
    return encoders.build(decode(Options, table, "internvideo"), BackboneLoading())


def second(state: dict[str, Tensor], clip: Tensor) -> tuple[Tensor, Tensor]:
    """(k, 3, h, h) -> the clip's token (e,) and the patches (k g g, e), with attention and convolution written out."""
    kernel, frames = state["visual.conv1.weight"][:, :, 0], []
    for picture in clip:
        tokens = [state["visual.class_embedding"]]
        for row in range(GRID):
            for column in range(GRID):
                square = picture[:, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
                tokens.append(torch.einsum("echw,chw->e", kernel, square))
        frames.append(norm(torch.stack(tokens) + state["visual.positional_embedding"], state, "visual.ln_pre"))
    query = state["visual.transformer.temporal_cls_token"][0]
    for layer in range(LAYERS):
        here = f"visual.transformer.resblocks.{layer}"
        for number, hidden in enumerate(frames):
            seen = norm(hidden, state, f"{here}.ln_1")
            frames[number] = wide(hidden + attention(seen, seen, state, here), state, here)
        decoder = layer - (LAYERS - DECODERS)
        if decoder >= 0:
            here = f"visual.transformer.dec.{decoder}"
            context = norm(torch.cat(moved(frames, state, decoder)), state, f"{here}.ln_3")
            query = wide(query + attention(norm(query, state, f"{here}.ln_1"), context, state, here), state, here)
    share = 1 / (1 + torch.exp(-state["visual.transformer.balance"]))
    mean = torch.stack([hidden[0] for hidden in frames]).mean(dim=0)
    token = norm((1 - share) * query[0] + share * mean, state, "visual_ln_post")
    return token, torch.cat([hidden[1:] for hidden in frames])


def moved(frames: list[Tensor], state: dict[str, Tensor], decoder: int) -> list[Tensor]:
    """Each patch plus a weighted sum of its neighbours in space and time, channel by channel."""
    kernel = state[f"visual.transformer.dpe.{decoder}.weight"][:, 0]
    out = [hidden.clone() for hidden in frames]
    for time in range(FRAMES):
        for row in range(GRID):
            for column in range(GRID):
                total = state[f"visual.transformer.dpe.{decoder}.bias"].clone()
                for t in range(max(time - 1, 0), min(time + 2, FRAMES)):
                    for y in range(max(row - 1, 0), min(row + 2, GRID)):
                        for x in range(max(column - 1, 0), min(column + 2, GRID)):
                            weight = kernel[:, t - time + 1, y - row + 1, x - column + 1]
                            total += weight * frames[t][1 + y * GRID + x]
                out[time][1 + row * GRID + column] += total
    return out


def attention(of: Tensor, to: Tensor, state: dict[str, Tensor], here: str) -> Tensor:
    weights = state[f"{here}.attn.in_proj_weight"].chunk(3)
    biases = state[f"{here}.attn.in_proj_bias"].chunk(3)
    query, key, value = (x @ w.T + b for x, w, b in zip((of, to, to), weights, biases, strict=True))
    mixed = []
    for head in range(WIDTH // 64):
        now = slice(64 * head, 64 * (head + 1))
        mixed.append(torch.softmax(query[:, now] @ key[:, now].T / 8, dim=1) @ value[:, now])
    return torch.cat(mixed, dim=1) @ state[f"{here}.attn.out_proj.weight"].T + state[f"{here}.attn.out_proj.bias"]


def wide(hidden: Tensor, state: dict[str, Tensor], here: str) -> Tensor:
    inner = norm(hidden, state, f"{here}.ln_2") @ state[f"{here}.mlp.c_fc.weight"].T + state[f"{here}.mlp.c_fc.bias"]
    inner = inner / (1 + torch.exp(-1.702 * inner))
    return hidden + inner @ state[f"{here}.mlp.c_proj.weight"].T + state[f"{here}.mlp.c_proj.bias"]


def norm(hidden: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    centred = hidden - hidden.mean(dim=-1, keepdim=True)
    size = (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    return centred / size * state[f"{name}.weight"] + state[f"{name}.bias"]


def test_features_equal_a_second_computation(tmp_path: Path, draw: Draw) -> None:
    state = released()
    file = write(tmp_path / "models" / "InternVideo-MM-L-14.ckpt")
    encoder = built(file)
    windows = torch.cat([encoder.preprocess(draw("video", frames=FRAMES)) for _ in range(2)])
    assert encoder.window_shape == tuple(windows.shape[1:]) == (FRAMES, 3, SIDE, SIDE)
    with torch.no_grad():
        features, alone = encoder(windows), built(file.parent, output="clip")(windows)
        for clip, found, one in zip(windows, features, alone, strict=True):
            token, patches = second(state, clip)
            torch.testing.assert_close(found, torch.cat([token[None], patches]), rtol=0, atol=1e-5)
            torch.testing.assert_close(one, token[None], rtol=0, atol=1e-5)
    assert len(list((tmp_path / "cache" / "converted").iterdir())) == 1


def test_a_reversed_clip_has_another_token_by_the_convolution_over_time(tmp_path: Path, draw: Draw) -> None:
    state, clip = released(), draw("video", frames=FRAMES)

    def change(file: Path) -> float:
        encoder = built(file, output="clip")
        with torch.no_grad():
            forward, backward = encoder(encoder.preprocess(clip)), encoder(encoder.preprocess(clip[::-1].copy()))
        return float((forward - backward).abs().max())

    assert change(write(tmp_path / "a.ckpt", state)) > 5e-3
    for name, kernel in state.items():
        if name.endswith("weight") and ".dpe." in name:
            kernel[:, :, (0, 2)] = 0
    assert change(write(tmp_path / "b.ckpt", state)) < 1e-5


def test_the_middle_of_a_frame_is_normalised(tmp_path: Path) -> None:
    encoder = built(write(tmp_path / "a.ckpt"))
    frame = np.zeros((32, 64, 3), np.uint8)  # at 8/7 of 28 already
    frame[2:30, 18:46] = 255
    pixels = encoder.preprocess(np.stack([frame] * FRAMES))
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    wanted = torch.tensor([(1 - m) / s for m, s in zip(mean, std, strict=True)])
    torch.testing.assert_close(pixels, wanted[:, None, None].expand_as(pixels))
    assert encoder.preprocess(np.stack([frame.transpose(1, 0, 2)] * 2)).shape == pixels.shape
    with pytest.raises(MediaError, match="expected uint8"):
        encoder.preprocess(frame)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("visual.transformer.dec.1.ln_3.bias", r"dec\.1\.ln_3\.bias is missing"),
        ("visual.conv1.weight", r"visual\.conv1\.weight is missing"),
    ],
)
def test_other_files_are_refused(name: str, match: str, tmp_path: Path) -> None:
    state = released()
    del state[name]
    with pytest.raises(BadCheckpoint, match=match):
        built(write(tmp_path / "a.ckpt", state))
    with pytest.raises(BadCheckpoint, match="hidden_size = 128, the encoder's architecture is hidden_size = 1024"):
        built(write(tmp_path / "b.ckpt"), architecture={"hidden_size": 1024})
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_released_sizes_need_no_weights() -> None:
    encoder = encoders.build(Options(kind="internvideo", path="not/here"), BackboneLoading(weights=False))
    assert (encoder.width, encoder.window_shape, encoder.frames) == (1024, (8, 3, 224, 224), 8)
    assert encoder(torch.empty(2, 8, 3, 224, 224, device="meta")).shape == (2, 1 + 8 * 256, 1024)
