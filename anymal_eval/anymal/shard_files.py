"""The bytes of a shard's entries: copied by ``pread``, or views of the mapped file."""

import contextlib
import os
import zlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def _fastest() -> Callable[[memoryview], int]:
    """The same CRC-32 at the speed of memory, five times as fast as zlib's, where its library is installed."""
    try:
        found: Callable[[memoryview], int] = import_module("isal.isal_zlib").crc32
    except ImportError:
        return zlib.crc32
    return found


_CRC32 = _fastest()


class OpenShard:
    """A shard that is open until nothing reads it: a handle that was closed too early could be another file's."""

    _handle = -1  # where it cannot be opened

    def __init__(self, file: Path, *, mapped: bool = False) -> None:
        """``mapped``: entries are views, which keep the mapping and not the handle."""
        self._handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._whole: Tensor | None = None
        size = os.fstat(self._handle).st_size
        if mapped and size:
            # By torch, whose mapping keeps no handle: views of thousands of shards would use them up. A system that
            # cannot map it leaves copies.
            with contextlib.suppress(RuntimeError):
                name = f"/dev/fd/{self._handle}"
                self._whole = torch.from_file(name, shared=False, size=size, dtype=torch.uint8)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # at its end Python has dropped ``os``
        if self._handle >= 0:
            close(self._handle)

    def read(self, start: int, size: int, dtype: str, shape: tuple[int, ...]) -> Tensor | None:
        """An entry; None where the file ends before.

        Raises:
            OSError: it cannot be read.
        """
        if self._whole is not None and start % DTYPES[dtype].itemsize == 0:
            content = self._whole[start : start + size]
            if len(content) < size:
                return None
        else:
            content = torch.empty(size, dtype=torch.uint8)
            if not read_into(self._handle, content, start):
                return None
        return content.view(DTYPES[dtype]).reshape(shape)


def is_view(tensor: Tensor) -> bool:
    """Whether a tensor is a part of a larger storage, such as a mapped shard, and takes no memory of its own."""
    return tensor.untyped_storage().nbytes() > tensor.nbytes


def read_into(handle: int, content: Tensor, start: int) -> bool:
    """Fill a tensor of bytes from a file; whether the file has so many."""
    rest = content.numpy().data
    while rest:
        count = os.preadv(handle, [rest], start)
        if not count:
            return False
        rest, start = rest[count:], start + count
    return True


def raw(tensor: Tensor) -> memoryview:
    """The bytes of a tensor in the CPU's memory."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def checksum(tensor: Tensor) -> int:
    """CRC-32 of the bytes of a tensor."""
    return _CRC32(raw(tensor))
