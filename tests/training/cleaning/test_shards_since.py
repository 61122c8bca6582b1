"""Shards that were cleaned and changed since do not count as cleaned, nor do sources that changed since as done."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from anymal_eval.checksums import read_checked_json, write_checked_json
from anymal_eval.errors import BadData, MissingData, OtherRun, WrongUse
from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.training.cleaning.faces import FaceBlur
from anymal_eval.training.cleaning.run import CleaningPlan, clean
from anymal_eval.training.sources import _cleaning, open_data
from tests.training.cleaning.conftest import encoded, person, picture, write_shard


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two cleaned shards: three samples, and one with a face beside one without caption."""
    plain = {"png": encoded(picture()), "txt": "a dog runs"}
    write_shard(tmp_path / "0.tar", [plain] * 3)
    write_shard(tmp_path / "1.tar", [{"png": encoded(person()), "txt": "a woman"}, {"png": encoded(picture())}])
    _clean(tmp_path, "{0..1}.tar")
    return tmp_path / "out"


def _clean(folder: Path, name: str) -> None:
    clean(CleaningPlan(shards=str(folder / name), out=folder / "out", blur_faces=True), SilentConsole())


def _again(file: Path, **changes: object) -> None:
    """Write a file with a checksum again, with some keys changed; those of None are left out."""
    found = read_checked_json(file)[0] | changes
    file.write_text(write_checked_json({name: value for name, value in found.items() if value is not None}))


def test_the_numbers_are_of_the_shards_that_are_read(out: Path) -> None:
    first, second, both = (open_data(f"webdataset:{out}/{name}").cleaned for name in ("0.tar", "1.tar", "*.tar"))
    assert first is not None
    assert second is not None
    assert both is not None
    faces = len(FaceBlur().find(np.asarray(person())))
    assert (first["kept"], first["dropped"], first["faces"]) == (3, {}, 0)
    assert (second["kept"], second["dropped"], second["faces"]) == (1, {"no captioned picture": 1}, faces)
    assert (both["kept"], both["dropped"], both["faces"]) == (4, {"no captioned picture": 1}, faces)
    assert first["cleaning"] == both["cleaning"] == json.loads((out / "cleaning.json").read_text())["cleaning"]


def test_a_shard_that_was_replaced_is_no_cleaned_one(out: Path) -> None:
    made = (out / "1.tar").read_bytes()
    wrong = r"^.*/out/1\.tar: it is not the shard that the cleaning made; move it away and give the command"
    shutil.copy(out.parent / "1.tar", out / "1.tar")
    with pytest.raises(BadData, match=wrong):
        open_data(f"webdataset:{out}/1.tar")
    assert open_data(f"webdataset:{out}/0.tar").cleaned is not None
    # As long as the one that was made.
    (out / "1.tar").write_bytes(made[:2000] + bytes([made[2000] ^ 1]) + made[2001:])
    with pytest.raises(BadData, match=wrong):
        open_data(f"webdataset:{out}/*.tar")
    with pytest.raises(WrongUse, match=r"1\.tar: no cleaning made it, or it was changed since; move it away"):
        _clean(out.parent, "1.tar")
    # What the line says helps.
    (out / "1.tar").unlink()
    _clean(out.parent, "1.tar")
    assert (out / "1.tar").read_bytes() == made
    assert open_data(f"webdataset:{out}/*.tar").cleaned is not None


def test_shards_are_read_only_where_they_are_copies(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    digests = _cleaning.sha256_of

    def noted(files: Sequence[Path]) -> list[str]:
        read.extend(file.name for file in files)
        return digests(files)

    monkeypatch.setattr(_cleaning, "sha256_of", noted)
    before = open_data(f"webdataset:{out}/*.tar").cleaned
    assert read == []
    copied = shutil.copytree(out, tmp_path / "copied", copy_function=shutil.copy)
    os.utime(copied / "0.tar", ns=(0, 0))
    os.utime(copied / "1.tar", ns=(0, 0))
    assert open_data(f"webdataset:{copied}/*.tar").cleaned == before
    assert sorted(read) == ["0.tar", "1.tar"]
    shutil.rmtree(copied / "reports")
    with pytest.raises(BadData, match=r"reports/0\.tar\.json: missing, damaged or of another cleaning than .*; copy"):
        open_data(f"webdataset:{copied}/*.tar")
    (copied / "cleaning.json").unlink()
    assert open_data(f"webdataset:{copied}/*.tar").cleaned is None


def test_what_an_earlier_version_cleaned_is_read_and_not_added_to(out: Path) -> None:
    before = open_data(f"webdataset:{out}/*.tar").cleaned
    _again(out / "cleaning.json", format=1)
    for name in ("0.tar", "1.tar"):
        _again(out / "reports" / f"{name}.json", mtime_ns=None, stills=None, captions=None, source="1" * 64)
    assert open_data(f"webdataset:{out}/*.tar").cleaned == before
    with pytest.raises(OtherRun, match=r"out: another version of anymal_eval cleaned its shards, .* another --out"):
        _clean(out.parent, "0.tar")


def test_a_source_that_changed_is_not_done(out: Path) -> None:
    source, made = out.parent / "0.tar", out / "0.tar"
    first = made.stat().st_mtime_ns
    # The same bytes at another time, as a copy has them.
    os.utime(source, ns=(0, 0))
    _clean(out.parent, "0.tar")
    assert made.stat().st_mtime_ns == first
    # Others of the same size, beyond what stands at the start.
    plain = {"png": encoded(picture()), "txt": "a dog runs"}
    content = source.read_bytes()
    write_shard(source, [plain, plain, plain | {"txt": "a cat runs"}])
    assert source.stat().st_size == len(content)
    with pytest.raises(OtherRun, match=r"out/0\.tar: it was made of another shard than .*0\.tar, or that was changed"):
        _clean(out.parent, "0.tar")


def test_a_source_that_changes_meanwhile_is_named(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_shard(out.parent / "2.tar", [{"png": encoded(picture()), "txt": "a dog runs"}])
    find = FaceBlur.find

    def written_to(blur: FaceBlur, picture: object) -> object:
        os.utime(source, ns=(0, 0))
        return find(blur, picture)  # type: ignore[arg-type]

    monkeypatch.setattr(FaceBlur, "find", written_to)
    with pytest.raises(BadData, match=r"2\.tar: it changed while it was cleaned; give the command again"):
        _clean(out.parent, "2.tar")
    assert not list(out.glob("*2.tar*"))


def test_another_way_is_named_in_words(out: Path) -> None:
    now = json.loads((out / "cleaning.json").read_text())["cleaning"]
    other = {"cat": True, "blur_faces": True, "rules": {"faces": "blurred by hand", "captions": "any"}}
    _again(out / "cleaning.json", cleaning=other)
    with pytest.raises(OtherRun) as refused:
        _clean(out.parent, "0.tar")
    assert str(refused.value) == (
        f"{out}: its shards were cleaned in another way: with --cat, now without; faces by 'blurred by hand', now by "
        f"{now['rules']['faces']!r}; clean in that way, or choose another --out"
    )


def test_what_is_refused_leaves_no_folder(out: Path, tmp_path: Path) -> None:
    shards, new = str(tmp_path / "0.tar"), tmp_path / "new"
    with pytest.raises(WrongUse, match="--spacy en_none: "):
        clean(CleaningPlan(shards=shards, out=new, cat=True, spacy="en_none"), SilentConsole())
    assert not new.exists()
    new.mkdir()
    (new / "0.tar").write_bytes(b"mine")
    with pytest.raises(WrongUse, match=r"0\.tar: no cleaning made it"):
        clean(CleaningPlan(shards=shards, out=new, blur_faces=True), SilentConsole())
    assert [each.name for each in new.iterdir()] == ["0.tar"]
    with pytest.raises(MissingData, match=rf"^{tmp_path}: a folder; name the shards in it: '{tmp_path}/\*\.tar'$"):
        clean(CleaningPlan(shards=str(tmp_path), out=new, blur_faces=True), SilentConsole())
    with pytest.raises(MissingData, match=r"^no shard .*/7\.tar; name files that are there: a path with ranges"):
        clean(CleaningPlan(shards=str(tmp_path / "7.tar"), out=new, blur_faces=True), SilentConsole())
