"""Fingerprints of weights. Those of large files are remembered on disk, so that they are hashed once."""

import hashlib
import json
import mmap
from pathlib import Path

from anymal_eval import fingerprint as names
from anymal_eval.errors import BadCheckpoint


def fingerprint(folder: Path) -> str:
    """What the weights of a folder are, whatever their sharding: a SHA-256 over names, types, shapes and bytes.

    Raises:
        BadCheckpoint: the folder holds no readable safetensors file.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BadCheckpoint(f"{folder} holds no .safetensors file; other formats are not read, convert it first")
    try:
        found = names.remembered("tensors.jsonl").of_all(files, _tensor_digests)
    except OSError as error:  # a broken link in the hub's cache, or a broken disk
        raise BadCheckpoint(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    lines = sorted(line for text in found for line in json.loads(text))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _tensor_digests(file: Path) -> str:
    """A JSON list with one line for each tensor of a safetensors file."""
    if not file.stat().st_size:
        raise BadCheckpoint(f"{file} is empty")
    with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            start = 8 + int.from_bytes(data[:8], "little")
            header = json.loads(data[8:start])
        except (ValueError, OverflowError) as error:
            raise BadCheckpoint(f"{file} is no safetensors file, or was cut off") from error
        lines = []
        with memoryview(data) as view:
            for name, facts in header.items():
                if name == "__metadata__":
                    continue
                begin, end = facts["data_offsets"]
                if start + end > len(data):
                    raise BadCheckpoint(f"{file} was cut off: {name} ends at byte {start + end} of {len(data)}")
                with view[start + begin : start + end] as content:
                    digest = hashlib.sha256(content).hexdigest()
                lines.append(f"{name} {facts['dtype']} {facts['shape']} {digest}")
        return json.dumps(lines)
