"""The frozen encoders' outputs on disk: after a projector or an adapter is trained, nothing is encoded again.

One safetensors file an entry, named by everything that determines it: the media's bytes, and the encoder's fingerprint
(its weights, preprocessing, layer and type). Entries are renamed into place, so any number of processes may fill one
folder. Each has a checksum; one that does not match is reported, removed and computed again.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from anymal_eval.anymal.encoders import Encoder

_LOG = logging.getLogger(__name__)
_ABANDONED_S = 3600.0  # a draft this old is of a process that died
_ENTRY = re.compile(r"[0-9a-f]{64}\.safetensors")
_DRAFT = re.compile(r"([0-9a-f]{64}\.|tmp)\w{8}\.draft")  # an earlier version wrote tmp in place of the key
_ROOM = 0.9  # pruning frees more than the excess, so that not every new entry prunes


@dataclass(kw_only=True)
class Counts:
    """Hits and misses since the cache was opened; keys of corrupt entries; entries that did not fit on the disk."""

    hits: int = 0
    misses: int = 0
    corrupt: list[str] = field(default_factory=list)
    not_stored: int = 0


class FeatureCache:
    """A folder of features.

    Attributes:
        counts: hits, misses, corrupt entries.
    """

    def __init__(self, folder: Path, limit_bytes: int | None = None) -> None:
        """``limit_bytes``: the largest size of the folder; beyond it the least recently used entries are removed."""
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.counts = Counts()
        self._bytes: int | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> Tensor | None:
        """The entry; None where it is missing or corrupt. A corrupt one is removed."""
        file = self._file(key)
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            self.counts.misses += 1
            return None
        found = _open(content, key)
        if found is None:
            self.counts.corrupt.append(key)
            self.counts.misses += 1
            _LOG.warning("features: %s is corrupt (its checksum does not match): removed, to be computed again", file)
            file.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):  # a read-only cache has no order of use
            os.utime(file)
        self.counts.hits += 1
        return found

    def put(self, key: str, features: Tensor) -> None:
        """Store an entry. A full disk is a warning and costs only the entry."""
        content = _pack(features, key)
        file = self._file(key)
        try:
            self._write(file, content)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self.counts.not_stored += 1
            _LOG.warning("features: no space for %s; it is not stored", file)
            return
        self._count(len(content))

    def verify(self, *, remove: bool = True) -> list[Path]:
        """Read every entry, and return the corrupt ones.

        Args:
            remove: whether corrupt entries are removed.
        """
        bad = []
        for file in self._entries():
            try:
                content = file.read_bytes()
            except FileNotFoundError:
                continue  # pruned by another process meanwhile
            if _open(content, file.stem) is None and not _is_foreign(file):
                bad.append(file)
                if remove:
                    file.unlink(missing_ok=True)
        return bad

    def prune(self, limit_bytes: int) -> int:
        """Remove the least recently used entries until the rest takes at most ``limit_bytes``, one process at a time.

        Returns:
            How many bytes were freed.
        """
        freed = 0
        with self._lock():
            for draft in self._named(_DRAFT):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - draft.stat().st_mtime > _ABANDONED_S:
                        draft.unlink()
            facts = []
            for file in self._entries():
                with contextlib.suppress(FileNotFoundError):
                    stat = file.stat()
                    facts.append((stat.st_mtime_ns, stat.st_size, file))
            total = sum(size for _, size, _ in facts)
            for _, size, file in sorted(facts):
                if total - freed <= limit_bytes:
                    break
                if _is_foreign(file):
                    continue
                file.unlink(missing_ok=True)
                freed += size
            self._bytes = total - freed
        return freed

    def size(self) -> int:
        """Bytes of all entries."""
        total = 0
        for file in self._entries():
            with contextlib.suppress(FileNotFoundError):
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

    def _write(self, file: Path, content: bytes) -> None:
        file.parent.mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f"{file.stem}.", suffix=".draft", dir=file.parent)
        draft = Path(name)
        try:
            with os.fdopen(handle, "wb") as out:
                # No fsync: an entry that a power cut leaves behind fails its checksum and is computed again.
                out.write(content)
            os.replace(draft, file)
        finally:
            draft.unlink(missing_ok=True)

    def _count(self, by: int) -> None:
        if self.limit_bytes is None:
            return
        self._bytes = self.size() if self._bytes is None else self._bytes + by
        if self._bytes > self.limit_bytes:
            self.prune(int(self.limit_bytes * _ROOM))

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """One process prunes at a time."""
        with (self.folder / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


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
