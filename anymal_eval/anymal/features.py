"""The frozen encoders' outputs on disk: after a projector or an adapter is trained, nothing is encoded again.

One safetensors file an entry, named by everything that determines it: the media's bytes, and the encoder's fingerprint
(its weights, preprocessing, layer and type). Entries are renamed into place, so any number of processes, users and
machines may fill one folder. Each has a checksum; one that does not match is reported, removed and computed again.

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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from anymal_eval import locks
from anymal_eval.anymal import drafts
from anymal_eval.anymal.encoders import Encoder
from anymal_eval.errors import WrongUse

_LOG = logging.getLogger(__name__)
_ENTRY = re.compile(r"[0-9a-f]{64}\.safetensors")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
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

    def __init__(self, folder: Path, limit_bytes: int | None = None, *, warns: bool = True) -> None:
        """Open a folder, and make it where it can be made.

        Args:
            folder: of the cache.
            limit_bytes: the largest size of the folder; beyond it the least recently used entries are removed.
            warns: whether entries that cannot be read or stored are reported as warnings.

        Raises:
            WrongUse: it is a file.
        """
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.counts = Counts()
        self._warned: set[str] = set() if warns else {"reading", "storing"}
        self._bytes: int | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise WrongUse(f"{folder} is no folder; name another one for the features") from None
        except OSError:
            pass  # an entry that cannot be stored is reported

    def get(self, key: str) -> Tensor | None:
        """The entry; None where it is missing, unreadable or corrupt. A corrupt one is removed."""
        file = self._file(key)
        try:
            content = file.read_bytes()
        except OSError as error:
            self.counts.misses += 1
            if not isinstance(error, FileNotFoundError):
                self._warn("reading", f"{file} cannot be read ({error.strerror}); such features are computed again")
            return None
        found = _open(content, key)
        if found is None:
            self.counts.corrupt.append(key)
            self.counts.misses += 1
            _LOG.warning("features: %s is corrupt (its checksum does not match): removed, to be computed again", file)
            with contextlib.suppress(OSError):  # in a read-only cache it stays, and is found again
                file.unlink()
            return None
        with contextlib.suppress(OSError):  # a read-only cache has no order of use
            os.utime(file)
        self.counts.hits += 1
        return found

    def put(self, key: str, features: Tensor) -> None:
        """Store an entry. A full disk, or a cache that cannot be written, is a warning and costs only the entry."""
        content = _pack(features, key)
        try:
            drafts.write(self._file(key), content)
        except OSError as error:
            self.refuse("no space on the disk" if error.errno in _NO_SPACE else f"{error.strerror or error}")
            return
        self._count(len(content))

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
                content = file.read_bytes()
                if _open(content, file.stem) is None and not _is_foreign(file):
                    bad.append(file)
                    if remove:
                        file.unlink()
            except FileNotFoundError:
                continue  # pruned by another process meanwhile
            except OSError as error:
                raise WrongUse(f"{file} cannot be {'removed' if file in bad else 'read'}: {error.strerror}") from None
        return bad

    def prune(self, limit_bytes: int) -> int:
        """Remove the least recently used entries until the rest takes at most ``limit_bytes``, one process at a time.

        Returns:
            How many bytes were freed.

        Raises:
            WrongUse: an entry cannot be removed.
        """
        freed = 0
        with locks.exclusive(self.folder / ".lock"):
            drafts.delete_abandoned(self._named(drafts.NAME))
            facts = []
            for file in self._entries():
                with contextlib.suppress(OSError):
                    stat = file.stat()
                    facts.append((stat.st_mtime_ns, stat.st_size, file))
            total = sum(size for _, size, _ in facts)
            for _, size, file in sorted(facts):
                if total - freed <= limit_bytes:
                    break
                if _is_foreign(file):
                    continue
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
        for file in self._entries():
            with contextlib.suppress(OSError):
                total += file.stat().st_size
        return total

    def __len__(self) -> int:
        return sum(1 for _ in self._entries())

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def _entries(self) -> Iterator[Path]:
        yield from (file for file in self._named(_ENTRY) if file.name.startswith(file.parent.name))

    def _named(self, name: re.Pattern[str]) -> list[Path]:
        """Files of the cache by their name. Others in the folder are the user's, and so is what a link leads to."""
        found = (file for file in self.folder.glob("??/*") if name.fullmatch(file.name))
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


def feature_key(encoder: Encoder, digest: str) -> str:
    """The name of an entry: a digest of everything that determines it."""
    return hashlib.sha256(json.dumps([digest, encoder.fingerprint]).encode()).hexdigest()


def _pack(features: Tensor, key: str) -> bytes:
    from safetensors.torch import save

    plain = features.detach().cpu().contiguous()
    bare: bytes = save({"features": plain})
    # One metadata field: safetensors writes several in no fixed order, and _open compares bytes.
    entry = json.dumps({"key": key, "sha256": hashlib.sha256(bare).hexdigest()})
    packed: bytes = save({"features": plain}, metadata={"entry": entry})
    return packed


def _is_foreign(file: Path) -> bool:
    """Whether a file is whole and clearly of another program; a damaged entry of this cache never is.

    One damaged byte cannot change both the name of the tensor and that of the metadata.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            return "features" not in set(opened.keys()) and "entry" not in (opened.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError, OverflowError):
        return False


def _open(content: bytes, key: str) -> Tensor | None:
    """An entry's tensor; None when a single byte of it has changed."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensor: Tensor = load(content)["features"]
    except (SafetensorError, KeyError, ValueError, RuntimeError, OverflowError):
        return None
    # Packing it again gives the same bytes, checksum included, only if none has changed.
    return tensor if _pack(tensor, key) == content else None
