"""``imagebind_huge.pth`` with tiny random towers, under the released names, and its towers computed a second time.

The names are listed in the proposal of ImageBind for transformers, convert_imagebind_original_pytorch_to_hf.py.
"""

from pathlib import Path

import torch
from torch import Tensor

SPACE, LAYERS = 20, 2
WIDTHS = {"vision": 32, "audio": 24, "imu": 16}
HEADS = {"vision": 16, "audio": 12, "imu": 8}
SIDE, PATCH, CELL, KERNEL = 28, 14, 32, 50


def released(seed: int = 0) -> dict[str, Tensor]:
    """All tensors of three towers, and a few of those that are not loaded."""
    shapes: dict[str, tuple[int, ...]] = {
        "modality_preprocessors.text.token_embedding.weight": (9, 8),
        "modality_preprocessors.depth.depth_stem.proj.weight": (8, 1, 16, 16),
        "modality_preprocessors.thermal.cls_token": (1, 1, 8),
        "modality_heads.text.proj.1.weight": (SPACE, 8),
    }
    stems = {
        "vision": {"rgbt_stem.proj.1.weight": (32, 3, 2, PATCH, PATCH), "pos_embedding_helper.pos_embed": (1, 5, 32)},
        # a spectrogram of 128 x 204 has 10 x 18 patches of 32 x 32, every 10 cells
        "audio": {"rgbt_stem.proj.weight": (24, 1, CELL, CELL), "pos_embedding_helper.pos_embed": (1, 181, 24)},
        "imu": {"imu_stem.proj.weight": (16, 6 * KERNEL), "pos_embed": (1, 41, 16)},
    }
    for tower, width in WIDTHS.items():
        here = f"modality_preprocessors.{tower}."
        shapes |= {here + name: shape for name, shape in stems[tower].items()} | {f"{here}cls_token": (1, 1, width)}
        norms = [f"modality_heads.{tower}.0"]
        norms += [f"modality_trunks.{tower}.pre_transformer_layer.0"] if tower == "vision" else []
        norms += [f"{here}{'imu' if tower == 'imu' else 'rgbt'}_stem.norm_layer"] if tower != "vision" else []
        for layer in range(LAYERS):
            block = f"modality_trunks.{tower}.blocks.{layer}."
            norms += [f"{block}norm_1", f"{block}norm_2"]
            shapes |= {
                f"{block}attn.in_proj_weight": (3 * width, width), f"{block}attn.in_proj_bias": (3 * width,),
                f"{block}attn.out_proj.weight": (width, width), f"{block}attn.out_proj.bias": (width,),
                f"{block}mlp.fc1.weight": (4 * width, width), f"{block}mlp.fc1.bias": (4 * width,),
                f"{block}mlp.fc2.weight": (width, 4 * width), f"{block}mlp.fc2.bias": (width,),
            }  # fmt: skip
            if tower != "vision":
                shapes |= {f"{block}attn.bias_k": (1, 1, width), f"{block}attn.bias_v": (1, 1, width)}
        for norm in norms:
            shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
        shapes[f"modality_heads.{tower}.{3 if tower == 'imu' else 2}.weight"] = (SPACE, width)
    generator = torch.Generator().manual_seed(seed)
    found = {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}
    scales = {"audio": 20.0, "imu": 5.0}
    logits = {f"modality_postprocessors.{name}.1.log_logit_scale": torch.tensor(x).log() for name, x in scales.items()}
    return {**found, **logits}


def write(folder: Path, tensors: dict[str, Tensor] | None = None) -> Path:
    """The file in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "imagebind_huge.pth"
    torch.save(tensors or released(), file)
    return file


def second(state: dict[str, Tensor], tower: str, window: Tensor) -> tuple[Tensor, Tensor]:
    """One window, patch by patch -> patches (n, e) after the head's norm, and the vector (d,) of length 1."""
    pre, trunk, head = (f"modality_{part}.{tower}." for part in ("preprocessors", "trunks", "heads"))
    tokens = [state[f"{pre}cls_token"][0, 0]]
    if tower == "vision":  # (2, 3, h, h)
        for row in range(SIDE // PATCH):
            for column in range(SIDE // PATCH):
                square = window[:, :, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
                tokens.append(torch.einsum("ectyx,tcyx->e", state[f"{pre}rgbt_stem.proj.1.weight"], square))
    elif tower == "audio":  # (1, 128, 204)
        for row in range(0, 128 - CELL + 1, 10):
            for column in range(0, 204 - CELL + 1, 10):
                square = window[:, row : row + CELL, column : column + CELL]
                cell = torch.einsum("ecyx,cyx->e", state[f"{pre}rgbt_stem.proj.weight"], square)
                tokens.append(norm(cell, state, f"{pre}rgbt_stem.norm_layer", 1e-5))
    else:  # (6, 2000)
        for start in range(0, 2000, KERNEL):
            cell = state[f"{pre}imu_stem.proj.weight"] @ window[:, start : start + KERNEL].flatten()
            tokens.append(norm(cell, state, f"{pre}imu_stem.norm_layer", 1e-5))
    places = state[f"{pre}pos_embed" if tower == "imu" else f"{pre}pos_embedding_helper.pos_embed"][0]
    hidden = torch.stack(tokens) + places
    if tower == "vision":
        hidden = norm(hidden, state, f"{trunk}pre_transformer_layer.0", 1e-6)
    for layer in range(LAYERS):
        hidden = block(hidden, state, f"{trunk}blocks.{layer}.", HEADS[tower])
    hidden = norm(hidden, state, f"{head}0", 1e-6)
    vector = state[f"{head}{3 if tower == 'imu' else 2}.weight"] @ hidden[0]
    return hidden[1:], vector / vector.square().sum().sqrt()


def block(hidden: Tensor, state: dict[str, Tensor], here: str, heads: int) -> Tensor:
    """A layer with its attention written out; one learned key and value stand behind the others."""
    seen = norm(hidden, state, f"{here}norm_1", 1e-6)
    query, key, value = (seen @ state[f"{here}attn.in_proj_weight"].T + state[f"{here}attn.in_proj_bias"]).chunk(3, 1)
    if f"{here}attn.bias_k" in state:
        key = torch.cat([key, state[f"{here}attn.bias_k"][0]])
        value = torch.cat([value, state[f"{here}attn.bias_v"][0]])
    size = hidden.shape[1] // heads
    mixed = []
    for start in range(0, hidden.shape[1], size):
        own = slice(start, start + size)
        mixed.append(torch.softmax(query[:, own] @ key[:, own].T / size**0.5, dim=1) @ value[:, own])
    hidden = hidden + torch.cat(mixed, 1) @ state[f"{here}attn.out_proj.weight"].T + state[f"{here}attn.out_proj.bias"]
    wide = norm(hidden, state, f"{here}norm_2", 1e-6) @ state[f"{here}mlp.fc1.weight"].T + state[f"{here}mlp.fc1.bias"]
    wide = wide * 0.5 * (1 + torch.erf(wide / 2**0.5))
    return hidden + wide @ state[f"{here}mlp.fc2.weight"].T + state[f"{here}mlp.fc2.bias"]


def norm(hidden: Tensor, state: dict[str, Tensor], name: str, least: float) -> Tensor:
    """A layer norm by hand."""
    centred = hidden - hidden.mean(-1, keepdim=True)
    size = (centred.square().mean(-1, keepdim=True) + least).sqrt()
    return centred / size * state[f"{name}.weight"] + state[f"{name}.bias"]
