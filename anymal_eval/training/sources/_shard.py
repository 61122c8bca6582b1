"""The members of a tar file, with where they lie in it, and a word for whatever is damaged or cut off."""

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
    """One file of a shard: its bytes, and the place of the first of them."""

    name: str
    offset: int
    content: bytes


def members(shard: Path, report: Report) -> Iterator[Member]:
    """The files of a shard in their order; one of them is in memory at a time.

    A damaged header is reported and the next whole one searched for, where ``tarfile`` on its own would end as if
    the shard did. So is an end that is cut off.

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
        archive.members = []  # type: ignore[attr-defined]  # or the headers of the whole shard would be kept
        if member.offset > end and not _goes_on(archive, end):
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
    elif not _goes_on(archive, end):
        report(f"{shard}: after {name}: it does not end as tar files do; was it cut off?")


def _next(archive: tarfile.TarFile, size: int) -> tarfile.TarInfo | None:
    """The next member whose header is whole, also behind a header of two parts of which the second is damaged."""
    while True:
        try:
            return archive.next()
        except tarfile.ReadError:
            archive.offset += BLOCK
            if archive.offset >= size:
                return None


def _goes_on(archive: tarfile.TarFile, end: int) -> bool:
    """Whether what stands where a member ended is no damage: the zeros of an end, or a header for all that follows."""
    stream = archive.fileobj
    if stream is None:
        return False
    stream.seek(end)
    block = stream.read(BLOCK)
    try:
        return block == bytes(BLOCK) or tarfile.TarInfo.frombuf(block, "utf-8", "replace").type == tarfile.XGLTYPE
    except tarfile.TarError:
        return False
