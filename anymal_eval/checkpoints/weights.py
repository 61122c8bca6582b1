"""Files of weights: their fingerprints and their tensors.

Digests of large files are remembered on disk, so that each is hashed once.
"""

import argparse
import errno
import hashlib
import json
import mmap
import os
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from anymal_eval import fingerprint as names
from anymal_eval.checkpoints.files import reason, weight_files
from anymal_eval.checkpoints.headers import read_header
from anymal_eval.errors import BadCheckpoint

# What torch's reader of pickles raises on damaged ones, besides its own error.
_DAMAGED = (
    EOFError, RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError,
    OverflowError, MemoryError, struct.error,
)  # fmt: skip


def fingerprint(folder: Path) -> str:
    """What the weights of a folder are, whatever their sharding: a SHA-256 over names, types, shapes and bytes.

    Raises:
        BadCheckpoint: the folder holds no readable safetensors file.
    """
    files = weight_files(folder)
    if not files:
        raise BadCheckpoint(f"{folder} holds no .safetensors file; other formats are not read, convert it first")
    try:
        found = names.remembered("tensors.jsonl").of_all(files, _tensor_digests)
    except OSError as error:  # a broken link in the hub's cache, or a broken disk
        raise BadCheckpoint(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    lines = sorted(line for text in found for line in json.loads(text))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_tensors(file: Path) -> dict[str, Any]:
    """The tensors of a safetensors file, or of one of torch that holds nothing else, which is mapped where it can be.

    Raises:
        BadCheckpoint: it is missing or damaged, or holds something else.
    """
    if not file.exists():
        raise BadCheckpoint(f"{file}: no such file")
    try:
        if file.suffix == ".safetensors":
            return dict(load_file(file))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on pickle protocols: what matters is raised
            # Files of torch before 1.6 are no zip archives and cannot be mapped.
            with torch.serialization.safe_globals([argparse.Namespace]):  # a trainer's options: names and values
                return dict(torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)))
    except SafetensorError as error:
        raise BadCheckpoint(f"{file} is no safetensors file, or was cut off: {error}") from error
    except pickle.UnpicklingError:  # torch's own text recommends to run the code in it
        raise BadCheckpoint(
            f"{file} cannot be read as tensors alone: it is damaged, or holds more than tensors, which could run code"
        ) from None
    except _DAMAGED as error:
        raise BadCheckpoint(f"{file} cannot be read as tensors alone: {reason(error)}") from error


def state_dict(file: Path) -> dict[str, Any]:
    """The tensors of a file, without what a trainer wraps them in.

    Raises:
        BadCheckpoint: it is missing or damaged, or holds something else.
    """
    content = read_tensors(file)
    inner = content.get("state_dict", content)
    if not isinstance(inner, Mapping):
        raise BadCheckpoint(f"{file}: its state_dict holds no names of tensors")
    wrapped = (inner[name] for name in ("module", "model") if isinstance(inner.get(name), Mapping))
    return dict(next(wrapped, inner))


def save_tensors(tensors: Mapping[str, Any], file: Path) -> None:
    """Write a safetensors file as transformers writes it.

    Raises:
        OSError: no space, or no right to write.
    """
    try:
        save_file(dict(tensors), file, metadata={"format": "pt"})
    except SafetensorError as error:  # safetensors wraps the system's errors in its own
        found = re.search(r"(?:os error|code:) (\d+)", str(error))
        code = int(found[1]) if found else errno.EIO
        raise OSError(code, os.strerror(code), str(file)) from error


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a file's tensors, from its header alone.

    Raises:
        BadCheckpoint: it is missing or damaged, or holds something else.
    """
    if file.suffix == ".safetensors":
        return {name: facts.shape for name, facts in read_header(file).items()}
    found = state_dict(file)
    return {str(name): tuple(value.shape) for name, value in found.items() if isinstance(value, torch.Tensor)}


def read_folder(folder: Path, prefix: str = "") -> dict[str, Any]:
    """The tensors of a folder's safetensors files, however they are sharded.

    Args:
        folder: the checkpoint.
        prefix: of the names of those that are read; it is removed.

    Raises:
        BadCheckpoint: it holds no such file, or a damaged one.
    """
    files = weight_files(folder)
    if not files:
        raise BadCheckpoint(f"{folder} holds no .safetensors file")
    found: dict[str, Any] = {}
    for file in files:
        try:
            with safe_open(file, "pt") as opened:
                names_here = [name for name in opened.keys() if name.startswith(prefix)]  # noqa: SIM118 - no mapping
                found |= {name.removeprefix(prefix): opened.get_tensor(name) for name in names_here}
        except SafetensorError as error:
            raise BadCheckpoint(f"{file} is no safetensors file, or was cut off: {error}") from error
    return found


def fill_module(module: nn.Module, tensors: Mapping[str, Any], file: Path) -> None:
    """Load a module's weights, every one of them and no others.

    Raises:
        BadCheckpoint: the names or shapes differ.
    """
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise BadCheckpoint(f"{file} does not fit this network: {' '.join(str(error).split())}") from error


def _tensor_digests(file: Path) -> str:
    """A JSON list with one line for each tensor of a safetensors file."""
    header = read_header(file)
    with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        lines = []
        with memoryview(data) as view:
            for name, facts in header.items():
                with view[facts.begin : facts.end] as content:
                    digest = hashlib.sha256(content).hexdigest()
                lines.append(f"{name} {facts.dtype} {list(facts.shape)} {digest}")
        return json.dumps(lines)
