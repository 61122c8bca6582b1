"""Tells what a folder is that was taken for a checkpoint of a network, and what to give instead."""

from pathlib import Path
from typing import Any

from anymal_eval.anymal.config import preset_names
from anymal_eval.checkpoints.files import read_json
from anymal_eval.errors import BadCheckpoint

CONFIG = "config.json"
ADAPTER_SETTINGS, TRAINING, TRAINED, CHECKPOINT, STEPS = (
    "adapter_config.json", "training.json", "trained.safetensors", "checkpoint", "steps",
)  # fmt: skip
_PREFIX = "checkpoint-"


def what_it_is(folder: Path, content: Any = None) -> str:
    """One line: what is in a folder that is no checkpoint of a network, and what to type instead.

    Args:
        folder: as it was given.
        content: of its ``config.json``, if it has one.
    """
    if not folder.is_dir() and str(folder) in preset_names():
        return (
            f"{folder} is a preset, a network that is not trained: train it (anymal_eval train align {folder} --data "
            "KIND:PATH --preset image|audio|video|imu --out OUT), then give OUT/checkpoint"
        )
    if not folder.is_dir():
        return f"{folder}: there is no such folder"
    for find in (_adapters, _training, _state, _states, _parent, _part):
        found = find(folder)
        if found:
            return f"{folder} {found}"
    if content is None:
        return f"{folder} holds no {CONFIG}: it is no AnyMAL checkpoint"
    if isinstance(content, dict) and isinstance(content.get("model_type"), str):
        named = next((one for one in content.get("architectures") or () if isinstance(one, str)), content["model_type"])
        return (
            f"{folder} is no AnyMAL checkpoint: it is a {named:.80} of transformers; models of that library are "
            f"evaluated with --model hf:{folder}"
        )
    return f"{folder / CONFIG} is no AnyMAL checkpoint"


def _adapters(folder: Path) -> str:
    if not (folder / ADAPTER_SETTINGS).is_file():
        return ""
    if _is_network(folder.parent):
        return f"holds the LoRA adapters of a checkpoint, without its projectors: give {folder.parent}"
    return (
        "holds LoRA adapters alone, without a network's projectors: give the folder that train instruct wrote, with "
        "config.json and projectors.safetensors beside lora/"
    )


def _training(folder: Path) -> str:
    if not (folder / TRAINING).is_file():
        return ""
    if _is_network(folder / CHECKPOINT):
        return f"is the folder of a training: give its network, {folder / CHECKPOINT}"
    if any(_steps(folder / STEPS)):
        return (
            "is the folder of a training that has not finished: anymal_eval checkpoints export "
            f"{folder} --out OUT makes a network of its last saved state; then give OUT"
        )
    return "is the folder of a training that has saved no state yet: wait until it has (--save-every)"


def _state(folder: Path) -> str:
    if not (folder / TRAINED).is_file():
        return ""
    training, step = folder.parent.parent, folder.name.removeprefix(_PREFIX)
    return (
        f"is a saved state of a training: anymal_eval checkpoints export {training} --step {step} --out OUT makes a "
        "network of it; then give OUT"
    )


def _states(folder: Path) -> str:
    steps = _steps(folder)
    if not steps or not (folder.parent / TRAINING).is_file():
        return ""
    return (
        f"holds the saved states of a training: anymal_eval checkpoints export {folder.parent} --step {steps[-1]} "
        "--out OUT makes a network of one; then give OUT"
    )


def _parent(folder: Path) -> str:
    inside = folder / CHECKPOINT
    return f"is no AnyMAL checkpoint, but holds one: give {inside}" if _is_network(inside) else ""


def _part(folder: Path) -> str:
    return f"is a part of a checkpoint: give {folder.parent}" if _is_network(folder.parent) else ""


def _steps(folder: Path) -> list[int]:
    numbers = [each.name.removeprefix(_PREFIX) for each in folder.glob(f"{_PREFIX}*")]
    return sorted(int(number) for number in numbers if number.isdigit())


def _is_network(folder: Path) -> bool:
    file = folder / CONFIG
    if not file.is_file():
        return False
    try:
        content = read_json(file)
    except BadCheckpoint:
        return False
    return isinstance(content, dict) and "network" in content and "format" in content
