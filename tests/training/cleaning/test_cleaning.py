"""Cleaned shards hold what a hand-labelled set says, without faces, whole after a kill and the same from Ray."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from anymal_eval.cli.main import cli
from anymal_eval.errors import NeedsExtra, OtherRun, WrongUse
from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.training.cleaning.captions import CaptionParser
from anymal_eval.training.cleaning.faces import FaceBlur
from anymal_eval.training.cleaning.run import CleaningPlan, clean
from anymal_eval.training.cleaning.text_spotting import TextSpotter, repeated
from anymal_eval.training.sources import open_data
from tests.conftest import ROOT
from tests.training.cleaning.captions import labelled
from tests.training.cleaning.conftest import encoded, person, picture, pixels, read_shard, write_shard


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards: captions of all labels, texts in pictures, and faces among odd samples."""
    folder = tmp_path_factory.mktemp("sources")
    few = [one for label in ("keep", "complexity", "action") for one in labelled() if one.label == label]
    write_shard(folder / "00.tar", [{"png": encoded(picture()), "txt": one.text} for one in few[::12]])
    texts = [("", "a dog runs"), ("GARDEN", "two children play in the garden"), ("HORSE 5", "a dog runs"),
             ("RIDES", "a man rides a horse")]  # fmt: skip
    write_shard(folder / "01.tar", [{"png": encoded(picture(text)), "txt": caption} for text, caption in texts])
    face = encoded(person(), "JPEG")
    write_shard(
        folder / "02.tar",
        [
            {"jpg": face, "json": json.dumps({"caption": "a woman is walking her dog"})},
            {"jpg": b"no picture", "txt": "a dog runs"},
            {"wav": b"sound", "txt": "a dog runs"},
            {"png": encoded(picture()), "json": '{"caption": ["a house", "a man rides a horse"], "url": "x"}'},
        ],
    )
    return folder


@pytest.fixture(scope="module")
def cleaned(sources: Path, pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cleaned") / "out"
    command = ["train", "data", "clean", str(sources / "{00..02}.tar"), "--out", str(out), "--cat", "--blur-faces"]
    done = CliRunner().invoke(cli, [*command, "--spacy", str(pipeline)])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == str(out / "cleaning.md")
    return out


def test_sixty_captions_are_split_as_labelled(pipeline: Path) -> None:
    parser = CaptionParser(str(pipeline))
    assert len(labelled()) == 60
    for one in labelled():
        parse = parser(one.text)
        found = "complexity" if parse.complexity < 1 else "keep" if parse.actions else "action"
        assert found == one.label, (one.text, parse)
    # The example of the paper: the bird is small, brown, and chased.
    assert parser("a black cat chases a small brown bird").complexity == 3
    assert re.fullmatch(r"en_labelled 1\.0 \([0-9a-f]{16}\), spaCy .+", parser.description)


def test_a_pipeline_is_known_by_its_files(pipeline: Path, tmp_path: Path) -> None:
    import spacy

    copied, other = (shutil.copytree(pipeline, tmp_path / name) for name in ("copied", "other"))
    nlp = spacy.load(other)
    parse: Any = nlp.get_pipe("parser")
    layer = next(each for each in parse.model.walk() if each.has_param("W"))
    layer.set_param("W", -layer.get_param("W"))
    nlp.to_disk(other)
    first, copy, changed = (CaptionParser(str(each)).description for each in (pipeline, copied, other))
    assert first == copy
    assert changed.partition(" (")[0] == first.partition(" (")[0] == "en_labelled 1.0"
    assert changed != first


def test_a_text_in_the_picture_counts_by_words_of_five_letters() -> None:
    spotter = TextSpotter()
    assert "garden" in repeated(spotter(np.asarray(picture("GARDEN"))), "two children play in the Garden")
    assert repeated(spotter(np.asarray(picture("SALE 2023"))), "a sale in 2023") == []
    assert spotter(np.asarray(picture())) == []


def test_a_face_is_blurred_and_no_other_pixel(cleaned: Path, sources: Path) -> None:
    found = read_shard(cleaned / "02.tar")
    before, after = pixels(read_shard(sources / "02.tar")["0000.jpg"]), pixels(found["0000.png"])
    blur = FaceBlur()
    boxes = blur.find(before)
    assert any(left < 300 < right and top < 200 < bottom for left, top, right, bottom in boxes)  # the face, by eye
    outside = np.ones(before.shape[:2], bool)
    for left, top, right, bottom in boxes:
        outside[top:bottom, left:right] = False
    assert np.array_equal(before[outside], after[outside])
    assert (before[~outside] != after[~outside]).any(axis=-1).mean() > 0.9
    # What is left of the face is a few cells: no cascade finds one where it was.
    assert not [box for box in blur.find(after) if box in boxes]
    assert blur.find(np.asarray(picture())) == []


def test_samples_stay_as_labelled_and_unchanged(cleaned: Path, sources: Path) -> None:
    few = [one for label in ("keep", "complexity", "action") for one in labelled() if one.label == label][::12]
    kept = [f"{number:04d}" for number, one in enumerate(few) if one.label == "keep"]
    found, before = read_shard(cleaned / "00.tar"), read_shard(sources / "00.tar")
    assert sorted({name[:4] for name in found}) == kept
    assert all(before[name] == content for name, content in found.items())
    assert sorted(read_shard(cleaned / "01.tar")) == ["0000.png", "0000.txt", "0002.png", "0002.txt"]
    assert sorted(read_shard(cleaned / "02.tar")) == ["0000.json", "0000.png", "0003.json", "0003.png"]


def test_the_report_and_the_manifest_count_every_sample(cleaned: Path) -> None:
    manifest = json.loads((cleaned / "cleaning.json").read_text(encoding="utf-8"))
    few = [one.label for label in ("keep", "complexity", "action") for one in labelled() if one.label == label][::12]
    assert manifest["kept"] == few.count("keep") + 2 + 2
    assert manifest["dropped"] == {
        "complexity": few.count("complexity"), "action": few.count("action"), "text in the picture": 2,
        "unreadable picture": 1, "no captioned picture": 1,
    }  # fmt: skip
    assert manifest["faces"] >= 1
    assert "RapidOCR" not in manifest["cleaning"]["rules"]["captions"]
    assert "haarcascade" in manifest["cleaning"]["rules"]["faces"]
    text = (cleaned / "cleaning.md").read_text(encoding="utf-8")
    assert "two children play in the garden" in text
    assert "garden" in text
    data = open_data(f"webdataset:{cleaned}/{{00..02}}.tar")
    assert data.cleaned is not None
    assert data.cleaned["kept"] == manifest["kept"]
    assert data.cleaned["cleaning"] == manifest["cleaning"]


KILLED = """
import os, signal, sys
from anymal_eval.cli import main
from anymal_eval.training.cleaning import shard

def sample(cleaner, key, parts, report):
    if report.shard == "01.tar" and key == "0002":
        os.kill(os.getpid(), signal.SIGKILL)
    return real(cleaner, key, parts, report)

real, shard.ShardCleaner._sample = shard.ShardCleaner._sample, sample
main.main()
"""


def test_a_killed_shard_is_made_again_whole(sources: Path, tmp_path: Path) -> None:
    command = ["train", "data", "clean", str(sources / "*.tar"), "--out", str(tmp_path / "out"), "--blur-faces"]
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", KILLED, *command], cwd=ROOT, env=here, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert sorted(each.name for each in (tmp_path / "out").glob("*.tar")) == ["00.tar"]
    first = (tmp_path / "out" / "00.tar").stat().st_mtime_ns
    with pytest.raises(Exception, match="has not finished"):
        open_data(f"webdataset:{tmp_path}/out/00.tar")
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "00.tar").stat().st_mtime_ns == first
    whole = CleaningPlan(shards=str(sources / "*.tar"), out=tmp_path / "whole", blur_faces=True)
    clean(whole, SilentConsole())
    for name in ("00.tar", "01.tar", "02.tar", "cleaning.json", "cleaning.md"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list((tmp_path / "out").glob(".*.draft"))


def test_two_ray_workers_give_the_shards_of_one_process(sources: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    plan: dict[str, Any] = {"shards": str(sources / "*.tar"), "blur_faces": True}
    clean(CleaningPlan(**plan, out=tmp_path / "one"), SilentConsole())
    clean(CleaningPlan(**plan, out=tmp_path / "two", workers=2), SilentConsole())
    for name in ("00.tar", "01.tar", "02.tar", "cleaning.json", "cleaning.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_without_ray_the_option_of_the_command_is_named(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    plan = CleaningPlan(shards=str(sources / "00.tar"), out=tmp_path / "out", blur_faces=True, workers=2)
    with pytest.raises(NeedsExtra, match=r"^--workers 2 needs Ray: pip install 'anymal_eval\[ray\]'$"):
        clean(plan, SilentConsole())


def test_what_cannot_be(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = str(sources / "00.tar")
    console = SilentConsole()
    with pytest.raises(WrongUse, match="nothing to do: give --cat, --blur-faces or both"):
        clean(CleaningPlan(shards=one, out=tmp_path), console)
    with pytest.raises(WrongUse, match=r"the shards are there; choose another folder"):
        clean(CleaningPlan(shards=one, out=sources, blur_faces=True), console)
    with pytest.raises(WrongUse, match=r"--spacy en_none: .*install one .python -m spacy download en_core_web_sm."):
        clean(CleaningPlan(shards=one, out=tmp_path / "a", cat=True, spacy="en_none"), console)
    clean(CleaningPlan(shards=one, out=tmp_path / "a", blur_faces=True), console)
    monkeypatch.setattr("anymal_eval.training.cleaning.run.make_cleaner", _other)
    with pytest.raises(OtherRun, match="its shards were cleaned in another way"):
        clean(CleaningPlan(shards=one, out=tmp_path / "a", blur_faces=True), console)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(NeedsExtra, match=r"--blur-faces needs OpenCV: pip install 'anymal_eval\[clean\]'"):
        FaceBlur()


def test_no_file_is_replaced_that_no_cleaning_made(sources: Path, tmp_path: Path) -> None:
    one, console = str(sources / "00.tar"), SilentConsole()
    (tmp_path / "link").symlink_to(sources)
    before = (sources / "00.tar").read_bytes()
    for out in (tmp_path / "link", sources / ".." / sources.name):
        with pytest.raises(WrongUse, match="the shards are there; choose another folder"):
            clean(CleaningPlan(shards=one, out=out, blur_faces=True), console)
    assert (sources / "00.tar").read_bytes() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "00.tar").write_bytes(b"mine")
    with pytest.raises(WrongUse, match=r"00\.tar: no cleaning made it; choose another --out"):
        clean(CleaningPlan(shards=one, out=tmp_path / "other", blur_faces=True), console)
    assert (tmp_path / "other" / "00.tar").read_bytes() == b"mine"
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "cleaning.md").write_text("mine", encoding="utf-8")
    with pytest.raises(WrongUse, match=r"cleaning\.md: no cleaning made it; choose another --out"):
        clean(CleaningPlan(shards=one, out=tmp_path / "page", blur_faces=True), console)
    assert (tmp_path / "page" / "cleaning.md").read_text(encoding="utf-8") == "mine"
    for wrong, line in (("pipe:cat 0.tar", "pipe:cat 0.tar"), ("https://me:word@host/0.tar", "https://host/0.tar")):
        with pytest.raises(WrongUse) as refused:
            clean(CleaningPlan(shards=wrong, out=tmp_path / "b", blur_faces=True), console)
        assert str(refused.value) == f"{line}: fetch the shards first; files are cleaned"
    with pytest.raises(WrongUse, match="--address host:1: give the number of Ray workers, too"):
        clean(CleaningPlan(shards=one, out=tmp_path / "b", blur_faces=True, address="host:1"), console)


def test_a_folder_takes_more_shards_and_no_other_of_the_same_name(sources: Path, tmp_path: Path) -> None:
    console, out = SilentConsole(), tmp_path / "out"
    first = clean(CleaningPlan(shards=str(sources / "00.tar"), out=out, blur_faces=True), console)
    assert first.shards == 1
    both = clean(CleaningPlan(shards=str(sources / "01.tar"), out=out, blur_faces=True), console)
    assert (both.shards, both.kept) == (2, first.kept + 4)
    (tmp_path / "else").mkdir()
    write_shard(tmp_path / "else" / "00.tar", [{"png": encoded(picture()), "txt": "another"}])
    before = (out / "00.tar").read_bytes()
    with pytest.raises(OtherRun, match=r"00\.tar: it was made of another shard than .*else/00\.tar"):
        clean(CleaningPlan(shards=str(tmp_path / "else" / "00.tar"), out=out, blur_faces=True), console)
    assert (out / "00.tar").read_bytes() == before
    assert open_data(f"webdataset:{out}/*.tar").cleaned is not None
    # A shard that was put there is not cleaned, and so the data are not.
    (out / "07.tar").write_bytes((tmp_path / "else" / "00.tar").read_bytes())
    assert open_data(f"webdataset:{out}/*.tar").cleaned is None
    # And it is not replaced, nor one that was changed; one whose kill came before it had its name is made again.
    (tmp_path / "else" / "07.tar").write_bytes(before)
    (out / "00.tar").write_bytes(before + bytes(512))
    for source in (tmp_path / "else" / "07.tar", sources / "00.tar"):
        mine = (out / source.name).read_bytes()
        with pytest.raises(WrongUse) as refused:
            clean(CleaningPlan(shards=str(source), out=out, blur_faces=True), console)
        assert str(refused.value) == (
            f"{out / source.name}: no cleaning made it, or it was changed since; move it away, or choose another --out"
        )
        assert (out / source.name).read_bytes() == mine
    (out / "00.tar").unlink()
    (out / ".00.tar.draft").symlink_to(tmp_path / "else" / "00.tar")
    outside = (tmp_path / "else" / "00.tar").read_bytes()
    assert clean(CleaningPlan(shards=str(sources / "00.tar"), out=out, blur_faces=True), console).shards == 2
    assert ((out / "00.tar").read_bytes(), (tmp_path / "else" / "00.tar").read_bytes()) == (before, outside)


def test_a_thumbnail_has_no_face_either(tmp_path: Path) -> None:
    face = encoded(person(), "JPEG")
    names = ("0`<b>.jpg", "0`<b>.thumb.jpg", "0`<b>.broken.png", "0`<b>.txt")
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for name, body in zip(names, (face, face, b"no picture", b"a `woman`"), strict=True):
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
    found = clean(CleaningPlan(shards=str(tmp_path / "0.tar"), out=tmp_path / "out", blur_faces=True), SilentConsole())
    made = read_shard(tmp_path / "out" / "0.tar")
    assert sorted(made) == ["0`<b>.png", "0`<b>.thumb.png", "0`<b>.txt"]
    assert np.array_equal(pixels(made["0`<b>.png"]), pixels(made["0`<b>.thumb.png"]))
    assert found.faces == 2 * len(FaceBlur().find(pixels(face)))
    manifest = json.loads((tmp_path / "out" / "cleaning.json").read_text(encoding="utf-8"))
    assert [line.partition(" is left out")[0] for line in manifest["unread"]] == ["0.tar: 0`<b>.broken.png"]
    report = (tmp_path / "out" / "cleaning.md").read_text(encoding="utf-8")
    line = next(each for each in report.splitlines() if "woman" in each)
    assert line.count("`") == 6  # around the name, the caption and the reason
    assert line.startswith('- `"0.tar 0\\u0060<b>"`: `"a \\u0060woman\\u0060"`')


def test_what_is_no_caption_and_what_is_damaged_is_named(tmp_path: Path) -> None:
    values = ("5", "true", "[1]", '{"a": 1}', '"\\ud800 dog"', '["", "a \\u001b[2Jdog <b>"]')
    write_shard(
        tmp_path / "0.tar", [{"png": encoded(picture()), "json": f'{{"caption": {value}}}'} for value in values]
    )
    (tmp_path / "1.tar").write_bytes(b"")
    command = ["train", "data", "clean", str(tmp_path / "*.tar"), "--out", str(tmp_path / "out"), "--blur-faces"]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    assert f"left out: {tmp_path / '1.tar'}: no plain tar file: empty file\n" in done.stderr
    assert done.stdout.splitlines()[0] == (
        "samples: 1 kept, 5 dropped for no captioned picture; shards: 2; faces blurred: 0"
    )
    assert sorted(read_shard(tmp_path / "out" / "0.tar")) == ["0005.json", "0005.png"]
    text = (tmp_path / "out" / "cleaning.md").read_text(encoding="utf-8")
    assert '- `"0.tar 0005"`: `"a \\u001b[2Jdog <b>"`\n' in text
    assert "## Left out: 1\n" in text
    with pytest.raises(WrongUse, match="--spacy mine: only --cat parses captions; give it, too"):
        clean(CleaningPlan(shards="0.tar", out=tmp_path / "b", blur_faces=True, spacy="mine"), SilentConsole())


@pytest.mark.parametrize(("package", "why"), [("numpy", "load"), ("click", "load")])
def test_a_package_that_is_no_pipeline(package: str, why: str) -> None:
    with pytest.raises(WrongUse, match=rf"^--spacy {package}: .*{why}.*; install one \(python -m spacy download"):
        CaptionParser(package)


def test_odd_captions_and_pictures_end_nothing(pipeline: Path) -> None:
    long = CaptionParser(str(pipeline))("a dog runs " + "x" * 1_100_000)
    assert long.complexity >= 0
    assert TextSpotter()(np.zeros((2, 3000, 3), np.uint8)) == []


def _other(plan: CleaningPlan) -> Any:
    from anymal_eval.training.cleaning.run import DescribedCleaner

    made = DescribedCleaner(None, None, FaceBlur())
    made.rules["faces"] = "by another version"
    return made
