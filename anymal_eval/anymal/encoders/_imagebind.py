"""ImageBind's towers (Girdhar et al. 2023, arXiv:2305.05665), under the names of the released state dict.

Every tower is a vision transformer over patches with a class token. Those of audio and motion have one learned key and
value more in each attention. The head normalises the tokens, and projects the class token into the space that all media
share. See ``imagebind.py`` for where the names and sizes are seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize

from anymal_eval.errors import BadCheckpoint

MELS, STEPS, STRIDE, CHANNELS = 128, 204, 10, 6  # of a spectrogram and its patches; of a motion
HEADS = {"vision": 16, "audio": 12, "imu": 8}  # which are in no tensor's shape


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the shapes of a tower's tensors say; ``architecture`` of a preset has the same keys.

    Attributes:
        patch_size: of pictures and spectrograms in cells, of motions in samples.
        image_size: height and width of a picture; samples of a motion; unused for sounds.
        projection_size: e of the shared space.
    """

    hidden_size: int
    num_hidden_layers: int
    patch_size: int
    image_size: int
    projection_size: int = 1024


HUGE = {
    "vision": Sizes(hidden_size=1280, num_hidden_layers=32, patch_size=14, image_size=224),
    "audio": Sizes(hidden_size=768, num_hidden_layers=12, patch_size=16, image_size=0),
    "imu": Sizes(hidden_size=512, num_hidden_layers=6, patch_size=8, image_size=2000),
}


class _Stem(nn.Module):
    """Patches to tokens; ``norm_layer`` where the tower has one."""

    def __init__(self, proj: nn.Module, norm: nn.Module | None) -> None:
        super().__init__()
        self.proj = proj
        if norm is not None:
            self.norm_layer = norm


class _Positions(nn.Module):
    """Learned positions of the class token and the patches."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, count, width))


class _Preprocessor(nn.Module):
    """Windows to tokens with positions.

    Shapes:  w windows · n tokens with the class token · e width
    """

    def __init__(self, tower: str, sizes: Sizes) -> None:
        super().__init__()
        width, patch = sizes.hidden_size, sizes.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self._tower, self._patch = tower, patch
        count = 1 + patches(tower, sizes)
        if tower == "vision":
            shape = (2, patch, patch)
            frames = nn.Conv3d(3, width, shape, shape, bias=False)
            self.rgbt_stem = _Stem(nn.Sequential(nn.Identity(), frames), None)
        elif tower == "audio":
            self.rgbt_stem = _Stem(nn.Conv2d(1, width, patch, STRIDE, bias=False), nn.LayerNorm(width))
        else:
            self.imu_stem = _Stem(nn.Linear(CHANNELS * patch, width, bias=False), nn.LayerNorm(width))
            self.pos_embed = nn.Parameter(torch.zeros(1, count, width))
            return
        self.pos_embedding_helper = _Positions(count, width)

    def forward(self, windows: Tensor) -> Tensor:
        """(w, ...) -> (w, n, e)."""
        if self._tower == "imu":
            # (w, 6, t / p, p) -> (w, t / p, 6 p)
            cells = windows.unfold(-1, self._patch, self._patch).permute(0, 2, 1, 3).flatten(2)
            tokens, positions = self.imu_stem.norm_layer(self.imu_stem.proj(cells)), self.pos_embed
        else:
            tokens = self.rgbt_stem.proj(windows).flatten(2).transpose(1, 2)
            positions = self.pos_embedding_helper.pos_embed
            if self._tower == "audio":
                tokens = self.rgbt_stem.norm_layer(tokens)
        out: Tensor = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1) + positions
        return out


class _Block(nn.Module):
    """Attention and a hidden layer four times as wide."""

    def __init__(self, width: int, heads: int, *, bias_kv: bool) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, add_bias_kv=bias_kv, batch_first=True)
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, tokens: Tensor) -> Tensor:
        """(w, n, e) -> (w, n, e)."""
        seen = self.norm_1(tokens)
        tokens = tokens + self.attn(seen, seen, seen, need_weights=False)[0]
        out: Tensor = tokens + self.mlp["fc2"](gelu(self.mlp["fc1"](self.norm_2(tokens))))
        return out


class _Trunk(nn.Module):
    """The layers, after a norm in the tower of pictures."""

    def __init__(self, tower: str, sizes: Sizes) -> None:
        super().__init__()
        width, heads = sizes.hidden_size, HEADS[tower]
        first = [nn.LayerNorm(width, eps=1e-6)] if tower == "vision" else []
        self.pre_transformer_layer = nn.Sequential(*first)
        self.blocks = nn.Sequential(
            *(_Block(width, heads, bias_kv=tower != "vision") for _ in range(sizes.num_hidden_layers))
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(w, n, e) -> (w, n, e)."""
        out: Tensor = self.blocks(self.pre_transformer_layer(tokens))
        return out


class Tower(nn.Module):
    """One tower, with the released names: ``modality_trunks.NAME.blocks.0 ...``.

    Shapes:  w windows · n tokens with the class token · e width · d width of the shared space
    """

    def __init__(self, tower: str, sizes: Sizes) -> None:
        super().__init__()
        self._name = tower
        self.modality_preprocessors = nn.ModuleDict({tower: _Preprocessor(tower, sizes)})
        self.modality_trunks = nn.ModuleDict({tower: _Trunk(tower, sizes)})
        # between them upstream selects the class token and, for motion, drops out
        between = [nn.Identity(), nn.Identity()] if tower == "imu" else [nn.Identity()]
        project = nn.Linear(sizes.hidden_size, sizes.projection_size, bias=False)
        head = nn.Sequential(nn.LayerNorm(sizes.hidden_size, eps=1e-6), *between, project)
        self.modality_heads = nn.ModuleDict({tower: head})

    def tokens(self, windows: Tensor) -> Tensor:
        """(w, ...) -> (w, n, e) after the head's norm."""
        name = self._name
        head = cast(nn.Sequential, self.modality_heads[name])
        out: Tensor = head[0](self.modality_trunks[name](self.modality_preprocessors[name](windows)))
        return out

    def embedding(self, windows: Tensor) -> Tensor:
        """(w, ...) -> (w, d), of length 1."""
        head = cast(nn.Sequential, self.modality_heads[self._name])
        return normalize(head[-1](self.tokens(windows)[:, 0]), dim=-1)


def patches(tower: str, sizes: Sizes) -> int:
    """Patches of a window."""
    if tower == "audio":
        return ((MELS - sizes.patch_size) // STRIDE + 1) * ((STEPS - sizes.patch_size) // STRIDE + 1)
    side = sizes.image_size // sizes.patch_size
    return side if tower == "imu" else side * side


def sizes_of(tensors: Mapping[str, Tensor], tower: str, folder: Path) -> Sizes:
    """The sizes of a released tower, from its shapes.

    Raises:
        BadCheckpoint: a tensor that gives one is missing, or has another number of dimensions.
    """
    stem, positions = {
        "vision": ("rgbt_stem.proj.1.weight", "pos_embedding_helper.pos_embed"),
        "audio": ("rgbt_stem.proj.weight", "pos_embedding_helper.pos_embed"),
        "imu": ("imu_stem.proj.weight", "pos_embed"),
    }[tower]
    head = f"modality_heads.{tower}.{3 if tower == 'imu' else 2}.weight"
    dimensions = {
        f"modality_preprocessors.{tower}.{stem}": {"vision": 5, "audio": 4, "imu": 2}[tower],
        f"modality_preprocessors.{tower}.{positions}": 3,
        head: 2,
    }
    for name, wanted in dimensions.items():
        if name not in tensors or tensors[name].ndim != wanted:
            raise BadCheckpoint(f"{folder} is no checkpoint of ImageBind: {name} is missing or has another shape")
    weight, places, projection = (tensors[name] for name in dimensions)
    prefix = f"modality_trunks.{tower}.blocks."
    layers = {name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)}
    patch = weight.shape[1] // CHANNELS if tower == "imu" else weight.shape[-1]
    count = places.shape[1] - 1
    side = {"vision": round(count**0.5) * patch, "audio": 0, "imu": count * patch}[tower]
    return Sizes(
        hidden_size=places.shape[2],
        num_hidden_layers=len(layers),
        patch_size=patch,
        image_size=side,
        projection_size=len(projection),
    )
