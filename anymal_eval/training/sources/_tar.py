"""The members of a tar file with their offsets; damaged and truncated parts are reported."""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from anymal_eval.errors import MissingData
from anymal_eval.media.location import reason

Report = Callable[[str], None]
BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One file of a shard: its bytes, and the offset of the first of them."""

    name: str
    offset: int
    content: bytes


def members(shard: Path, report: Report) -> Iterator[Member]:
    """The files of a shard in their order, one in memory at a time.

    A damaged header is reported and the next intact one searched for; ``tarfile`` alone would end there silently. A
    truncated end is reported too.

    Raises:
        MissingData: the shard cannot be opened.
    """
    try:
        with tarfile.open(shard, "r:", ignore_zeros=True) as archive:
            yield from _walk(archive, shard, report)
    except tarfile.TarError as error:
        report(f"{shard}: no plain tar file: {reason(error)}")
    except OSError as error:
        raise MissingData(f"{shard}: {reason(error)}") from error


def _walk(archive: tarfile.TarFile, shard: Path, report: Report) -> Iterator[Member]:
    end, name, size = 0, "", shard.stat().st_size
    while (member := _next(archive, size)) is not None:
        archive.members = []  # type: ignore[attr-defined]  # else it keeps the headers of the whole shard
        if member.offset > end and not _is_intact(archive, end):
            report(f"{shard}: after {name or 'its start'}: a damaged header; what it stood for is lost")
        name, end = member.name, member.offset_data + -(-member.size // BLOCK) * BLOCK
        if not member.isreg() or name.rpartition("/")[2].startswith("__"):
            continue
        try:
            file = archive.extractfile(member)
            content = file.read() if file is not None else b""
        except (tarfile.TarError, OSError) as error:
            report(f"{shard}: in {name}: {reason(error)}; the rest is lost")
            return
        yield Member(name=name, offset=member.offset_data, content=content)
    if not name:
        report(f"{shard}: no plain tar file with members")
    elif not _is_intact(archive, end):
        report(f"{shard}: after {name}: it does not end as tar files do; was it cut off?")


def _next(archive: tarfile.TarFile, size: int) -> tarfile.TarInfo | None:
    """The next member with an intact header, also after a two-part header whose second part is damaged."""
    while True:
        try:
            return archive.next()
        except tarfile.ReadError:
            archive.offset += BLOCK
            if archive.offset >= size:
                return None


def _is_intact(archive: tarfile.TarFile, end: int) -> bool:
    """Whether the block after a member is intact: the zeros of an end, or a header for all that follows."""
    stream = archive.fileobj
    if stream is None:
        return False
    stream.seek(end)
    block = stream.read(BLOCK)
    try:
        return block == bytes(BLOCK) or tarfile.TarInfo.frombuf(block, "utf-8", "replace").type == tarfile.XGLTYPE
    except tarfile.TarError:
        return False
