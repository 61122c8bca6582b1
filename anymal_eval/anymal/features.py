"""The frozen encoders' outputs on disk: after a projector or an adapter is trained, nothing is encoded again.

An entry is named by everything that determines it: the media's bytes, and the encoder's fingerprint (its weights,
preprocessing, layer and type). It is written as one safetensors file, renamed into place, so any number of processes,
users and machines may fill one folder, and a kill costs the entry that is being written. When ``PACK_ENTRIES`` or
``PACK_BYTES`` of such files lie there, one process packs them into a shard (``shards.py``) while the others continue; a
reader finds an entry in its file or, once that is deleted, in the shard, which is there before. Folders without shards,
as earlier versions fill them, are read and packed. Each entry has a checksum, compared once per process; one that does
not match is reported and computed again.

A folder that cannot be written is read, and so is the part of one that can be read; what is missing is computed and not
stored, which is reported once.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from anymal_eval import locks
from anymal_eval.anymal import drafts, feature_entries, shard_files, shards
from anymal_eval.anymal.encoders import Encoder
from anymal_eval.errors import WrongUse

_LOG = logging.getLogger(__name__)
_ENTRY = re.compile(r"[0-9a-f]{64}\.safetensors")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
PACK_ENTRIES, PACK_BYTES = 512, shards.BYTES  # of files with one entry, before they are packed
_LIMIT_SHARDS = 16  # at least, in a folder with a limit
_ROOM = 0.9  # pruning frees more than the excess, so that not every new entry prunes


@dataclass(kw_only=True)
class Counts:
    """Counts since the cache was opened.

    Attributes:
        hits: entries that were read.
        misses: those that were not there, or could not be read.
        corrupt: keys of entries whose checksum does not match.
        not_stored: entries that could not be written.
        reason: why the first of them could not.
    """

    hits: int = 0
    misses: int = 0
    corrupt: list[str] = field(default_factory=list)
    not_stored: int = 0
    reason: str = ""


class FeatureCache:
    """A folder of features.

    Attributes:
        counts: hits, misses, corrupt entries.
    """

    def __init__(
        self, folder: Path, limit_bytes: int | None = None, *, warns: bool = True, mapped: bool = False
    ) -> None:
        """Open a folder, and make it where it can be made.

        Args:
            folder: of the cache.
            limit_bytes: the largest size of the folder; beyond it the least recently used entries are removed.
            warns: whether entries that cannot be read or stored are reported as warnings.
            mapped: whether entries of shards are views of mapped files instead of copies.

        Raises:
            WrongUse: it is a file.
        """
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.counts = Counts()
        self._warned: set[str] = set() if warns else {"reading", "storing"}
        self._bytes: int | None = None
        self._unpacked: tuple[int, int] | None = None  # entries and bytes in files of their own
        self._shards = shards.Shards(folder, mapped=mapped)
        self._is_indexed = False
        self._checked: dict[str, tuple[int, int, int]] = {}  # the identity of files that were compared
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise WrongUse(f"{folder} is no folder; name another one for the features") from None
        except OSError:
            pass  # an entry that cannot be stored is reported

    def get(self, key: str) -> Tensor | None:
        """The entry; None where it is missing, unreadable or corrupt. A corrupt file of one entry is removed."""
        self._index()
        found = self._from_shards(key)
        if found is None:
            found = self._from_file(key)
        if found is None and self._refresh():  # packed by another process meanwhile
            found = self._from_shards(key)
        if found is None:
            self.counts.misses += 1
        else:
            self.counts.hits += 1
        return found

    def put(self, key: str, features: Tensor) -> None:
        """Store an entry. A full disk, or a cache that cannot be written, is a warning and costs only the entry."""
        content = feature_entries.pack(features, key)
        try:
            drafts.write(self._file(key), content)
        except OSError as error:
            self.refuse("no space on the disk" if error.errno in _NO_SPACE else f"{error.strerror or error}")
            return
        self._count(len(content))
        if self._unpacked is None:
            sizes = [file.stat().st_size for file in self._entries() if file.exists()]
            self._unpacked = len(sizes), sum(sizes)
        else:
            self._unpacked = self._unpacked[0] + 1, self._unpacked[1] + len(content)
        if self._unpacked[0] >= PACK_ENTRIES or self._unpacked[1] >= PACK_BYTES:
            self._unpacked = 0, 0
            self.pack(wait=False)

    def pack(self, *, at_least: int = 1, wait: bool = True) -> int:
        """Move entries from files of their own into shards. What cannot be written is a warning and costs nothing.

        Args:
            at_least: so many, else nothing is done.
            wait: for another process that packs or prunes; else nothing is done.

        Returns:
            How many entries were moved.
        """
        moved = 0
        with locks.exclusive(self.folder / ".lock", wait=wait) as is_held:
            files = sorted(self._entries(), key=_used) if is_held and not self._shards.folder.is_symlink() else []
            if len(files) < at_least:
                return 0
            self._refresh()
            sources = (source for file in files for source in self._source(file))
            most = shards.BYTES if self.limit_bytes is None else min(shards.BYTES, self.limit_bytes // _LIMIT_SHARDS)
            try:
                for group in shards.groups(sources, most):
                    used = max(_used(self._file(source.key)) for source in group)
                    shard = shards.write(self.folder, group)
                    with contextlib.suppress(OSError):
                        os.utime(shard, ns=(used, used))
                    for source in group:
                        self._file(source.key).unlink(missing_ok=True)
                    moved += len(group)
            except shards.Changed:
                pass  # pruned or replaced by a process that does not see our lock; the next time packs the rest
            except OSError as error:
                why = "no space on the disk" if error.errno in _NO_SPACE else f"{error.strerror or error}"
                self._warn("storing", f"entries of {self.folder} stay in files of their own ({why})")
            self._refresh()
        return moved

    def can_store(self, key: str) -> bool:
        """Whether the user may write the entry, as far as permissions tell."""
        folder = self._file(key).parent
        existing = folder if folder.exists() else self.folder
        return os.access(existing, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)

    def refuse(self, reason: str) -> None:
        """Count an entry that is not stored."""
        self.counts.not_stored += 1
        self.counts.reason = self.counts.reason or reason
        self._warn("storing", f"{self.folder} cannot be written ({reason}); features that it lacks are not stored")

    def verify(self, *, remove: bool = True) -> list[Path]:
        """Read every entry, and return the corrupt ones.

        Args:
            remove: whether corrupt entries are removed.

        Raises:
            WrongUse: an entry cannot be read or removed.
        """
        bad = []
        for file in self._entries():
            try:
                content, _ = feature_entries.read(file)
                if feature_entries.unpack(content, file.stem) is None and not _is_foreign(file):
                    bad.append(file)
                    if remove:
                        file.unlink()
            except FileNotFoundError:
                continue  # pruned or packed by another process meanwhile
            except OSError as error:
                raise WrongUse(f"{file} cannot be {'removed' if file in bad else 'read'}: {error.strerror}") from None
        for file in self._shard_files():
            bad += self._verify_shard(file, remove=remove)
        return bad

    def prune(self, limit_bytes: int) -> int:
        """Remove the least recently used entries until the rest takes at most ``limit_bytes``, one process at a time.

        A shard is removed as a whole; it was used when any of its entries was. What another process reads at this
        moment it still reads whole, or computes again.

        Returns:
            How many bytes were freed.

        Raises:
            WrongUse: an entry cannot be removed.
        """
        freed = 0
        with locks.exclusive(self.folder / ".lock"):
            drafts.delete_abandoned([*self._named(drafts.NAME), *self._named(drafts.NAME, shards.FOLDER)])
            facts = []
            for file in (*self._entries(), *self._shard_files()):
                with contextlib.suppress(OSError):
                    stat = file.stat()
                    facts.append((stat.st_mtime_ns, stat.st_size, file))
            total = sum(size for _, size, _ in facts)
            for _, size, file in sorted(facts):
                if total - freed <= limit_bytes:
                    break
                if _is_foreign(file):
                    continue  # its bytes count, since they take the space
                try:
                    file.unlink(missing_ok=True)
                except OSError as error:
                    raise WrongUse(f"{file} cannot be removed: {error.strerror}") from None
                freed += size
            self._bytes = total - freed
        return freed

    def size(self) -> int:
        """Bytes of all entries."""
        total = 0
        for file in (*self._entries(), *self._shard_files()):
            with contextlib.suppress(OSError):
                total += file.stat().st_size
        return total

    def __contains__(self, key: str) -> bool:
        self._index()
        return key in self._shards or self._file(key).exists()

    def _index(self) -> None:
        if not self._is_indexed:
            self._refresh()
            self._is_indexed = True

    def __len__(self) -> int:
        self._refresh()
        return len(self._shards) + sum(1 for file in self._entries() if file.stem not in self._shards)

    def _from_shards(self, key: str) -> Tensor | None:
        found, damaged = self._shards.get(key)
        for place in damaged:
            self.counts.corrupt.append(key)
            _LOG.warning("features: %s in %s is corrupt (its checksum does not match): not used", key, place.shard)
        return found

    def _from_file(self, key: str) -> Tensor | None:
        file = self._file(key)
        try:
            content, identity = feature_entries.read(file)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self._warn("reading", f"{file} cannot be read ({error.strerror}); such features are computed again")
            return None
        found = feature_entries.unpack(content, key, checked=self._checked.get(key) == identity)
        if found is None:
            self.counts.corrupt.append(key)
            _LOG.warning("features: %s is corrupt (its checksum does not match): removed, to be computed again", file)
            with contextlib.suppress(OSError):  # in a read-only cache it stays, and is found again
                file.unlink()
            return None
        now = time.time_ns()
        if abs(now - identity[2]) > shards.USED_S * 1e9:
            with contextlib.suppress(OSError):  # a read-only cache has no order of use
                os.utime(file, ns=(now, now))
                identity = (*identity[:2], file.stat().st_mtime_ns)
        self._checked[key] = identity
        return found

    def _shard_files(self) -> list[Path]:
        try:
            return self._shards.files()
        except OSError as error:
            raise WrongUse(f"{self._shards.folder} cannot be read: {error.strerror}") from None

    def _refresh(self) -> bool:
        """See what other processes have packed; whether there are new shards."""
        try:
            new = self._shards.refresh()
        except OSError as error:
            self._warn("reading", f"{self._shards.folder} cannot be read ({error.strerror or error})")
            return False
        for file, reason in self._shards.unreadable.items():
            self._warn("reading", f"{file} cannot be read ({reason}); such features are computed again")
        for file in [file for file, is_reported in self._shards.damaged.items() if not is_reported]:
            self._shards.damaged[file] = True
            if not _is_foreign(file):
                self.counts.corrupt.append(file.stem)
                _LOG.warning("features: %s is corrupt (its header is damaged): its entries are computed again", file)
        return new

    def _source(self, file: Path) -> Iterator[shards.Source]:
        """A file with one entry, to be packed; none where a shard has the entry, which deletes the file."""
        key = file.stem
        try:
            if self._shards.get(key, again=True)[0] is not None:
                file.unlink()
                return
            tensor = feature_entries.whole(file)
        except OSError:
            return
        if tensor is None or tensor.dtype not in shards.NAMES:
            return  # corrupt, which is reported when it is read; or of a type that is kept as it is
        yield shards.Source(
            key=key, dtype=shards.NAMES[tensor.dtype], shape=tuple(tensor.shape), size=tensor.nbytes,
            crc=shard_files.checksum(tensor), read=lambda: feature_entries.whole(file),
        )  # fmt: skip

    def _verify_shard(self, file: Path, *, remove: bool) -> list[Path]:
        """The corrupt entries of a shard, as ``SHARD/KEY``, or the shard where its header is damaged."""
        try:
            places = shards.read_header(file)
            if places is None:
                if _is_foreign(file):
                    return []
                if remove:
                    file.unlink()
                return [file]
            bad = [key for key, place in places.items() if not shards.is_whole(place)]
        except FileNotFoundError:
            return []  # pruned by another process meanwhile
        except OSError as error:
            raise WrongUse(f"{file} cannot be read or removed: {error.strerror}") from None
        if bad and remove:
            try:
                with locks.exclusive(self.folder / ".lock"):
                    for group in shards.groups(shards.sources(places, bad)):
                        shards.write(self.folder, group)
                    file.unlink(missing_ok=True)
            except OSError as error:
                raise WrongUse(f"corrupt entries of {file} cannot be removed: {error.strerror}") from None
            except shards.Changed:
                raise WrongUse(f"{file} changes while it is read; verify it again") from None
        return [file / key for key in bad]

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def _entries(self) -> Iterator[Path]:
        yield from (file for file in self._named(_ENTRY) if file.name.startswith(file.parent.name))

    def _named(self, name: re.Pattern[str], folders: str = "??") -> list[Path]:
        """Files of the cache by their name. Others in the folder are the user's, and so is what a link leads to."""
        found = (file for file in self.folder.glob(f"{folders}/*") if name.fullmatch(file.name))
        return sorted(file for file in found if not file.parent.is_symlink() and not file.is_symlink())

    def _count(self, by: int) -> None:
        if self.limit_bytes is None:
            return
        self._bytes = self.size() if self._bytes is None else self._bytes + by
        if self._bytes > self.limit_bytes:
            with contextlib.suppress(WrongUse):  # another user's entries, which stay
                self.prune(int(self.limit_bytes * _ROOM))

    def _warn(self, about: str, message: str) -> None:
        """Report one kind of trouble once."""
        if about not in self._warned:
            self._warned.add(about)
            _LOG.warning("features: %s", message)


def feature_key(encoder: Encoder | str, digest: str) -> str:
    """The name of an entry: a digest of everything that determines it. ``encoder``: it, or its fingerprint."""
    about = encoder if isinstance(encoder, str) else encoder.fingerprint
    return hashlib.sha256(json.dumps([digest, about]).encode()).hexdigest()


def _is_foreign(file: Path) -> bool:
    """Whether a file is of another program."""
    if file.parent.name == shards.FOLDER:
        return feature_entries.is_foreign(file, shards.FORMAT, "crc32")
    return feature_entries.is_foreign(file)


def _used(file: Path) -> int:
    """When it was used last; 0 where it is gone."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
