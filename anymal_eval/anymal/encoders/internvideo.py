"""InternVideo's text-aligned video tower (Wang et al. 2022, arXiv:2212.03191), a UniFormerV2 (arXiv:2211.09552).

Written from the papers; its parts have the names of the released ``InternVideo-MM-L-14.ckpt`` and
``InternVideo-MM-B-16.ckpt`` (OpenGVLab/InternVideo, InternVideo1/Pretrain/Multi-Modalities-Pretraining): a trainer's
``state_dict`` whose names begin with ``clip.``, the tower's then with ``visual.``, beside the text tower, which is not
loaded. The tower is kept as safetensors in the cache.

CLIP's layers see each frame alone. After each of the last four, one learned query attends to the patches of all frames,
moved by a convolution over space and time; what it has gathered, mixed with the mean of the frames' class tokens, is
what InternVideo compares with text.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anymal_eval.anymal.encoders import Encoder, EncoderOptions, check_form
from anymal_eval.anymal.encoders._clip_block import HEAD_SIZE, Block
from anymal_eval.anymal.encoders.frames import pick
from anymal_eval.checkpoints.conversion import in_cache
from anymal_eval.checkpoints.loading import BackboneLoading
from anymal_eval.checkpoints.released import released_file
from anymal_eval.checkpoints.weights import fill_module, fingerprint, read_folder, read_shapes, save_tensors, state_dict
from anymal_eval.errors import BadCheckpoint
from anymal_eval.paths import expanded

PREFIX, TOWER = "clip.", ("visual.", "visual_ln_post.")
# CLIP's; the picture is resized to 8/7 of the input before its middle is cut out, 256 for 224.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, kw_only=True)
class Options(EncoderOptions):
    """Options of InternVideo. ``path`` is the released file, or a folder or repository with it.

    Attributes:
        frames: k; the released weights were trained with 8.
        output: the clip's token and then the patches of all frames, or that token alone.
    """

    frames: int = 8
    output: Literal["patches", "clip"] = "patches"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the shapes of the tensors say; ``architecture`` of a preset has the same keys. Defaults are ViT-L/14's."""

    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_decoder_layers: int = 4
    image_size: int = 224
    patch_size: int = 14


class _Gather(nn.Module):
    """The query attends to the tokens of all frames, with the released names.

    Shapes:  w clips · n tokens of all frames · e width
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // HEAD_SIZE, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        self.ln_2 = nn.LayerNorm(width)
        self.ln_3 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        """(w, 1, e), (w, n, e) -> (w, 1, e)."""
        seen = self.ln_3(tokens)
        query = query + self.attn(self.ln_1(query), seen, seen, need_weights=False)[0]
        hidden = self.mlp["c_fc"](self.ln_2(query))
        out: Tensor = query + self.mlp["c_proj"](hidden * torch.sigmoid(1.702 * hidden))
        return out


class _Layers(nn.Module):
    """The layers, under the released names.

    Shapes:  w clips · k frames · g cells along a side · e width
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, count = sizes.hidden_size, sizes.num_decoder_layers
        self.resblocks = nn.ModuleList(Block(width) for _ in range(sizes.num_hidden_layers))
        self.temporal_cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.dpe = nn.ModuleList(nn.Conv3d(width, width, 3, padding=1, groups=width) for _ in range(count))
        self.dec = nn.ModuleList(_Gather(width) for _ in range(count))
        self.balance = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(w, k, 1 + g g, e) -> the clip's token (w, e), and the frames' tokens, of the same shape."""
        clips, frames, count, width = tokens.shape
        side = round((count - 1) ** 0.5)
        query = self.temporal_cls_token.expand(clips, -1, -1)
        before = len(self.resblocks) - len(self.dec)
        for number, block in enumerate(self.resblocks):
            tokens = block(tokens.flatten(0, 1)).view(clips, frames, count, width)
            if number < before:
                continue
            cells = tokens[:, :, 1:].permute(0, 3, 1, 2).reshape(clips, width, frames, side, side)
            moved = self.dpe[number - before](cells).flatten(3).permute(0, 2, 3, 1)
            everything = torch.cat([tokens[:, :, :1], tokens[:, :, 1:] + moved], dim=2).flatten(1, 2)
            query = self.dec[number - before](query, everything)
        share = torch.sigmoid(self.balance)
        return (1 - share) * query[:, 0] + share * tokens[:, :, 0].mean(dim=1), tokens


class _Visual(nn.Module):
    """Patches, positions and layers, under the released names.

    Shapes:  w clips · k frames · h height and width · g = h / patch · e width
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, patch = sizes.hidden_size, sizes.patch_size
        self.conv1 = nn.Conv3d(3, width, (1, patch, patch), (1, patch, patch), bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros((sizes.image_size // patch) ** 2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = _Layers(sizes)

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """(w, k, 3, h, h) -> the clip's token (w, e), and the frames' tokens (w, k, 1 + g g, e)."""
        patches = self.conv1(clips.transpose(1, 2)).flatten(3).permute(0, 2, 3, 1)
        first = self.class_embedding.expand(*patches.shape[:2], 1, -1)
        tokens = self.ln_pre(torch.cat([first, patches], dim=2) + self.positional_embedding)
        found: tuple[Tensor, Tensor] = self.transformer(tokens)
        return found


class Tower(nn.Module):
    """The network alone, with the released names.

    Shapes:  w clips · k frames · h height and width · n = 1 + k g g tokens · e width
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.visual = _Visual(sizes)
        self.visual_ln_post = nn.LayerNorm(sizes.hidden_size)

    def forward(self, clips: Tensor) -> Tensor:
        """(w, k, 3, h, h) -> (w, n, e): the clip's token, then the patches of one frame after the other."""
        clip, frames = self.visual(clips)
        return torch.cat([self.visual_ln_post(clip)[:, None], frames[:, :, 1:].flatten(1, 2)], dim=1)


class InternVideo(Encoder):
    """A clip to its token and its patches.

    Shapes:  w clips · k frames · h height and width · n tokens · e width
    """

    medium = "video"

    def __init__(self, tower: Tower, sizes: Sizes, options: Options) -> None:
        super().__init__()
        self.tower = tower
        self.width = sizes.hidden_size
        self.frames = options.frames
        self.window_shape = (options.frames, 3, sizes.image_size, sizes.image_size)
        self.layer = options.output
        self._count = 1 if options.output == "clip" else None

    def preprocess(self, media: NDArray[Any], sample_rate: int | None = None) -> Tensor:
        """(k', H, W, 3) uint8 -> (1, k, 3, h, h): the middle of each frame."""
        from PIL import Image

        check_form(media, "video")
        side = self.window_shape[-1]
        short, (height, width) = round(side * 8 / 7), media.shape[1:3]
        size = (short, short * height // width) if width < height else (short * width // height, short)
        left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
        made = []
        for index in pick(len(media), self.window_shape[0]):
            resized = Image.fromarray(media[index]).resize(size, Image.Resampling.BILINEAR)
            cut = np.asarray(resized.crop((left, top, left + side, top + side)), np.float32) / 255
            made.append(torch.from_numpy(cut).permute(2, 0, 1))
        return ((torch.stack(made) - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])[None]

    def forward(self, windows: Tensor) -> Tensor:
        """(w, k, 3, h, h) -> (w, n, e)."""
        out: Tensor = self.tower(windows.to(self.tower.visual.class_embedding.dtype))[:, : self._count]
        return out

    @property
    def preprocessing(self) -> str:
        """The same for every checkpoint of one size."""
        return f"{self.window_shape}, bilinear, middle of 8/7, mean {MEAN}, std {STD}"


def sizes_of(shapes: Mapping[str, tuple[int, ...]], file: Path) -> Sizes:
    """The sizes of a released state dict.

    Raises:
        BadCheckpoint: a tensor that gives one is missing or of another shape.
    """
    for name, wanted in {"visual.conv1.weight": 5, "visual.positional_embedding": 2}.items():
        if len(shapes.get(name, ())) != wanted:
            raise BadCheckpoint(f"{file} is no InternVideo-MM checkpoint: {name} is missing or has another shape")
    width, _, _, patch, _ = shapes["visual.conv1.weight"]
    if width < HEAD_SIZE or width % HEAD_SIZE:
        raise BadCheckpoint(f"{file} has a width of {width}, which is no multiple of {HEAD_SIZE}")
    layers = len({name.split(".")[3] for name in shapes if name.startswith("visual.transformer.resblocks.")})
    decoders = len({name.split(".")[3] for name in shapes if name.startswith("visual.transformer.dec.")})
    if not 0 < decoders <= layers:
        raise BadCheckpoint(f"{file} is no InternVideo-MM checkpoint: it has {layers} layers and {decoders} queries")
    side = round((shapes["visual.positional_embedding"][0] - 1) ** 0.5) * patch
    return Sizes(
        hidden_size=width, num_hidden_layers=layers, num_decoder_layers=decoders, image_size=side, patch_size=patch
    )


def build(options: Options, loading: BackboneLoading) -> InternVideo:
    """Load the video tower of a released file.

    Raises:
        BadCheckpoint: it is none, or has other sizes than ``architecture``.
    """
    if not loading.weights and not expanded(options.path).exists():
        known = asdict(Sizes())
        sizes = Sizes(**{name: value for name, value in (options.architecture or {}).items() if name in known})
        with torch.device("meta"):
            return InternVideo(Tower(sizes).to(loading.dtype), sizes, options)
    file = released_file(options.path)
    if file is None:
        raise BadCheckpoint(f"{options.path} holds no file of InternVideo-MM, such as InternVideo-MM-L-14.ckpt")
    if not loading.weights:
        sizes = _checked(_named(read_shapes(file)), file, options)
        with torch.device("meta"):
            return InternVideo(Tower(sizes).to(loading.dtype), sizes, options)
    folder = in_cache([file], f"{file} is in its authors' layout", lambda draft: _convert(file, options, draft))
    tensors = read_folder(folder)
    sizes = _checked({name: tuple(value.shape) for name, value in tensors.items()}, file, options)
    tower = Tower(sizes)
    fill_module(tower, tensors, file)
    encoder = InternVideo(tower.to(loading.dtype), sizes, options)
    encoder.weights = fingerprint(folder)
    return encoder


def _named(content: Mapping[str, Any]) -> dict[str, Any]:
    """The tower's own, without the trainer's prefix."""
    own = {str(name).removeprefix(PREFIX): value for name, value in content.items()}
    return {name: value for name, value in own.items() if name.startswith(TOWER)}


def _checked(shapes: Mapping[str, tuple[int, ...]], file: Path, options: Options) -> Sizes:
    sizes = sizes_of(shapes, file)
    for name, value in asdict(sizes).items():
        given = (options.architecture or {}).get(name, value)
        if given != value:
            raise BadCheckpoint(f"{file} has {name} = {value}, the encoder's architecture is {name} = {given}")
    return sizes


def _convert(file: Path, options: Options, draft: Path) -> None:
    tensors = {name: value for name, value in _named(state_dict(file)).items() if isinstance(value, Tensor)}
    sizes = _checked({name: tuple(value.shape) for name, value in tensors.items()}, file, options)
    with torch.device("meta"):
        expected = {name: tuple(value.shape) for name, value in Tower(sizes).state_dict().items()}
    wrong = sorted(name for name, shape in expected.items() if name not in tensors or tensors[name].shape != shape)
    if wrong:
        raise BadCheckpoint(f"{file} is no InternVideo-MM checkpoint: {wrong[0]} is missing or has another shape")
    save_tensors({name: tensors[name].clone().contiguous() for name in expected}, draft / "model.safetensors")
