"""LLaVA-1.5 in its authors' layouts (haotian-liu/LLaVA; settings in ``config.json`` as ``mm_*``).

Three kinds of folder, which differ in their files:

whole      ``pytorch_model*.bin`` or safetensors: the language model with ``model.mm_projector.0`` and ``.2``, perhaps a
           frozen copy of the encoder (github.com/haotian-liu/LLaVA/issues/672, 673), which is not read
projector  ``mm_projector.bin`` alone, after pretraining (``llava-v1.5-mlp2x-336px-pretrain-*``); needs ``--llm``
LoRA       ``adapter_config.json``, ``adapter_model.*`` and ``non_lora_trainables.bin``; needs ``--llm``

The encoder is the CLIP that ``mm_vision_tower`` names. Pictures are filled up to squares where ``image_aspect_ratio``
is ``pad``.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from anymal_eval.anymal import lora
from anymal_eval.anymal.config import AnyMALConfig, LLMConfig, ModalityConfig
from anymal_eval.anymal.encoders.clip import Options as ClipOptions
from anymal_eval.anymal.importers import Given, Imported, _parts, _vicuna
from anymal_eval.anymal.projectors.mlp import Options as MLPOptions
from anymal_eval.checkpoints.files import read_json
from anymal_eval.errors import BadCheckpoint, WrongUse

LAYOUT = "LLaVA-1.5 in its authors' layout (mm_projector.bin or a whole folder)"
PROJECTOR, TRAINED = "mm_projector.bin", "non_lora_trainables.bin"
_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
_NAMES = [f"image.{layer}.{kind}" for layer in ("first", "second") for kind in ("weight", "bias")]


def is_one(folder: Path) -> bool:
    """Whether a folder has one of these layouts."""
    return (folder / PROJECTOR).is_file() or "mm_vision_tower" in _parts.settings(folder)


def read(folder: Path, given: Given) -> Imported:
    """The network of such a folder.

    Raises:
        BadCheckpoint: a file is missing or damaged, or a setting is none of ours.
        WrongUse: the folder holds no language model and none is given, or both.
    """
    _parts.require(folder, _parts.CONFIG, what="which names its encoder and its settings")
    config = read_json(folder / _parts.CONFIG)
    _check(config, folder / _parts.CONFIG)
    adapters = (folder / lora.SETTINGS).is_file()
    files = [] if adapters else _parts.weights(folder)
    own = {}
    if files:
        if given.llm:
            raise WrongUse(f"{folder} holds the language model that was trained: leave --llm out")
        _parts.require(folder, *_parts.TOKENIZER, what="its tokenizer")
        own["llm"] = partial(_write_llm, folder, files, _llm_config(config))
    else:
        _parts.require_given(given.llm, "--llm", f"{folder} holds no language model, only what was trained over one")
    encoder = ClipOptions(
        kind="clip",
        path=given.encoder or str(config["mm_vision_tower"]),
        layer=config.get("mm_vision_select_layer", -2),
        class_token=config.get("mm_vision_select_feature") == "cls_patch",
        pad=config.get("image_aspect_ratio") == "pad",
    )
    return Imported(
        config=AnyMALConfig(
            llm=LLMConfig(path=given.llm, template=_vicuna.TEMPLATE),
            modalities={"image": ModalityConfig(encoder=encoder, projector=MLPOptions(kind="mlp"))},
        ),
        projectors=_read_projector(folder, files, config),
        own=own,
        adapters=partial(_write_adapters, folder) if adapters else None,
    )


def _check(config: Any, file: Path) -> None:
    """Refuse settings that our network has no part for."""
    if not isinstance(config, dict) or not isinstance(config.get("mm_vision_tower"), str):
        raise BadCheckpoint(f"{file} names no mm_vision_tower: it is no configuration of LLaVA-1.5")
    expected: dict[str, tuple[Any, ...]] = {
        "mm_projector_type": ("mlp2x_gelu",),
        "mm_vision_select_feature": ("patch", "cls_patch", None),
        "image_aspect_ratio": ("pad", "square", None),
        "mm_use_im_start_end": (False, None),
        "unfreeze_mm_vision_tower": (False, None),
        "model_type": ("llava", "llava_llama", "llama", None),
    }
    for name, allowed in expected.items():
        if config.get(name) not in allowed:
            known = " or ".join(repr(one) for one in allowed if one is not None)
            raise BadCheckpoint(f"{file}: {name} is {config.get(name)!r:.80}; LLaVA-1.5 has {known}, no other is read")
    if type(config.get("mm_vision_select_layer", -2)) is not int:
        raise BadCheckpoint(f"{file}: mm_vision_select_layer is no whole number")


def _read_projector(folder: Path, files: list[Path], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The four tensors, from whichever file holds them."""
    alone = [folder / name for name in (PROJECTOR, TRAINED) if (folder / name).is_file()]
    found = _parts.tensors(files, _projector) or _parts.tensors(alone, _projector)
    where = (files or alone or [folder / PROJECTOR])[0].parent
    if not found:
        raise BadCheckpoint(f"{where} holds no model.mm_projector.*, neither in {PROJECTOR} nor in its weights")
    lacking = next((name for name in _NAMES if name not in found), None)
    if lacking is not None or len(found) != len(_NAMES):
        raise BadCheckpoint(f"{where}: model.mm_projector has the tensors of another projector than mlp2x_gelu")
    wide = config.get("hidden_size")
    if wide is not None and found["image.second.bias"].shape != (wide,):
        raise BadCheckpoint(f"{where}: model.mm_projector is not as wide as the language model, {wide!r:.40}")
    return found


def _projector(name: str) -> str | None:
    found = re.fullmatch(r"(?:base_model\.model\.)?(?:model\.)?mm_projector\.([02])\.(weight|bias)", name)
    if found is None:
        return name if ".mm_projector." in f".{name}" else None
    return f"image.{'first' if found[1] == '0' else 'second'}.{found[2]}"


def _llm(name: str) -> str | None:
    outside = ("model.mm_projector.", "model.vision_tower.", "model.image_newline")
    return None if name.startswith(outside) else name


def _llm_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of LLaMA among LLaVA's."""
    prefixes = ("mm_", "tune_mm", "freeze_mm", "unfreeze_mm", "use_mm", "image_", "tokenizer_", "_name", "auto_map")
    own = {name: value for name, value in config.items() if not name.startswith(prefixes)}
    return {**own, "model_type": "llama", "architectures": ["LlamaForCausalLM"]}


def _write_llm(folder: Path, files: list[Path], config: Mapping[str, Any], target: Path) -> None:
    _parts.write_weights(files, _llm, target)
    _parts.write_config(config, target)
    _parts.copy(folder, _parts.BESIDE, target)


def _write_adapters(folder: Path, target: Path) -> None:
    file = next((folder / name for name in _ADAPTERS if (folder / name).is_file()), None)
    if file is None:
        raise BadCheckpoint(f"{folder} holds no {' or '.join(_ADAPTERS)}, its adapters")
    _parts.write_adapters(_parts.tensors([file], lambda name: name), read_json(folder / lora.SETTINGS), target)
