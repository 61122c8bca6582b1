"""Arrays of a ``statistics.npz``, whose declared sizes are compared with what a run may hold before any is inflated."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

from anymal_eval.errors import BadData

if TYPE_CHECKING:
    from anymal_eval.metrics import Floats

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others are inflated whole, whatever they declare
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError, SyntaxError)


def read_arrays(content: bytes, where: str, most: int) -> dict[str, Floats]:
    """The arrays by name, each (n, k) of float64.

    Args:
        content: of the file, as ``numpy.savez_compressed`` writes it.
        where: the file, for messages.
        most: the largest size of all arrays together, in bytes.

    Raises:
        BadData: it is no such file, holds anything but numbers, declares more than ``most``, or more or less than it
            holds.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            declared = sum(member.file_size for member in members)
            if declared > most:
                raise BadData(f"{where}: it declares {declared:,} bytes of arrays; a run of its size holds {most:,}")
            if any(member.compress_type not in _METHODS for member in members):
                raise BadData(f"{where}: it is compressed in a way that numpy does not write")
            return {member.filename.removesuffix(".npy"): _array(_member(archive, member)) for member in members}
    except _BROKEN as error:
        raise BadData(f"{where}: {str(error) or type(error).__name__}; is the file whole?") from None


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    # With a size, no more than that is inflated; then the CRC-32 is compared. Without one, everything is.
    with archive.open(member) as stream:
        return stream.read(member.file_size + 1)


def _array(content: bytes) -> Floats:
    """One array. Its shape must account for every byte.

    Raises:
        ValueError: it does not.
    """
    import numpy as np
    from numpy.lib import format as npy

    stream = io.BytesIO(content)
    version = npy.read_magic(stream)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"an array in version {version} of numpy's format")
    shape, by_column, dtype = read(stream)
    if dtype.kind not in "fiub" or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise ValueError(f"an array of {shape} {dtype} in {len(content):,} bytes")
    flat = np.frombuffer(content, dtype=dtype, offset=stream.tell())
    array: Floats = flat.reshape(shape, order="F" if by_column else "C").copy()
    return array
