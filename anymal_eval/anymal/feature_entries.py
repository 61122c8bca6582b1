"""An entry of a feature cache in a file of its own: safetensors, with its key and its SHA-256 in the metadata."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anymal_eval.anymal.shard_files import DTYPES, raw, read_into


def pack(features: Tensor, key: str) -> bytes:
    """The bytes of an entry."""
    from safetensors.torch import save

    plain = features.detach().cpu().contiguous()
    bare: bytes = save({"features": plain})
    # One metadata field: safetensors writes several in no fixed order, and unpack compares bytes.
    entry = json.dumps({"key": key, "sha256": hashlib.sha256(bare).hexdigest()})
    packed: bytes = save({"features": plain}, metadata={"entry": entry})
    return packed


def read(file: Path) -> tuple[Tensor, tuple[int, int, int]]:
    """The bytes of a file as a tensor, and what identifies its content while nobody writes it.

    Raises:
        OSError: it cannot be read.
    """
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        stat = os.fstat(handle)
        content = torch.empty(stat.st_size, dtype=torch.uint8)
        if not read_into(handle, content, 0):
            content = content[:0]  # it became shorter, so it is damaged
        return content, (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    finally:
        os.close(handle)


def unpack(content: Tensor, key: str, *, checked: bool = False) -> Tensor | None:
    """An entry's tensor; None when a single byte of it has changed.

    Args:
        content: the bytes of the file.
        key: of the entry.
        checked: whether its bytes were compared with the checksum before.
    """
    found = _parsed(content)
    if found is not None:
        tensor, data, metadata = found
        if checked:
            return tensor
        about = _about(tensor)
        bare = hashlib.sha256(_header({"features": about}))
        bare.update(raw(data))
        entry = json.dumps({"key": key, "sha256": bare.hexdigest()})
        header = _header({"__metadata__": {"entry": entry}, "features": about})
        if metadata == {"entry": entry} and raw(content[: len(header)]) == header:
            return tensor
    return _repacked(bytes(raw(content)), key)


def whole(file: Path) -> Tensor | None:
    """The tensor of a file, compared with its checksum; None where it is corrupt or gone.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return unpack(read(file)[0], file.stem)
    except FileNotFoundError:
        return None


def is_foreign(file: Path, ours: str = "features", field: str = "entry") -> bool:
    """Whether a file is whole and clearly of another program; a damaged entry of this cache never is.

    One damaged byte cannot change both the name of the tensor and that of the metadata.

    Args:
        file: a safetensors file.
        ours: a tensor that files of this cache have; of a shard, the format.
        field: in their metadata.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            return ours not in {*opened.keys(), metadata.get("format")} and field not in metadata
    except (SafetensorError, OSError, ValueError, RuntimeError, OverflowError):
        return False


def _parsed(content: Tensor) -> tuple[Tensor, Tensor, Any] | None:
    """The tensor, its bytes and the metadata of a file with one tensor; None where it is none."""
    size = int.from_bytes(raw(content[:8]), "little")
    if len(content) < 8 or size > len(content) - 8:
        return None
    try:
        read = json.loads(bytes(raw(content[8 : 8 + size])))
        about = read["features"]
        dtype, shape = DTYPES[about["dtype"]], list(map(int, about["shape"]))
        data = content[8 + size :]
        if about["data_offsets"] != [0, len(data)]:
            return None
        return data.view(dtype).reshape(shape), data, read["__metadata__"]
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError, OverflowError):
        return None


def _about(tensor: Tensor) -> dict[str, Any]:
    names = {dtype: name for name, dtype in DTYPES.items()}
    return {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [0, tensor.nbytes]}


def _header(entries: dict[str, Any]) -> bytes:
    """As safetensors writes it; where it does not, files are compared by packing them again."""
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _repacked(content: bytes, key: str) -> Tensor | None:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensor: Tensor = load(content)["features"]
    except (SafetensorError, KeyError, ValueError, RuntimeError, OverflowError):
        return None
    # Packing it again gives the same bytes, checksum included, only if none has changed.
    return tensor if pack(tensor, key) == content else None
