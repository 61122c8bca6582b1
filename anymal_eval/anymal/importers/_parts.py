"""Parts of other networks' checkpoints, written as folders that transformers and peft read."""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from anymal_eval.anymal import lora
from anymal_eval.checkpoints.conversion import pickled_tensors
from anymal_eval.checkpoints.files import INDEX, SINGLE, loaded_files, read_json
from anymal_eval.checkpoints.headers import read_header
from anymal_eval.checkpoints.weights import save_tensors
from anymal_eval.errors import BadCheckpoint, WrongUse

Rename = Callable[[str], str | None]
CONFIG = "config.json"
TOKENIZER = ("tokenizer.json", "tokenizer.model")
BESIDE = (*TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "generation_config.json")


def settings(folder: Path, name: str = CONFIG) -> Mapping[str, Any]:
    """A JSON object of a folder; an empty one where there is no such file, or it holds something else."""
    try:
        content = read_json(folder / name) if (folder / name).is_file() else {}
    except BadCheckpoint:
        return {}
    return content if isinstance(content, dict) else {}


def weights(folder: Path) -> list[Path]:
    """The files of a folder's weights: safetensors, or else ``pytorch_model.bin``.

    Raises:
        BadCheckpoint: an index names a file that is not in the folder.
    """
    return loaded_files(folder, pickled=True)


def require(folder: Path, *names: str, what: str) -> None:
    """Refuse a folder that holds none of some files.

    Raises:
        BadCheckpoint: names them.
    """
    if not any((folder / name).is_file() for name in names):
        raise BadCheckpoint(f"{folder} holds no {' or '.join(names)}, {what}")


def require_given(path: str, option: str, what: str) -> str:
    """The path of a part that a folder does not hold.

    Raises:
        WrongUse: it is not given.
    """
    if not path:
        raise WrongUse(f"{what}: give it with {option} PATH")
    return path


def tensors(files: Iterable[Path], rename: Rename) -> dict[str, Tensor]:
    """The tensors of files to which ``rename`` gives a name, under that name.

    Raises:
        BadCheckpoint: a file is damaged, or holds more than tensors.
    """
    found: dict[str, Tensor] = {}
    for file in files:
        if file.suffix == ".safetensors":
            read_header(file)
            with safe_open(file, "pt") as opened:
                names = {name: rename(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
                found |= {new: opened.get_tensor(name) for name, new in names.items() if new}
        else:
            found |= {new: value for name, value in pickled_tensors(file).items() if (new := rename(name))}
    return found


def write_weights(files: Sequence[Path], rename: Rename, target: Path) -> None:
    """Write the tensors that :func:`tensors` finds as safetensors, file by file.

    Raises:
        BadCheckpoint: a file is damaged, or none holds such a tensor.
        OSError: no space.
    """
    target.mkdir(parents=True, exist_ok=True)
    places: dict[str, str] = {}
    for number, file in enumerate(files, start=1):
        part = tensors([file], rename)
        name = SINGLE if len(files) == 1 else f"model-{number:05d}-of-{len(files):05d}.safetensors"
        if part:
            save_tensors(part, target / name)
            places |= dict.fromkeys(part, name)
    if not places:
        raise BadCheckpoint(f"{files[0].parent} holds no weights of its {target.name}")
    if len(files) > 1:
        index = json.dumps({"metadata": {}, "weight_map": places}, indent=2)
        (target / INDEX).write_text(index, encoding="utf-8")


def write_config(config: Mapping[str, Any], target: Path) -> None:
    """Write ``config.json``."""
    target.mkdir(parents=True, exist_ok=True)
    (target / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def copy(folder: Path, names: Iterable[str], target: Path) -> None:
    """Copy the files of some names that are there."""
    for name in names:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)


def write_adapters(found: Mapping[str, Tensor], config: Mapping[str, Any], target: Path) -> None:
    """Write a PEFT folder.

    Args:
        found: tensors with the names of PEFT's files, or of its modules (``lora_A.default.weight``).
        config: of ``adapter_config.json``.
        target: the folder.
    """
    target.mkdir(parents=True)
    renamed = {re.sub(r"\.(lora_[AB])\.default\.", r".\1.", name): value for name, value in found.items()}
    save_tensors({name: value.contiguous() for name, value in renamed.items()}, target / lora.WEIGHTS)
    content = json.dumps({**config, "base_model_name_or_path": None}, indent=2, sort_keys=True)
    (target / lora.SETTINGS).write_text(content + "\n", encoding="utf-8")
