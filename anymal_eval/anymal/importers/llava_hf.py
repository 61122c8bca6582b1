"""LLaVA-1.5 as transformers' LlavaForConditionalGeneration (llava-hf/llava-1.5-7b-hf, -13b-hf).

One folder with all parts: ``language_model.model.*``, ``language_model.lm_head.weight``, ``vision_tower.*`` and
``multi_modal_projector.linear_1``, ``linear_2`` in sharded safetensors (the names of the released files stand in
https://github.com/zhangce01/DeGF/issues/2; version 5 of transformers writes the same without ``vision_model.``).
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from anymal_eval.anymal.config import AnyMALConfig, LLMConfig, ModalityConfig
from anymal_eval.anymal.encoders.clip import Options as ClipOptions
from anymal_eval.anymal.importers import Given, Imported, _parts, _vicuna
from anymal_eval.anymal.projectors.mlp import Options as MLPOptions
from anymal_eval.checkpoints.files import read_json
from anymal_eval.checkpoints.headers import check_sizes
from anymal_eval.checkpoints.loading import checkpoint_errors, library
from anymal_eval.errors import BadCheckpoint, WrongUse

LAYOUT = "LLaVA-1.5 in the layout of transformers (llava-hf)"
_PROCESSOR = ("preprocessor_config.json", "processor_config.json")


def is_one(folder: Path) -> bool:
    """Whether a folder has that layout."""
    config = _parts.settings(folder)
    return config.get("model_type") == "llava" and "vision_config" in config


def read(folder: Path, given: Given) -> Imported:
    """The network of such a folder. Its parts are all its own; ``--encoder`` names a CLIP outside instead.

    Raises:
        BadCheckpoint: a file is missing or damaged, or a setting is none of ours.
        WrongUse: a language model is given, though the folder holds the one that was trained.
    """
    if given.llm:
        raise WrongUse(f"{folder} holds the language model that was trained: leave --llm out")
    raw = read_json(folder / _parts.CONFIG)
    check_sizes(raw, folder / _parts.CONFIG)
    with checkpoint_errors(f"{folder / _parts.CONFIG} is no configuration that transformers reads"):
        config = library().AutoConfig.from_pretrained(folder)
    _check(config, folder / _parts.CONFIG)
    files = _parts.weights(folder)
    if not files:
        raise BadCheckpoint(f"{folder} holds no model.safetensors, its weights")
    _parts.require(folder, *_parts.TOKENIZER, what="its tokenizer")
    own = {"llm": partial(_write_llm, folder, files, config.text_config.to_dict())}
    if not given.encoder:
        _parts.require(folder, *_PROCESSOR, what="how its pictures are resized")
        own["image"] = partial(_write_encoder, folder, files, config.vision_config.to_dict())
    projector = _parts.tensors(files, _projector)
    _check_projector(projector, config, folder)
    encoder = ClipOptions(
        kind="clip",
        path=given.encoder,
        layer=config.vision_feature_layer,
        class_token=config.vision_feature_select_strategy == "full",
        pad=_pads(folder),
    )
    modality = ModalityConfig(
        encoder=encoder, projector=MLPOptions(kind="mlp", bias=bool(config.multimodal_projector_bias))
    )
    llm = LLMConfig(path="", template=_vicuna.TEMPLATE)
    return Imported(config=AnyMALConfig(llm=llm, modalities={"image": modality}), projectors=projector, own=own)


def _pads(folder: Path) -> bool:
    """Whether pictures are padded to squares: transformers 5 keeps that in ``processor_config.json``."""
    older, newer = (_parts.settings(folder, name) for name in _PROCESSOR)
    inner = newer.get("image_processor")
    return bool({**(inner if isinstance(inner, dict) else {}), **older}.get("do_pad"))


def _check(config: Any, file: Path) -> None:
    kind = config.vision_config.model_type
    if kind != "clip_vision_model":
        raise BadCheckpoint(f"{file}: its encoder is {kind}; an importer of LLaVA reads CLIP alone")
    if config.projector_hidden_act != "gelu":
        raise BadCheckpoint(f"{file}: projector_hidden_act is {config.projector_hidden_act}; ours is gelu")
    if not isinstance(config.vision_feature_layer, int):
        raise BadCheckpoint(f"{file}: vision_feature_layer names several layers; the encoder clip gives one")


def _check_projector(projector: Mapping[str, Any], config: Any, folder: Path) -> None:
    wide, narrow = config.text_config.hidden_size, config.vision_config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {"image.first.weight": (wide, narrow), "image.second.weight": (wide, wide)}
    if config.multimodal_projector_bias:
        shapes |= {"image.first.bias": (wide,), "image.second.bias": (wide,)}
    for name, shape in shapes.items():
        if name not in projector or tuple(projector[name].shape) != shape:
            layer = f"linear_{1 if 'first' in name else 2}.{name.rpartition('.')[2]}"
            raise BadCheckpoint(f"{folder}: multi_modal_projector.{layer} is missing or is not of shape {shape}")


def _projector(name: str) -> str | None:
    found = re.fullmatch(r"(?:model\.)?multi_modal_projector\.linear_([12])\.(weight|bias)", name)
    return f"image.{'first' if found[1] == '1' else 'second'}.{found[2]}" if found else None


def _llm(name: str) -> str | None:
    if name in ("lm_head.weight", "language_model.lm_head.weight"):
        return "lm_head.weight"
    found = re.fullmatch(r"(?:language_model\.model|model\.language_model)\.(.+)", name)
    return f"model.{found[1]}" if found else None


def _encoder(name: str) -> str | None:
    found = re.fullmatch(r"(?:model\.)?vision_tower\.(?:vision_model\.)?(.+)", name)
    return f"vision_model.{found[1]}" if found else None


def _write_llm(folder: Path, files: list[Path], config: Mapping[str, Any], target: Path) -> None:
    _parts.write_weights(files, _llm, target)
    _parts.write_config(config, target)
    _parts.copy(folder, _parts.BESIDE, target)


def _write_encoder(folder: Path, files: list[Path], config: Mapping[str, Any], target: Path) -> None:
    _parts.write_weights(files, _encoder, target)
    _parts.write_config(config, target)
    _parts.copy(folder, _PROCESSOR, target)
