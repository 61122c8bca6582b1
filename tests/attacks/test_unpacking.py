"""Archives that somebody else made: nothing is written outside the folder, and nothing there is replaced."""

import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from anymal_eval.errors import AnyMALEvalError, BadData, StorageFull
from anymal_eval.sources import unpacking
from anymal_eval.sources.unpacking import holds, unpack
from tests.attacks.conftest import listing

MEMBERS = {"val2014/": "val2014/", "notes.json": "notes.json"}


def zipped(file: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def tarred(file: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(file, "w:gz" if file.name.endswith("gz") else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file


MAKERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {"a.zip": zipped, "a.tar": tarred, "a.tgz": tarred}


@pytest.mark.parametrize("name", MAKERS)
def test_named_members_at_any_depth(name: str, tmp_path: Path) -> None:
    content = {
        "coco/val2014/1.jpg": b"one", "coco/val2014/sub/2.jpg": b"two", "coco/annotations/notes.json": b"{}",
        "__MACOSX/val2014/._1.jpg": b"x", "README.md": b"x",
    }  # fmt: skip
    archive, root = MAKERS[name](tmp_path / name, content), tmp_path / "root"
    (root / "val2014").mkdir(parents=True)
    (root / "val2014" / "1.jpg").write_bytes(b"mine")
    assert holds(archive, MEMBERS) == list(MEMBERS)
    assert unpack(archive, MEMBERS, root) == list(MEMBERS)
    found = {str(each.relative_to(root)): each.read_bytes() for each in root.rglob("*") if each.is_file()}
    assert found == {"val2014/1.jpg": b"mine", "val2014/sub/2.jpg": b"two", "notes.json": b"{}"}
    assert unpack(archive, {"other/": "other/"}, root) == []


NAMES = ["../out.jpg", "val2014/../../out.jpg", "/root/out.jpg", "val2014\\..\\..\\out.jpg", "C:/out.jpg", "val2014//x"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
def test_names_that_lead_out(kind: str, name: str, tmp_path: Path, precious: Path) -> None:
    archive = MAKERS[kind](tmp_path / kind, {"val2014/1.jpg": b"one", name: b"out"})
    refused(archive, tmp_path, "in it leads out of it")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_of_a_tar(kind: bytes, tmp_path: Path, precious: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("val2014/1.jpg")
        info.type, info.linkname = kind, "../../precious/thesis.tex"
        archive.addfile(info)
    refused(tmp_path / "a.tar", tmp_path, "is a link or a device, which no archive of data holds")


def test_a_link_in_a_zip(tmp_path: Path, precious: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("val2014/1.jpg")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path / "a.zip", tmp_path, "is a link or a device, which no archive of data holds")


def test_two_members_of_one_name(tmp_path: Path, precious: Path) -> None:
    archive = tarred(tmp_path / "a.tar", {"val2014/1.jpg": b"one", "VAL2014/1.jpg": b"x"})
    assert holds(archive, MEMBERS) == ["val2014/"]
    with tarfile.open(tmp_path / "b.tar", "w") as made:
        for content in (b"one", b"two"):
            info = tarfile.TarInfo("val2014/1.jpg")
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    refused(tmp_path / "b.tar", tmp_path, "it holds two members of one name")


def test_a_bomb(tmp_path: Path, precious: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "PLAIN_BYTES", 1 << 20)
    for kind in ("a.zip", "a.tgz"):
        archive = MAKERS[kind](tmp_path / kind, {"val2014/1.jpg": bytes(3 << 20)})
        assert archive.stat().st_size < 1 << 14
        refused(archive, tmp_path, "it would unpack to 3,145,728 bytes, 200 times its own size or more")


def test_a_size_that_is_a_lie(tmp_path: Path, precious: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"val2014/1.jpg": b"abcdefgh" * 9})
    raw = bytearray(archive.read_bytes())
    for place, offset in ((raw.find(b"PK\x03\x04"), 22), (raw.find(b"PK\x01\x02"), 24)):
        raw[place + offset : place + offset + 4] = struct.pack("<I", 5)
    archive.write_bytes(raw)
    refused(archive, tmp_path, "is the file whole?")


@pytest.mark.parametrize("kind", MAKERS)
def test_cut_off(kind: str, tmp_path: Path, precious: Path) -> None:
    archive = MAKERS[kind](tmp_path / kind, {"val2014/1.jpg": b"one" * 99_999})
    archive.write_bytes(archive.read_bytes()[:150])
    refused(archive, tmp_path, "a")


def test_no_space(tmp_path: Path, precious: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zipped(tmp_path / "a.zip", {"val2014/1.jpg": b"one"})
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 2})())
    refused(archive, tmp_path, "unpacks to 3 bytes, and 2 are free: make space", StorageFull)


def test_a_folder_that_is_a_link_out(tmp_path: Path, precious: Path) -> None:
    archive, root = zipped(tmp_path / "a.zip", {"val2014/1.jpg": b"one"}), tmp_path / "data" / "vqav2"
    root.mkdir(parents=True)
    (root / "val2014").symlink_to(precious)
    refused(archive, tmp_path, "out of the data folder")


def refused(archive: Path, tmp_path: Path, why: str, error: type[AnyMALEvalError] = BadData) -> None:
    """Nothing is written; the message is one line that names the archive."""
    root = tmp_path / "data" / "vqav2"
    before = listing(tmp_path)
    with pytest.raises(error) as found:
        unpack(archive, MEMBERS, root)
    assert why in str(found.value)
    assert "\n" not in str(found.value)
    work = {str(each) for each in (tmp_path / "data", root, root / unpacking.WORK)}
    after = listing(tmp_path)
    assert {path: what for path, what in after.items() if path not in work | before.keys()} == {}
    assert before.items() <= after.items()
