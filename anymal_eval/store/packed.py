"""Compressed files of accepted runs. Each carries the SHA-256 of its own bytes, verified before anything is inflated.

It stands in the comment of the gzip header, so that every gzip reader reads the file. Without it a flipped bit that
the decoder ignores would go unseen, and the digest of the content could only be compared after inflating.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path

from anymal_eval.errors import BadData

_BLOCK = 1 << 20
_START, _COMMENT = b"\x1f\x8b\x08", b"\x10"  # deflate; the header holds a comment
# No time, best compression, and the systems that Python's gzip module names: the same content gives the same bytes.
_FACTS = (b"\0\0\0\0\x02\x03", b"\0\0\0\0\x02\xff")


def pack(content: bytes) -> bytes:
    """Compress; the same content gives the same bytes."""
    plain = gzip.compress(content, 9, mtime=0)
    digest = hashlib.sha256(plain[10:]).hexdigest().encode()
    return _START + _COMMENT + plain[4:10] + digest + b"\0" + plain[10:]


def inflated(file: Path, most: int) -> Iterator[bytes]:
    """The content of a file of :func:`pack`, or of an earlier version's without a digest, in blocks.

    Args:
        file: the file. It declares its size at its end; one that declares more than ``most`` is not inflated.
        most: the largest content, in bytes. Inflating stops beyond it.

    Raises:
        BadData: it is damaged, or holds more than ``most``.
    """
    _verify(file)
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - 4))
        declared = int.from_bytes(stream.read(4), "little")
    size = 0
    try:
        if declared <= most:
            with gzip.open(file) as unpacked:
                while block := unpacked.read(_BLOCK):
                    size += len(block)
                    if size > most:
                        break
                    yield block
    except (OSError, EOFError, zlib.error) as error:
        raise BadData(f"{file}: {error}; is the file whole?") from None
    if max(declared, size) > most:
        raise BadData(
            f"{file}: it declares or holds more than {most:,} bytes, the most for its run; is the file whole?"
        )


def _verify(file: Path) -> None:
    with file.open("rb") as stream:
        start, flags, facts = stream.read(3), stream.read(1), stream.read(6)
        whole = start == _START and facts in _FACTS and flags in (b"\0", _COMMENT)
        if whole and flags == _COMMENT:
            comment, found = stream.read(65), hashlib.sha256()
            while block := stream.read(_BLOCK):
                found.update(block)
            whole = comment == found.hexdigest().encode() + b"\0"
    if not whole:
        raise BadData(f"{file}: its checksum differs; is the file whole? restore it, or accept the run again")
