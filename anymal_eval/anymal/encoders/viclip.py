"""ViCLIP's video tower (Wang et al. 2023, arXiv:2307.06942): a text-aligned ViT over 8 frames.

AnyMAL takes InternVideo, whose authors trained ViCLIP too; it is their openly released video encoder that is aligned
with text. Written from the paper; its parts have the names of the released state dict under ``vision_encoder.``,
as OpenGVLab/ViCLIP-L-14-hf holds them (``model.safetensors``, beside the text tower, which is not loaded). Nothing of
that repository's own Python code runs.

Each frame is cut into patches that get the positions of a picture, then each patch gets the time of its frame; one
class token stands in front of all of them, and all attend to all.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from anymal_eval.anymal.encoders import Encoder, check_form
from anymal_eval.anymal.encoders._clip_block import HEAD_SIZE, Block
from anymal_eval.anymal.encoders._vit import ViTOptions, stop_at
from anymal_eval.anymal.encoders.frames import pick
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.checkpoints.locating import locate
from anymal_eval.checkpoints.weights import fill_module, read_folder
from anymal_eval.errors import BadCheckpoint, BadDefinition

PREFIX = "vision_encoder."
# The normalisation that ViCLIP was trained with: ImageNet's, not CLIP's.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Options(ViTOptions):
    """Options of every vision transformer; the checkpoint's tensors give its sizes.

    Attributes:
        frames: k, checked against the checkpoint's.
    """

    frames: int = 8


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the shapes of the tensors say; ``architecture`` of a preset has the same keys. Defaults are ViT-L/14's."""

    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_frames: int = 8
    image_size: int = 224
    patch_size: int = 14


class _Blocks(nn.Module):
    """The layers, under the released name."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width) for _ in range(count))


class Tower(nn.Module):
    """The network alone, with the released names.

    Shapes:  w clips · k frames · h height and width · g = h / patch · n = 1 + g g k tokens · e width
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, patch = sizes.hidden_size, sizes.patch_size
        if width < HEAD_SIZE or width % HEAD_SIZE:
            raise BadDefinition(f"viclip: a width of {width} is no multiple of {HEAD_SIZE}")
        grid = sizes.image_size // patch
        self.conv1 = nn.Conv3d(3, width, (1, patch, patch), (1, patch, patch), bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(grid * grid + 1, width))
        self.temporal_positional_embedding = nn.Parameter(torch.zeros(1, sizes.num_frames, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = _Blocks(width, sizes.num_hidden_layers)
        self.ln_post = nn.LayerNorm(width)

    def forward(self, clips: Tensor) -> Tensor:
        """(w, k, 3, h, h) -> (w, n, e); the tokens of one patch through all frames follow one another."""
        # (w, e, k, g, g) -> (w, g g, k, e)
        patches = self.conv1(clips.transpose(1, 2)).flatten(3).permute(0, 3, 2, 1)
        patches = patches + self.positional_embedding[1:, None] + self.temporal_positional_embedding
        first = (self.class_embedding + self.positional_embedding[0]).expand(len(clips), 1, -1)
        tokens = self.ln_pre(torch.cat([first, patches.flatten(1, 2)], dim=1))
        for block in self.transformer.resblocks:
            tokens = block(tokens)
        out: Tensor = self.ln_post(tokens)
        return out


class ViCLIP(Encoder):
    """A clip to patch features, in space and time.

    Shapes:  w clips · k frames · h height and width · n tokens · e width
    """

    medium = "video"

    def __init__(self, tower: Tower, sizes: Sizes, options: Options) -> None:
        super().__init__()
        self.tower = tower
        self.width = sizes.hidden_size
        self.frames = sizes.num_frames
        self.window_shape = (sizes.num_frames, 3, sizes.image_size, sizes.image_size)
        self.layer = f"layer {options.layer}, {'with' if options.class_token else 'no'} class token"
        self._skip = 0 if options.class_token else 1

    def preprocess(self, media: NDArray[Any], sample_rate: int | None = None) -> Tensor:
        """(k', H, W, 3) uint8 -> (1, k, 3, h, h); each frame is squeezed into the square, as upstream does."""
        check_form(media, "video")
        side = self.window_shape[-1]
        # Upstream resizes bytes with OpenCV: bilinear, without antialiasing, and the result is bytes again.
        # One frame at a time: as floats, eight of 4K take 800 MB.
        frames = (torch.from_numpy(media[i][None]).permute(0, 3, 1, 2) for i in pick(len(media), self.window_shape[0]))
        small = [interpolate(frame.float(), (side, side), mode="bilinear", align_corners=False) for frame in frames]
        resized = torch.cat(small).round() / 255
        return ((resized - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])[None]

    def forward(self, windows: Tensor) -> Tensor:
        """(w, k, 3, h, h) -> (w, n, e)."""
        out: Tensor = self.tower(windows.to(self.tower.class_embedding.dtype))[:, self._skip :]
        return out

    @property
    def preprocessing(self) -> str:
        """The same for every checkpoint of one size."""
        return f"{self.window_shape}, bilinear, mean {MEAN}, std {STD}"


def sizes_of(tensors: Mapping[str, Tensor], file: Path) -> Sizes:
    """The sizes of a released state dict, from its shapes.

    Raises:
        BadCheckpoint: a tensor that gives one is missing.
    """
    dimensions = {"conv1.weight": 5, "positional_embedding": 2, "temporal_positional_embedding": 3}
    for name, wanted in dimensions.items():
        if name not in tensors or tensors[name].ndim != wanted:
            raise BadCheckpoint(f"{file} is no ViCLIP checkpoint: {PREFIX}{name} is missing or has another shape")
    width, _, _, patch, _ = tensors["conv1.weight"].shape
    places, frames = len(tensors["positional_embedding"]), tensors["temporal_positional_embedding"].shape[1]
    layers = {name.split(".")[2] for name in tensors if name.startswith("transformer.resblocks.")}
    side = round((places - 1) ** 0.5) * patch
    return Sizes(hidden_size=width, num_hidden_layers=len(layers), num_frames=frames, image_size=side, patch_size=patch)


def build(options: Options, loading: BackboneLoading) -> ViCLIP:
    """Load the video tower of a released checkpoint.

    Raises:
        BadCheckpoint: it is none, or takes another number of frames.
    """
    if not loading.weights:
        known = asdict(Sizes())
        sizes = Sizes(**{name: value for name, value in (options.architecture or {}).items() if name in known})
        with torch.device("meta"):
            return _chosen(Tower(sizes).to(loading.dtype), sizes, options)
    folder = locate(options.path, convert=True)
    tensors = read_folder(folder, PREFIX)
    tensors.pop("proj", None)  # into the space that ViCLIP shares with text
    sizes = sizes_of(tensors, folder)
    if sizes.num_frames != options.frames:
        raise BadCheckpoint(
            f"{folder} takes {sizes.num_frames} frames, the encoder's option is frames = {options.frames}"
        )
    tower = Tower(sizes)
    fill_module(tower, tensors, folder)
    return _chosen(tower.to(loading.dtype), sizes, options)


def _chosen(tower: Tower, sizes: Sizes, options: Options) -> ViCLIP:
    stop_at(tower, tower.transformer.resblocks, options, norm="ln_post")
    return ViCLIP(tower, sizes, options)
