"""File systems without flock: a lease takes its place, with its host, process and time."""

import errno
import fcntl
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from anymal_eval import leases
from anymal_eval.errors import OtherRun
from anymal_eval.leases import Holder, Lease, take
from anymal_eval.locks import hold, replace_file, replacing, working
from anymal_eval.store.folder import RunFolder

FORKED = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True, params=[errno.ENOLCK, errno.EOPNOTSUPP], ids=["no lock server", "not supported"])
def no_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


def lease_of(folder: Path, **changed: Any) -> Path:
    """A lease of ``folder/lock`` as another host would leave it."""
    (folder / "lock").touch()
    lease = folder / "lock.lease"
    facts = {"host": "node-7", "processes": "", "pid": 1, "token": "t"} | changed
    lease.write_text(json.dumps(facts))
    return lease


def taken(folder: Path) -> Lease | Holder:
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        return take(folder / "lock", handle)
    finally:
        os.close(handle)


def aged(lease: Path, seconds: float) -> None:
    os.utime(lease, (time.time() - seconds,) * 2)


def test_one_holder(tmp_path: Path) -> None:
    with hold(tmp_path / "lock", "busy"):
        holder = json.loads((tmp_path / "lock.lease").read_text())
        assert holder["pid"] == os.getpid()
        with pytest.raises(OtherRun, match=rf"^busy \(.*, process {os.getpid()}, 0 s ago; abandoned after 60 s\)$"):
            hold(tmp_path / "lock", "busy").__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_lease_of_another_host(tmp_path: Path) -> None:
    lease = lease_of(tmp_path)
    aged(lease, 50)
    with pytest.raises(OtherRun, match=r"busy \(node-7, process 1, 5\d s ago; abandoned after 60 s\)"):
        hold(tmp_path / "lock", "busy").__enter__()
    aged(lease, 61)
    with hold(tmp_path / "lock", "busy"):
        assert json.loads(lease.read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_clock_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only the file system's times are compared.
    lease_of(tmp_path)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert isinstance(taken(tmp_path), Holder)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 1}', '{"pid": "x", "host": "", "token": ""}'])
def test_a_lease_that_is_not_whole(tmp_path: Path, content: str) -> None:
    lease = lease_of(tmp_path)
    lease.write_text(content)
    assert isinstance(taken(tmp_path), Holder)
    aged(lease, 61)
    with hold(tmp_path / "lock", "busy"):
        pass


def test_a_process_that_died(tmp_path: Path) -> None:
    child = FORKED.Process(target=lambda: (taken(tmp_path), os._exit(0)))
    (tmp_path / "lock").touch()
    child.start()
    child.join()
    assert (tmp_path / "lock.lease").is_file()
    with hold(tmp_path / "lock", "busy"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_it_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renewed = threading.Event()
    monkeypatch.setattr(leases, "RENEW_S", 0.01)
    with hold(tmp_path / "lock"):
        aged(tmp_path / "lock.lease", 1000)
        plain = os.utime

        def renewing(*given: Any) -> None:
            plain(*given)
            renewed.set()

        monkeypatch.setattr(os, "utime", renewing)
        assert renewed.wait(60)
        assert time.time() - (tmp_path / "lock.lease").stat().st_mtime < 900


def add(folder: Path, times: int) -> None:
    for _ in range(times):
        with hold(folder / "lock"):
            count = int((folder / "count").read_text())
            (folder / "count").write_text(str(count + 1))


def test_processes_exclude_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anymal_eval.locks._POLL_S", 0.001)
    (tmp_path / "count").write_text("0")
    children = [FORKED.Process(target=add, args=(tmp_path, 20)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "60"
    assert [file.name for file in tmp_path.iterdir()] == ["count"]


def test_every_use_of_a_lock(tmp_path: Path) -> None:
    replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    with working(tmp_path / "out") as work:
        assert work.is_dir()
    with replacing(tmp_path / "out", lambda folder: None) as new:
        (new / "a").write_text("a")
    with RunFolder(tmp_path / "run"), pytest.raises(OtherRun, match=r"another process .*\(.*, process \d+, 0 s ago"):
        RunFolder(tmp_path / "run").__enter__()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "file", "out", "run"]


def test_other_errors_stay_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        hold(tmp_path / "lock").__enter__()


def test_a_run_without_flock(tmp_path: Path) -> None:
    code = (
        "import errno, fcntl, sys\n"
        "def refuse(*_): raise OSError(errno.ENOTSUP, 'Operation not supported')\n"
        "fcntl.flock = refuse\n"
        "sys.argv = 'anymal-eval run --tasks hateful_memes --model constant --data demo --demo-examples 5'.split()\n"
        f"sys.argv += ['--out', '{tmp_path}/run']\n"
        "from anymal_eval.cli.main import main; main()"
    )
    environment = os.environ | {"ANYMAL_EVAL_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*.lease*"))
