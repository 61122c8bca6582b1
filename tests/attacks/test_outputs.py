"""A file that the user names: a device, a FIFO or a link is written, never replaced, and every error is one line."""

import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from anymal_eval.cli.check import check
from anymal_eval.errors import AnyMALEvalError, StorageFull, WrongUse
from anymal_eval.store.atomic import write_user_file
from tests.conftest import ROOT
from tests.report import conftest as report

scored = report.scored
OPTIONS = ("--markdown", "--junit", "--json")
LONG = "x" * (1 << 20)  # more than a pipe holds


@pytest.fixture
def run(scored: Callable[..., Path]) -> Path:
    return scored("run", {"scienceqa": np.ones((40, 1))})


def undated(content: bytes) -> bytes:
    """JUnit XML holds the second in which it was written."""
    return re.sub(rb'timestamp="[^"]*"', b"", content)


def write(run: Path, option: str, file: Path) -> None:
    """``check`` of a run against itself, with one option that writes ``file``."""
    done = CliRunner().invoke(check, [str(run), "--against", str(run), option, str(file)])
    assert done.exception is None, done.exception
    assert done.exit_code == 0


def expected(run: Path, option: str, folder: Path) -> bytes:
    write(run, option, folder / "expected")
    content = (folder / "expected").read_bytes()
    assert content
    return undated(content)


def reader(fifo: Path) -> tuple[threading.Thread, list[bytes]]:
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(fifo.read_bytes()), daemon=True)
    thread.start()
    return thread, found


def refusal(file: Path, kind: type[AnyMALEvalError], content: str = "text") -> str:
    with pytest.raises(kind) as caught:
        write_user_file(file, content)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("option", OPTIONS)
def test_a_fifo_is_written(run: Path, option: str, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    thread, found = reader(fifo)
    write(run, option, fifo)
    thread.join(timeout=60)
    assert list(map(undated, found)) == [expected(run, option, tmp_path)]
    assert stat.S_ISFIFO(fifo.lstat().st_mode)


@pytest.mark.parametrize("option", OPTIONS)
def test_a_link_stays_and_its_target_is_written(run: Path, option: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "target", tmp_path / "link"
    target.write_text("old and longer than what replaces it\n" * 1000)
    inode = target.stat().st_ino
    link.symlink_to(target)
    write(run, option, link)
    assert link.is_symlink()
    assert target.stat().st_ino == inode
    assert undated(target.read_bytes()) == expected(run, option, tmp_path)
    assert [each.name for each in (tmp_path / "there").iterdir()] == ["target"]


def test_a_link_to_nothing_makes_its_target(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "new")
    write_user_file(link, "text")
    assert link.is_symlink()
    assert (tmp_path / "new").read_text() == "text"


@pytest.mark.parametrize("option", OPTIONS)
def test_a_device_is_written(run: Path, option: str, tmp_path: Path) -> None:
    master, slave = os.openpty()
    device = Path(os.ttyname(slave))
    link = tmp_path / "device"
    link.symlink_to(device)
    read = bytearray()

    def drain() -> None:
        # The last byte is sent below: a terminal has no end of file while it is open.
        while not read.endswith(b"\x04"):
            read.extend(os.read(master, 1 << 16))

    thread = threading.Thread(target=drain, daemon=True)
    thread.start()
    for file in (device, link):
        write(run, option, file)
    os.write(slave, b"\x04")
    thread.join(timeout=60)
    content = expected(run, option, tmp_path).replace(b"\n", b"\r\n")
    assert undated(bytes(read[:-1])) == content + content
    assert device.is_char_device()
    assert link.is_symlink()
    os.close(master)
    os.close(slave)


def test_the_null_device_stays_a_device(tmp_path: Path) -> None:
    null = Path(os.devnull)
    if os.geteuid() == 0:  # root could replace the machine's own, so the test makes another
        null = tmp_path / "null"
        try:
            os.mknod(null, stat.S_IFCHR | 0o666, Path(os.devnull).stat().st_rdev)
            null.write_bytes(b"")
        except PermissionError:
            pytest.skip("devices cannot be made, or opened, here")
    before = null.stat().st_rdev
    write_user_file(null, "text")
    assert null.is_char_device()
    assert null.stat().st_rdev == before


def test_a_regular_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "file"
    write_user_file(file, "one")
    with file.open() as old:
        write_user_file(file, "two")
        assert old.read() == "one"  # a reader of the old file keeps it whole
    assert file.read_text() == "two"
    assert [each.name for each in file.parent.iterdir()] == ["file"]


def test_a_hard_link_keeps_the_other_name_s_content(tmp_path: Path) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_text("old")
    other.hardlink_to(file)
    write_user_file(file, "new")
    assert (file.read_text(), other.read_text()) == ("new", "old")


def test_a_reader_that_leaves(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def leave() -> None:
        with fifo.open("rb", buffering=0) as stream:
            stream.read(1)

    thread = threading.Thread(target=leave, daemon=True)
    thread.start()
    assert "Broken pipe" in refusal(fifo, WrongUse, LONG)
    thread.join(timeout=60)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    refusal(tmp_path, WrongUse)
    refusal(loop, WrongUse)
    refusal(tmp_path / ("n" * 300), WrongUse)
    assert "choose another file" in refusal(tmp_path / "file" / "below", WrongUse)
    assert (tmp_path / "file").read_text() == "text"
    full = Path("/dev/full")
    if full.is_char_device():
        refusal(full, StorageFull)
        assert full.is_char_device()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into a read-only folder")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o500)
    assert "make it writable" in refusal(folder / "file", WrongUse)
    assert list(folder.iterdir()) == []


def test_a_full_disk_keeps_the_old_file(small_disk: Path) -> None:
    file = small_disk / "file"
    write_user_file(file, "old")
    assert "no space left" in refusal(file, StorageFull, LONG)
    assert file.read_text() == "old"
    assert sorted(each.name for each in small_disk.iterdir()) == ["file", "filler"]


@pytest.mark.parametrize("linked", [False, True])
def test_the_size_limit_of_a_process(run: Path, tmp_path: Path, linked: bool) -> None:
    file = tmp_path / "file"
    if linked:
        file.symlink_to(tmp_path / "target")
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100));"
        "from anymal_eval.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, "check", str(run), "--against", str(run), "--json", str(file)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, check=False, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: {file}: the size limit of a file is reached")
    assert done.stderr.count("\n") == 1
    assert file.is_symlink() is linked
    assert linked or not file.exists()
