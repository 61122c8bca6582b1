"""The members of a tar file with their offsets; damaged and truncated parts are reported."""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from anymal_eval.errors import BadData, MissingData, reason
from anymal_eval.training.sources._remote_shard import cut_short, is_address
from anymal_eval.training.sources._shard_file import ShardFile, forget, open_shard

Report = Callable[[str], None]
BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One file of a shard: its bytes, and the offset of the first of them."""

    name: str
    offset: int
    content: bytes


def members(path: Path | str, report: Report, name: str = "") -> Iterator[Member]:
    """The files of a shard in their order, one in memory at a time. ``name`` is its name in messages.

    A damaged header is reported and the next intact one searched for; ``tarfile`` alone would end there silently. A
    truncated end is reported too; of a shard that was fetched it is an error, since the rest exists elsewhere.

    Raises:
        MissingData: the shard cannot be opened, or cannot be fetched whole.
    """
    shard = name or str(path)

    def lost(line: str) -> None:
        if isinstance(path, str) and is_address(path):
            forget(path)
            raise cut_short(path, line)
        report(line)

    try:
        opened = open_shard(path)
        with tarfile.open(fileobj=cast(BinaryIO, opened), mode="r:", ignore_zeros=True) as archive:
            yield from _walk(archive, opened, shard, report, lost)
    except (tarfile.TarError, ValueError, OverflowError) as error:
        lost(f"{shard}: no plain tar file: {reason(error)}")
    except BadData as error:
        report(str(error))
    except OSError as error:
        raise MissingData(f"{shard}: {reason(error)}") from error


def _walk(archive: tarfile.TarFile, opened: ShardFile, shard: str, report: Report, lost: Report) -> Iterator[Member]:
    """``lost`` takes what tells that the end of the shard is missing; ``report`` all else."""
    end, name = 0, ""
    while (member := _next(archive, opened.size)) is not None:
        archive.members = []  # type: ignore[attr-defined]  # else it keeps the headers of the whole shard
        if member.offset > end and not _is_intact(archive, end):
            report(f"{shard}: after {name or 'its start'}: a damaged header; what it stood for is lost")
        name, end = member.name, member.offset_data + -(-member.size // BLOCK) * BLOCK
        if not member.isreg() or name.rpartition("/")[2].startswith("__"):
            continue
        content = opened.at(member.offset_data, member.size)
        if len(content) < member.size:
            lost(f"{shard}: in {name}: unexpected end of data; the rest is lost")
            return
        if member.issparse():
            report(f"{shard}: in {name}: a sparse file, which has no bytes of its own in place; it is left out")
            continue
        yield Member(name=name, offset=member.offset_data, content=content)
    if not name:
        no_end = opened.at(0, BLOCK) != bytes(BLOCK)  # an archive of nothing has zeros, a page of a server has not
        (lost if no_end else report)(f"{shard}: no plain tar file with members")
    elif not _is_intact(archive, end):
        lost(f"{shard}: after {name}: it does not end as tar files do; was it cut off?")


def _next(archive: tarfile.TarFile, size: int) -> tarfile.TarInfo | None:
    """The next member with an intact header, also after a two-part header whose second part is damaged.

    ``tarfile`` raises ValueError for numbers in a header that are none, and moves back for a negative size.
    """
    while True:
        before = archive.offset
        try:
            member = archive.next()
        except (tarfile.TarError, ValueError, OverflowError):
            member = None
        else:
            if member is None or (member.size >= 0 and archive.offset > member.offset):
                return member
        archive.offset = (before if member is None else member.offset) + BLOCK
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
