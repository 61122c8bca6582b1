"""VideoMAE as its authors and InternVideo1 release it, converted to transformers' layout once, in the user's cache.

The files are named in OpenGVLab/InternVideo, InternVideo1/README.md: ``vit_b_hybrid_pt_800e.pth`` and
``mae-b/pytorch_model.bin`` (pre-trained, with ``encoder.`` before the names, and a decoder),
``vit_b_hybrid_pt_800e_k400_ft.pth`` (fine-tuned, with ``fc_norm`` and ``head``). A trainer's ``model`` or ``module``
holds the tensors, as transformers' own converter of VideoMAE reads them: ``attn.qkv.weight`` is fused, ``q_bias`` and
``v_bias`` are beside it, the key has no bias. Positions are sines and not stored. The number of frames and the size of
a picture cannot be read off the tensors.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from anymal_eval.checkpoints.conversion import in_cache
from anymal_eval.checkpoints.locating import CONFIG
from anymal_eval.errors import BadCheckpoint

HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16}  # by width; the tensors do not tell
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_FIRST = "patch_embed.proj.weight"
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
# Of the training task: the decoder that draws what was masked, or the classes.
_TASK = re.compile(r"decoder\.|encoder_to_decoder\.|mask_token$|head\.|fc_norm\.|norm\.|pos_embed$")
_NAMES = {
    "norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class VideoMAESizes:
    """What transformers' configuration of VideoMAE holds."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_frames: int
    tubelet_size: int
    image_size: int
    patch_size: int


def convert_videomae(file: Path, frames: int, given: Mapping[str, Any]) -> Path:
    """A folder in transformers' layout, from a file in the authors'.

    Args:
        file: the file.
        frames: of a clip.
        given: ``image_size`` (224 if not given) and ``num_attention_heads``; other sizes are checked against the file.

    Raises:
        BadCheckpoint: it is no such file, or has other sizes.
        WrongUse: the cache cannot be written.
    """
    settings = json.dumps([frames, {name: given[name] for name in sorted(given)}], default=str)
    why = f"{file} is in its authors' layout"
    return in_cache([file], why, lambda draft: _convert(file, frames, given, draft), settings)


def videomae_sizes(
    shapes: Mapping[str, tuple[int, ...]], file: Path, frames: int, given: Mapping[str, Any]
) -> VideoMAESizes:
    """The sizes of a network, from the shapes of its tensors and what is given.

    Raises:
        BadCheckpoint: a tensor is missing or of another shape, or a size is another than that given.
    """
    if "conv1.weight" in {name.removeprefix("clip.visual.") for name in shapes}:
        raise BadCheckpoint(f"{file} is InternVideo-MM, no VideoMAE: its encoder is internvideo")
    if len(shapes.get(_FIRST, ())) != 5:
        raise BadCheckpoint(f"{file} is no VideoMAE checkpoint: {_FIRST} is missing or has another shape")
    width, _, tubelet, patch, _ = shapes[_FIRST]
    layers = len({found[1] for name in shapes if (found := _BLOCK.match(name))})
    heads = int(given.get("num_attention_heads") or HEADS.get(width) or width // 64)
    side = int(given.get("image_size") or 224)
    sizes = VideoMAESizes(
        hidden_size=width, intermediate_size=shapes.get("blocks.0.mlp.fc1.weight", (4 * width,))[0],
        num_hidden_layers=layers, num_attention_heads=heads, num_frames=frames, tubelet_size=tubelet,
        image_size=side, patch_size=patch,
    )  # fmt: skip
    for name, value in asdict(sizes).items():
        if given.get(name, value) != value:
            raise BadCheckpoint(f"{file} has {name} = {value}, the encoder's architecture is {name} = {given[name]}")
    if not heads or width % heads:
        raise BadCheckpoint(f"{file} has a width of {width}, which {heads} heads do not divide")
    if frames % tubelet or side % patch:
        raise BadCheckpoint(
            f"{file} takes pieces of {tubelet} frames and {patch} pixels: they do not divide {frames} frames of {side}"
        )
    _require(shapes, sizes, file)
    return sizes


def encoder_part(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The encoder's tensors, without the prefix that pre-training gives them."""
    prefix = "encoder." if f"encoder.{_FIRST}" in tensors else ""
    return {str(name).removeprefix(prefix): value for name, value in tensors.items() if str(name).startswith(prefix)}


def _require(shapes: Mapping[str, tuple[int, ...]], sizes: VideoMAESizes, file: Path) -> None:
    e, hidden = sizes.hidden_size, sizes.intermediate_size
    block: dict[str, tuple[int, ...]] = {
        "norm1.weight": (e,), "norm1.bias": (e,), "norm2.weight": (e,), "norm2.bias": (e,),
        "attn.qkv.weight": (3 * e, e), "attn.q_bias": (e,), "attn.v_bias": (e,),
        "attn.proj.weight": (e, e), "attn.proj.bias": (e,),
        "mlp.fc1.weight": (hidden, e), "mlp.fc1.bias": (hidden,), "mlp.fc2.weight": (e, hidden), "mlp.fc2.bias": (e,),
    }  # fmt: skip
    wanted = {_FIRST: (e, 3, sizes.tubelet_size, sizes.patch_size, sizes.patch_size), "patch_embed.proj.bias": (e,)}
    for layer in range(sizes.num_hidden_layers):
        wanted |= {f"blocks.{layer}.{name}": shape for name, shape in block.items()}
    wrong = [name for name, shape in wanted.items() if shapes.get(name) != shape]
    if wrong:
        raise BadCheckpoint(f"{file} is no VideoMAE checkpoint: {wrong[0]} is missing or has another shape")
    more = sorted(name for name in shapes if name not in wanted and not _TASK.match(name))
    if more:
        raise BadCheckpoint(f"{file} holds {more[0]}, which no released VideoMAE has")
    tokens = sizes.num_frames // sizes.tubelet_size * (sizes.image_size // sizes.patch_size) ** 2
    positions = shapes.get("pos_embed", (1, tokens, e))
    if positions != (1, tokens, e):
        has = f"{sizes.num_frames} frames of {sizes.image_size} pixels have {tokens}"
        raise BadCheckpoint(f"{file} has positions {positions}, and {has}: frames or image_size is another")


def _convert(file: Path, frames: int, given: Mapping[str, Any], draft: Path) -> None:
    import torch

    from anymal_eval.checkpoints.weights import save_tensors, state_dict

    everything = encoder_part(state_dict(file))
    tensors = {name: value for name, value in everything.items() if isinstance(value, torch.Tensor)}
    sizes = videomae_sizes({name: tuple(value.shape) for name, value in tensors.items()}, file, frames, given)
    if "pos_embed" in tensors and not _is_sines(tensors["pos_embed"]):
        raise BadCheckpoint(f"{file} has learned positions; those of a released VideoMAE are sines")
    pooled = "norm.weight" not in tensors
    made = {
        "embeddings.patch_embeddings.projection.weight": tensors[_FIRST],
        "embeddings.patch_embeddings.projection.bias": tensors["patch_embed.proj.bias"],
    }
    for name, value in tensors.items():
        if found := _BLOCK.match(name):
            made |= _layer(f"encoder.layer.{found[1]}", found[2], value)
    if not pooled:
        made |= {f"layernorm.{end}": tensors[f"norm.{end}"] for end in ("weight", "bias")}
    save_tensors({name: value.clone().contiguous() for name, value in made.items()}, draft / "model.safetensors")
    # The authors' norms have 1e-6, transformers' default is another.
    config = {"model_type": "videomae", "architectures": ["VideoMAEModel"], **asdict(sizes), "layer_norm_eps": 1e-6}
    side = sizes.image_size
    processor = {
        "image_processor_type": "VideoMAEImageProcessor", "do_resize": True, "size": {"shortest_edge": side},
        "do_center_crop": True, "crop_size": {"height": side, "width": side}, "do_rescale": True, "do_normalize": True,
        "image_mean": MEAN, "image_std": STD,
    }  # fmt: skip
    (draft / CONFIG).write_text(json.dumps({**config, "use_mean_pooling": pooled}, indent=2), encoding="utf-8")
    (draft / "preprocessor_config.json").write_text(json.dumps(processor, indent=2), encoding="utf-8")


def _layer(prefix: str, name: str, value: Any) -> dict[str, Any]:
    """A tensor of a layer under transformers' name, or the three of a fused one."""
    inner = f"{prefix}.attention.attention"
    if name == "attn.qkv.weight":
        return {
            f"{inner}.{part}.weight": each for part, each in zip(("query", "key", "value"), value.chunk(3), strict=True)
        }
    if name in ("attn.q_bias", "attn.v_bias"):
        return {f"{inner}.{'query' if name[5] == 'q' else 'value'}.bias": value}
    part, _, end = name.rpartition(".")
    return {f"{prefix}.{_NAMES[part]}.{end}": value}


def _is_sines(positions: Any) -> bool:
    """Whether positions (1, n, e) are those that VideoMAE computes."""
    import torch

    _, count, width = positions.shape
    rate = 10_000.0 ** (-2 * (torch.arange(width) // 2) / width)
    angles = torch.arange(count)[:, None] * rate
    wanted = torch.where(torch.arange(width) % 2 == 0, angles.sin(), angles.cos())
    return bool(torch.allclose(positions[0].float(), wanted, atol=1e-3))
