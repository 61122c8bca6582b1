"""Weights that a checkpoint holds as pickles alone, converted to safetensors once, in the user's cache.

Some released encoders (laion/clap-htsat-unfused, openai/clip-vit-large-patch14-336) have only ``pytorch_model.bin``.
The file is read as tensors alone, so that nothing in it can run; a pickle that holds anything else is refused.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from anymal_eval import fingerprint, paths
from anymal_eval.checkpoints.files import SINGLE, pickled_files, settings_files, weight_files
from anymal_eval.errors import BadCheckpoint, WrongUse
from anymal_eval.locks import replacing

_LOG = logging.getLogger(__name__)
SOURCE = "converted.json"  # our mark on a converted folder


def with_safetensors(folder: Path) -> Path:
    """A checkpoint whose weights are safetensors: the folder itself, or its converted copy in the cache.

    A folder with neither safetensors nor ``pytorch_model.bin`` is returned as it is.

    Raises:
        BadCheckpoint: the pickle is damaged, or holds something besides tensors.
        WrongUse: the cache cannot be written.
    """
    pickles = [] if weight_files(folder) else pickled_files(folder)
    if not pickles:
        return folder
    return in_cache(pickles, f"{folder} holds pickles alone", lambda draft: _convert(folder, pickles, draft))


def file_with_safetensors(file: Path) -> Path:
    """The folder with the tensors of one pickle, such as ``imagebind_huge.pth``, in the cache.

    Raises:
        BadCheckpoint: the pickle is damaged, or holds something besides tensors.
        WrongUse: the cache cannot be written.
    """

    def write(draft: Path) -> None:
        from anymal_eval.checkpoints.weights import save_tensors

        save_tensors(pickled_tensors(file), draft / SINGLE)

    return in_cache([file], f"{file} is a pickle", write)


def in_cache(files: Sequence[Path], why: str, write: Callable[[Path], None], settings: str = "") -> Path:
    """The converted copy of files, which is made where the cache lacks it. An interrupted conversion leaves nothing.

    Args:
        files: what is converted.
        why: the reason, for the message.
        write: fills a new folder.
        settings: what the copy depends on besides.

    Raises:
        WrongUse: the cache cannot be written.
    """
    known = fingerprint.remembered("files.jsonl")
    lines = [f"{file.name} {known.of(file, fingerprint.sha256)}" for file in files] + ([settings] if settings else [])
    target = paths.cache() / "converted" / hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]
    if not (target / SOURCE).is_file():
        try:
            with replacing(target, _require_ours) as draft:
                write(draft)
                (draft / SOURCE).write_text(
                    json.dumps({"from": [file.name for file in files]}) + "\n", encoding="utf-8"
                )
        except OSError as error:
            where = f"{target}, where {files[0].parent} is converted to safetensors"
            raise WrongUse(f"{where}: {error.strerror}") from error
        _LOG.warning("%s: converted to safetensors once, in %s", why, target)
    return target


def _require_ours(target: Path) -> None:
    if target.exists() and not (target / SOURCE).is_file() and any(target.iterdir()):
        raise WrongUse(f"{target} holds other files; move them away")


def _convert(folder: Path, pickles: Iterable[Path], draft: Path) -> None:
    from anymal_eval.checkpoints.weights import save_tensors

    places: dict[str, str] = {}
    for file in pickles:
        name = file.name.replace("pytorch_model", "model").removesuffix(".bin") + ".safetensors"
        tensors = pickled_tensors(file)
        save_tensors(tensors, draft / name)
        places |= dict.fromkeys(tensors, name)
    if len(set(places.values())) > 1:
        index = json.dumps({"metadata": {}, "weight_map": places}, indent=2)
        (draft / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    for file in settings_files(folder):
        shutil.copyfile(file, draft / file.name)


def pickled_tensors(file: Path) -> dict[str, Any]:
    """The tensors of a pickle, each with memory of its own, as safetensors wants it.

    Raises:
        BadCheckpoint: the pickle is damaged, or holds something besides tensors.
    """
    import torch

    from anymal_eval.checkpoints.weights import state_dict

    found = state_dict(file)
    seen: set[int] = set()
    tensors = {}
    for name, value in found.items():
        if not isinstance(value, torch.Tensor):
            raise BadCheckpoint(f"{file} cannot be converted: {name!r:.80} is no tensor")
        storage = value.untyped_storage().data_ptr()
        tensors[str(name)] = value.clone().contiguous() if storage in seen else value.contiguous()
        seen.add(storage)
    return tensors
