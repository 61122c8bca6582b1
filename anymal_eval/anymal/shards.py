"""Shards of a feature cache: many entries in one file, which is written once and never changed.

A shard is a whole safetensors file, ``shards/SHA256.safetensors``; its header is its index. The name is the SHA-256 of
the header, and the header has each entry's CRC-32, so damage is found in both. A shard is written as a draft, synced
and renamed; only then are the files of its entries deleted. A kill in between leaves entries twice, never zero times.

Entries are read by ``pread``: a shard that another machine deletes, or a disk that fails, is an error of one read.
Training reads the same entries in every epoch, so it maps the files instead, and an entry is a view that takes no
memory of its own. A mapped disk that fails ends the process, which resumes from its last state.
"""

import contextlib
import hashlib
import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from anymal_eval.anymal import drafts
from anymal_eval.anymal.shard_files import DTYPES, OpenShard, checksum, raw

FOLDER = "shards"
ENTRIES, BYTES = 4096, 512 << 20  # the most of one shard
USED_S = 60.0  # the grain of the time of last use
FORMAT = "anymal_eval features 1"
_HEADER_BYTES = 64 << 20  # the most
_OPEN = 128  # files
NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(slots=True, kw_only=True)
class Place:
    """An entry of a shard.

    Attributes:
        start: of its first byte in the file.
        crc: of its bytes.
        checked: whether this process has compared the two.
    """

    shard: Path
    start: int
    size: int
    dtype: str
    shape: tuple[int, ...]
    crc: int
    checked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An entry that is written into a shard; ``read`` returns its tensor, None where it is gone."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    crc: int
    read: Callable[[], Tensor | None]


class Changed(Exception):
    """A source is no longer what it was when the header was made."""


class Shards:
    """The shards of a folder, for any number of threads."""

    def __init__(self, folder: Path, *, mapped: bool = False) -> None:
        """``folder``: of the cache; ``mapped``: entries are views of mapped files, not copies."""
        self._mapped = mapped
        self.folder = folder / FOLDER
        self.damaged: dict[Path, bool] = {}  # files whose header is damaged; whether this was reported
        self.unreadable: dict[Path, str] = {}
        self._seen: dict[str, list[str]] = {}  # the keys by the name of their shard
        self._places: dict[str, list[Place]] = {}
        self._open: OrderedDict[Path, OpenShard] = OrderedDict()
        self._used: dict[Path, float] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def refresh(self) -> bool:
        """Read the headers of new shards, forget deleted ones; whether there are new ones.

        Raises:
            OSError: the folder cannot be read.
        """
        with self._lock:
            files = {file.name: file for file in self.files()}
            for name in [name for name in self._seen if name not in files]:
                self._forget(name)
            new = [file for name, file in files.items() if name not in self._seen]
            for file in new:
                self._seen[file.name] = []
                try:
                    found = read_header(file)
                except FileNotFoundError:
                    continue  # pruned meanwhile
                except OSError as error:
                    self.unreadable[file] = error.strerror or str(error)
                    continue
                if found is None:
                    self.damaged.setdefault(file, False)
                    continue
                self._seen[file.name] = list(found)
                for key, place in found.items():
                    self._places.setdefault(key, []).append(place)
            return bool(new)

    def files(self) -> list[Path]:
        """All shards; a link is none, and neither is what a linked folder holds."""
        if self.folder.is_symlink():
            return []
        try:
            with os.scandir(self.folder) as found:
                names = [each.name for each in found if _is_name(each.name) and each.is_file(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [self.folder / name for name in sorted(names)]

    def get(self, key: str, *, again: bool = False) -> tuple[Tensor | None, list[Place]]:
        """An entry, and the places where it is damaged; each place is compared with its checksum once.

        Args:
            key: of the entry.
            again: compare it again.
        """
        damaged: list[Place] = []
        for place in tuple(self._places.get(key, ())):
            try:
                found = self._read(place)
            except OSError:  # deleted, or away for a moment: as if it had no such entry
                self._drop(key, place)
                continue
            if found is not None and (again or not place.checked):
                place.checked = checksum(found) == place.crc
                found = found if place.checked else None
            if found is not None:
                self._use(place.shard)
                return found, damaged
            damaged.append(place)
            self._drop(key, place)
        return None, damaged

    def _read(self, place: Place) -> Tensor | None:
        """The bytes of a place as a tensor; None where the file ends before."""
        with self._lock:
            opened = self._open.get(place.shard)
            if opened is None:
                opened = self._open[place.shard] = OpenShard(place.shard, mapped=self._mapped)
                while len(self._open) > _OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(place.shard)
        return opened.read(place.start, place.size, place.dtype, place.shape)

    def _use(self, file: Path) -> None:
        now = time.monotonic()
        if now - self._used.get(file, -USED_S) >= USED_S:
            self._used[file] = now
            with contextlib.suppress(OSError):  # a read-only cache has no order of use
                os.utime(file)

    def _drop(self, key: str, place: Place) -> None:
        with self._lock:
            left = [each for each in self._places.get(key, ()) if each is not place]
            if left:
                self._places[key] = left
            else:
                self._places.pop(key, None)

    def _forget(self, name: str) -> None:
        file = self.folder / name
        for key in self._seen.pop(name):
            left = [place for place in self._places.get(key, ()) if place.shard != file]
            if left:
                self._places[key] = left
            else:
                self._places.pop(key, None)
        self._open.pop(file, None)
        self.damaged.pop(file, None)


def write(folder: Path, sources: Sequence[Source]) -> Path:
    """Write a shard, and sync it.

    Raises:
        Changed: a source is not what it was.
        OSError: it cannot be written; there is then no such file.
    """
    ordered = sorted(sources, key=lambda each: -DTYPES[each.dtype].itemsize)  # each at a multiple of its own size
    header = _header(ordered)

    def content(out: BinaryIO) -> None:
        out.write(header)
        for source in ordered:
            tensor = source.read()
            if tensor is None or checksum(tensor) != source.crc:
                raise Changed(source.key)
            out.write(raw(tensor))

    file = folder / FOLDER / f"{hashlib.sha256(header).hexdigest()}.safetensors"
    drafts.write(file, content)
    return file


def sources(places: Mapping[str, Place], without: Iterable[str] = ()) -> list[Source]:
    """The entries of a shard, to be written into another."""
    left = set(without)
    return [
        Source(
            key=key, dtype=place.dtype, shape=place.shape, size=place.size, crc=place.crc,
            read=lambda place=place: OpenShard(place.shard).read(place.start, place.size, place.dtype, place.shape),  # type: ignore[misc]
        )
        for key, place in places.items() if key not in left
    ]  # fmt: skip


def is_whole(place: Place) -> bool:
    """Whether an entry matches its checksum.

    Raises:
        OSError: the shard cannot be read.
    """
    tensor = OpenShard(place.shard).read(place.start, place.size, place.dtype, place.shape)
    return tensor is not None and checksum(tensor) == place.crc


def groups(sources: Iterable[Source], most_bytes: int = BYTES) -> Iterator[list[Source]]:
    """Sources in groups of one shard each."""
    group: list[Source] = []
    size = 0
    for source in sources:
        if group and (len(group) >= ENTRIES or size + source.size > most_bytes):
            yield group
            group, size = [], 0
        group.append(source)
        size += source.size
    if group:
        yield group


def read_header(file: Path) -> dict[str, Place] | None:
    """The entries of a shard; None where its header is damaged, or is of another program.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        start = opened.read(8)
        size = int.from_bytes(start, "little")
        if len(start) < 8 or size > _HEADER_BYTES:
            return None
        header = start + opened.read(size)
    if hashlib.sha256(header).hexdigest() != file.stem:
        return None
    # The digest shows that the header is as it was written, by this program or, for its name, by one that copies it.
    try:
        return _places(file, json.loads(header[8:]), len(header))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _places(file: Path, read: dict[str, Any], data: int) -> dict[str, Place] | None:
    about = read.pop("__metadata__")
    if about["format"] != FORMAT:
        return None
    sums = json.loads(about["crc32"])
    places = {}
    for key, entry in read.items():
        begin, end = entry["data_offsets"]
        shape, dtype = tuple(map(int, entry["shape"])), DTYPES[entry["dtype"]]
        if end - begin != _product(shape) * dtype.itemsize or begin < 0:
            return None
        places[key] = Place(
            shard=file, start=data + begin, size=end - begin, dtype=entry["dtype"], shape=shape, crc=int(sums[key], 16)
        )
    return places


def _header(sources: Sequence[Source]) -> bytes:
    sums = {source.key: f"{source.crc:08x}" for source in sources}
    entries: dict[str, Any] = {"__metadata__": {"format": FORMAT, "crc32": json.dumps(sums, separators=(",", ":"))}}
    at = 0
    for source in sources:
        entries[source.key] = {
            "dtype": source.dtype, "shape": list(source.shape), "data_offsets": [at, at + source.size]
        }  # fmt: skip
        at += source.size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _is_name(name: str) -> bool:
    stem, _, end = name.partition(".")
    return end == "safetensors" and len(stem) == 64 and all(each in "0123456789abcdef" for each in stem)


def _product(shape: tuple[int, ...]) -> int:
    size = 1
    for each in shape:
        size *= each
    return size
