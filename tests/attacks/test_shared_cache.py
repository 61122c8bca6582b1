"""A cache of features that several users and machines share: modes, permissions, clocks, locks, dead writers."""

import errno
import fcntl
import logging
import os
import platform
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from anymal_eval.anymal import tiny
from anymal_eval.anymal.features import FeatureCache
from anymal_eval.cli.main import cli
from anymal_eval.errors import WrongUse
from anymal_eval.fingerprint import RememberedDigests

NOBODY = 65534
KEYS = [f"{number:02x}{number:062x}" for number in range(6)]


def features(key: str) -> torch.Tensor:
    return torch.full((4, 3), float(int(key, 16) % 97))


def filled(folder: Path, keys: list[str]) -> FeatureCache:
    cache = FeatureCache(folder)
    for key in keys:
        cache.put(key, features(key))
    return cache


def entry(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.safetensors"


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that another user can reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def another_user(*owned: Path) -> Iterator[None]:
    """A user who may read the folders and not write them, and whose permissions are checked."""
    changed = [path for folder in owned for path in (folder, *folder.rglob("*"))]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in changed}
    for path in changed:
        path.chmod(modes[path] & 0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path in changed:
            if path.exists():
                path.chmod(modes[path])


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o027, 0o077])
def test_modes_follow_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        filled(tmp_path / "cache", KEYS).prune(10**9)
        medium = tmp_path / "medium"
        medium.write_bytes(b"x")
        os.utime(medium, (0, 0))
        RememberedDigests(tmp_path / "cache" / "digests.jsonl")._remember(str(medium), (1, 2, 3, 4), "d")
    finally:
        os.umask(before)
    paths = [tmp_path / "cache", *(tmp_path / "cache").rglob("*")]
    assert len(paths) == 1 + 2 * len(KEYS) + 2  # with .lock and digests.jsonl
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~mask, path


def test_a_cache_of_another_user_is_read(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(shared / "cache", KEYS[:3])
    damaged = entry(shared / "cache", KEYS[2])
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with another_user(shared / "cache"), caplog.at_level(logging.WARNING):
        cache = FeatureCache(shared / "cache", limit_bytes=1)
        for key in KEYS[:2]:
            found = cache.get(key)
            assert found is not None
            assert torch.equal(found, features(key))
        assert [cache.get(key) for key in KEYS[2:]] == [None] * 4
        for key in KEYS[2:]:
            assert not cache.can_store(key)
            cache.put(key, features(key))
        with pytest.raises(WrongUse, match=r"safetensors cannot be removed: Permission denied$"):
            cache.prune(1)
        with pytest.raises(WrongUse, match=r"safetensors cannot be removed: Permission denied$"):
            cache.verify()
        assert cache.verify(remove=False) == [damaged]
    assert (cache.counts.hits, cache.counts.misses, cache.counts.not_stored) == (2, 4, 4)
    assert cache.counts.reason == "Permission denied"
    lines = [record.message for record in caplog.records if "cannot be written" in record.message]
    assert lines == [
        f"features: {shared / 'cache'} cannot be written (Permission denied); features that it lacks are not stored"
    ]


def test_an_entry_that_only_its_owner_may_read(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As an earlier version left them. The group may write the folder, so the entry is replaced."""
    filled(shared / "cache", KEYS[:2])
    folders = [shared / "cache", *(shared / "cache").glob("??")]
    for folder in folders:
        folder.chmod(0o777)
    for key in KEYS[:2]:
        entry(shared / "cache", key).chmod(0o000)
    with another_user(), caplog.at_level(logging.WARNING):
        cache = FeatureCache(shared / "cache")
        for key in KEYS[:2]:
            assert cache.get(key) is None
            cache.put(key, features(key))
            assert cache.get(key) is not None
    assert sum("cannot be read" in record.message for record in caplog.records) == 1
    assert cache.counts.not_stored == 0


def test_a_folder_that_cannot_be_made_and_a_file(shared: Path) -> None:
    with another_user(shared):
        cache = FeatureCache(shared / "a" / "b")
        assert cache.get(KEYS[0]) is None
        cache.put(KEYS[0], features(KEYS[0]))
        assert cache.counts.not_stored == 1
    (shared / "file").write_text("x")
    for path in (shared / "file", shared / "file" / "below"):
        with pytest.raises(WrongUse, match="is no folder"):
            FeatureCache(path)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EIO, errno.ENOSPC, errno.EFBIG, errno.ESTALE])
def test_any_failure_to_write_costs_the_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    cache = filled(tmp_path, KEYS[:1])

    def failing(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", failing)
    with caplog.at_level(logging.WARNING):
        for key in KEYS[1:]:
            cache.put(key, features(key))
    assert cache.counts.not_stored == len(KEYS) - 1
    assert len(caplog.records) == 1
    assert not list(tmp_path.rglob("*.draft"))
    assert cache.get(KEYS[0]) is not None


@pytest.mark.parametrize("hours", [-2, 2, 48])
def test_a_draft_at_work_survives_any_clock(tmp_path: Path, hours: float) -> None:
    cache = filled(tmp_path, KEYS[:1])
    held, dead = (tmp_path / "00" / f"{0:064x}.{name}.draft" for name in ("aaaaaaaa", "bbbbbbbb"))
    for draft in (held, dead):
        draft.write_bytes(b"x")
        os.utime(draft, (time.time() - hours * 3600,) * 2)
    with held.open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        cache.prune(10**9)
        assert held.exists()
    assert dead.exists() == (hours < 0)
    assert not list(tmp_path.rglob("*.clock"))


def test_a_draft_that_another_machine_deleted_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, lost = os.replace, list[Path]()

    def replace(draft: Path, file: Path) -> None:
        if len(lost) < 2:
            lost.append(draft)
            draft.unlink()
        real(draft, file)

    monkeypatch.setattr(os, "replace", replace)
    cache = filled(tmp_path, KEYS[:1])
    assert len(lost) == 2
    assert cache.counts.not_stored == 0
    assert cache.get(KEYS[0]) is not None


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)
    cache = filled(tmp_path, KEYS[:2])
    old, young = (tmp_path / "00" / f"{0:064x}.{name}.draft" for name in ("aaaaaaaa", "bbbbbbbb"))
    for draft, age in ((old, 7200), (young, 1800)):
        draft.write_bytes(b"x")
        os.utime(draft, (time.time() - age,) * 2)
    cache.prune(10**9)
    assert not old.exists()
    assert young.exists()
    assert len(cache) == 2


def test_the_next_writer_deletes_what_a_dead_one_left(tmp_path: Path) -> None:
    folder = tmp_path / KEYS[1][:2]
    folder.mkdir()
    dead, held = (folder / f"{KEYS[1]}.{name}.draft" for name in ("aaaaaaaa", "bbbbbbbb"))
    other = folder / f"{KEYS[1]}.notes.draft"
    for draft in (dead, held, other):
        draft.write_bytes(b"x")
    with held.open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        filled(tmp_path, KEYS[:2])
    assert {file.name for file in folder.iterdir()} == {held.name, other.name, f"{KEYS[1]}.safetensors"}


def test_fill_into_a_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "world"))
    cache = tmp_path / "features"
    given = [
        "features", "fill", "--tasks", "vqav2", "--data", "demo", "--demo-examples", "8",
        "--model", f"anymal:{tiny.write(tmp_path)}", "--features", str(cache), "--threads", "1",
    ]  # fmt: skip
    assert cli.main(given, standalone_mode=False) == 0
    entries = sorted(cache.glob("??/*.safetensors"))
    real = os.open

    def read_only(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if str(path).startswith(str(cache)) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", read_only)
    capsys.readouterr()
    assert cli.main(given, standalone_mode=False) == 0
    assert f"0 encoded, {len(entries)} were there before" in capsys.readouterr().out
    entries[0].unlink()
    assert cli.main(given, standalone_mode=False) == 2
    printed = capsys.readouterr()
    assert printed.err.splitlines()[1:] == [f"{cache}: features of 1 media could not be stored: Read-only file system"]
    monkeypatch.setattr(FeatureCache, "can_store", lambda *_: False)
    assert cli.main(given, standalone_mode=False) == 2
    printed = capsys.readouterr()
    assert f"{len(entries)} media: 0 encoded, {len(entries) - 1} were there before" in printed.out
    assert printed.err.splitlines()[1:] == [f"{cache}: features of 1 media could not be stored: no permission to write"]


def test_links_that_another_user_planted_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    precious, cache = tmp_path / "precious", tmp_path / "cache"
    precious.write_text("years of work")
    filled(cache, KEYS[:2])
    digests = cache / "digests.jsonl"
    large = tmp_path / "large"
    large.write_bytes(b"x")
    os.utime(large, (0, 0))
    for name in (".lock", digests.name, f".{digests.stem}.{platform.node()}.lock"):
        (cache / name).unlink(missing_ok=True)
        (cache / name).symlink_to(precious)
    FeatureCache(cache).prune(10**9)
    remembered = RememberedDigests(digests)
    monkeypatch.setattr("anymal_eval.fingerprint._is_new", lambda _: False)
    assert remembered.of_all([large], lambda _: "digest") == ["digest"]
    assert precious.read_text() == "years of work"
