"""Takes named files and folders out of a zip or tar file that somebody else made: nothing leaves the folder."""

import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from anymal_eval.errors import BadData, StorageFull, reason
from anymal_eval.media.location import safe_path

T = TypeVar("T")
WORK = ".downloads"
"""The folder in ``DIR/<task>`` of archives and of what is not whole yet; what is in it is ours."""
ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MOST_MEMBERS = 2_000_000
MOST_RATIO, PLAIN_BYTES = 200, 1 << 28  # what a member list may unpack to: 200 times the archive, or 256 MiB
PIECE = 1 << 20
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A member: its name, as bytes it says it has, and whether it is a plain file."""

    name: str
    size: int
    is_file: bool
    is_folder: bool
    open: Callable[[], IO[bytes]]


def is_archive(name: str) -> bool:
    """Whether a file's name is that of a zip or tar file.

    >>> is_archive("val2014.zip"), is_archive("val2014.rar")
    (True, False)
    """
    return name.lower().endswith(ENDINGS)


def unpack(archive: Path, members: Mapping[str, str], root: Path) -> list[str]:
    """Unpack some members. What is below the root already is left as it is.

    Args:
        archive: a zip or tar file.
        members: a file, or a folder whose name ends with ``/``, in the archive at any depth; and where it lies below
            the root.
        root: the folder.

    Returns:
        Those of ``members`` that the archive holds.

    Raises:
        BadData: the archive is damaged, holds a name or a link that leads out of it, or more than it can be meant to.
        StorageFull: there is too little space for what it holds.
    """
    with _opened(archive) as entries:
        wanted = _wanted(entries, members, archive)
        total = sum(entry.size for entry, _ in wanted)
        if total > max(PLAIN_BYTES, MOST_RATIO * archive.stat().st_size):
            raise BadData(f"{archive}: it would unpack to {total:,} bytes, {MOST_RATIO} times its own size or more")
        free = shutil.disk_usage(_existing(root)).free
        if total > free:
            raise StorageFull(f"{root}: {archive.name} unpacks to {total:,} bytes, and {free:,} are free: make space")
        for target in dict.fromkeys(members.values()):
            safe_path(root, target.rstrip("/"))
        root.mkdir(parents=True, exist_ok=True)
        with _beside(root) as draft:
            for entry, target in wanted:
                _write(entry, draft / target, archive)
            for target in dict.fromkeys(members.values()):
                _move(draft / target.rstrip("/"), root / target.rstrip("/"))
    held = {target for _, target in wanted}
    return [name for name, target in members.items() if any(_is_in(each, target) for each in held)]


def holds(archive: Path, members: Mapping[str, str]) -> list[str]:
    """Those of ``members`` that an archive holds; nothing is written.

    Raises:
        BadData: it is damaged, or holds a name or a link that leads out of it.
    """
    with _opened(archive) as entries:
        held = {target for _, target in _wanted(entries, members, archive)}
    return [name for name, target in members.items() if any(_is_in(each, target) for each in held)]


def _is_in(path: str, target: str) -> bool:
    return path == target or (target.endswith("/") and path.startswith(target))


def _wanted(entries: list[Entry], members: Mapping[str, str], archive: Path) -> list[tuple[Entry, str]]:
    """The files to write, with their places below the root."""
    found: list[tuple[Entry, str]] = []
    named = [(entry, _parts(entry.name, archive)) for entry in entries]
    for name, target in members.items():
        own = name.rstrip("/").split("/")
        hits = [(entry, parts, at) for entry, parts in named for at in _places(parts, own, name.endswith("/"))]
        if not hits:
            continue
        depth = min(at for _, _, at in hits)
        for entry, parts, at in hits:
            if at == depth and not entry.is_folder:
                if not entry.is_file:
                    raise BadData(f"{archive}: {entry.name:.200} is a link or a device, which no archive of data holds")
                rest = "/".join(parts[at + len(own) :])
                found.append((entry, target + rest if target.endswith("/") else target))
    twice = {target.casefold() for _, target in found}
    if len(twice) < len(found):
        raise BadData(f"{archive}: it holds two members of one name")
    return found


def _places(parts: list[str], own: list[str], is_folder: bool) -> Iterator[int]:
    """The depth at which a member's path holds the name; not in what macOS adds."""
    last = len(parts) - len(own) - (1 if is_folder else 0)
    for at in range(last + 1) if is_folder else ([last] if last >= 0 else []):
        if parts[at : at + len(own)] == own and "__MACOSX" not in parts:
            yield at
            return


def _parts(name: str, archive: Path) -> list[str]:
    """The components of a member's name.

    Raises:
        BadData: it leads out of the folder it is unpacked to, or is no name of a file.
    """
    parts = name.rstrip("/").split("/")
    while parts[:1] == ["."]:
        parts = parts[1:]
    if name.startswith("/") or "\\" in name or "\0" in name or (parts and ":" in parts[0]):
        raise BadData(f"{archive}: the name {name!r:.200} in it leads out of it")
    if any(part in ("", ".", "..") for part in parts):
        raise BadData(f"{archive}: the name {name!r:.200} in it leads out of it")
    return parts


def _write(entry: Entry, target: Path, archive: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    try:
        with entry.open() as source, target.open("xb") as file:
            while piece := source.read(PIECE):
                written += len(piece)
                if written > entry.size:
                    raise BadData(f"{archive}: {entry.name:.200} holds more than it says")
                file.write(piece)
    except _DAMAGED as error:
        raise BadData(f"{archive}: {entry.name:.200}: {reason(error)}; is the file whole?") from None
    if written < entry.size:
        raise BadData(f"{archive}: {entry.name:.200} ends early: is the file whole?")


def _move(source: Path, target: Path) -> None:
    """Move what was unpacked into place; what is there stays."""
    if not source.exists():
        return
    if not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    elif source.is_dir() and target.is_dir():
        for each in sorted(source.iterdir()):
            _move(each, target / each.name)


@contextmanager
def _opened(archive: Path) -> Iterator[list[Entry]]:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                yield [_of_zip(opened, info) for info in _few(opened.infolist(), archive)]
            return
        with tarfile.open(archive) as opened_tar:
            yield [_of_tar(opened_tar, info) for info in _few(_tar_members(opened_tar, archive), archive)]
    except _DAMAGED as error:
        raise BadData(f"{archive}: it is no whole zip or tar file: {reason(error)}") from None


def _few(infos: list[T], archive: Path) -> list[T]:
    if len(infos) > MOST_MEMBERS:
        raise BadData(f"{archive}: it holds {len(infos):,} members, more than {MOST_MEMBERS:,}")
    return infos


def _tar_members(opened: tarfile.TarFile, archive: Path) -> list[tarfile.TarInfo]:
    """All headers; a compressed file that unpacks to too much is left before it is read through."""
    found: list[tarfile.TarInfo] = []
    total, most = 0, max(PLAIN_BYTES, MOST_RATIO * archive.stat().st_size)
    for info in opened:
        total += info.size
        if total > most or len(found) > MOST_MEMBERS:
            raise BadData(f"{archive}: it would unpack to {total:,} bytes, {MOST_RATIO} times its own size or more")
        found.append(info)
    return found


def _of_zip(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    kind = stat.S_IFMT(info.external_attr >> 16)
    is_file = not info.is_dir() and kind in (0, stat.S_IFREG) and not info.flag_bits & 1
    return Entry(
        name=info.filename,
        size=info.file_size,
        is_file=is_file,
        is_folder=info.is_dir(),
        open=lambda: opened.open(info),
    )


def _of_tar(opened: tarfile.TarFile, info: tarfile.TarInfo) -> Entry:
    def content() -> IO[bytes]:
        found = opened.extractfile(info)
        if found is None:
            raise tarfile.TarError("it is no file")
        return found

    is_file = info.isreg() and not info.issparse()
    return Entry(name=info.name, size=info.size, is_file=is_file, is_folder=info.isdir(), open=content)


@contextmanager
def _beside(root: Path) -> Iterator[Path]:
    """A folder on the same file system, deleted at the end, and before where a killed command left it."""
    folder = root / WORK / "unpacking"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _existing(path: Path) -> Path:
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
