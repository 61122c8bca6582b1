"""``data doctor`` and ``data link``: what lies under other names, in archives and elsewhere is found and linked."""

# ruff: noqa: E501  # a line of output is one line here
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anymal_eval.demo import write_task
from anymal_eval.errors import MissingData
from anymal_eval.sources.alternatives import Index, names_of
from anymal_eval.sources.dataset import DataOptions, load_dataset, require_media
from anymal_eval.sources.own import task_named
from tests.attacks.conftest import Ended, anymal, listing
from tests.sources.test_fetching import archive

__all__ = ["anymal"]

Anymal = Callable[..., Ended]
Lay = Callable[[str], Path]


@pytest.fixture
def lay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lay:
    """Draw a benchmark in its layout into ``data/NAME``; the working folder is above ``data``."""
    monkeypatch.chdir(tmp_path)

    def call(name: str) -> Path:
        write_task(name, Path("data"), examples=4)
        for extra in (tmp_path / "data" / name).glob("*groups*"):
            extra.unlink()
        return tmp_path / "data" / name

    return call


@pytest.fixture
def doctor(anymal: Anymal) -> Iterator[Callable[..., list[str]]]:
    def call(*words: object) -> list[str]:
        ended = anymal("data", *words)
        assert ended.lines == []
        return printed[-1].splitlines()

    printed: list[str] = []

    def echoed(text: object = "", **_: object) -> None:
        printed[-1] += f"{text}\n"

    def run(*words: object) -> list[str]:
        printed.append("")
        return call(*words)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("anymal_eval.cli.data.echo", echoed)
        yield run


Doctor = Callable[..., list[str]]


def test_an_archive_that_is_not_unpacked(lay: Lay, doctor: Doctor, tmp_path: Path) -> None:
    folder = lay("vqav2")
    (folder / "val2014.zip").write_bytes(archive(folder, "val2014"))
    shutil.rmtree(folder / "val2014")
    assert doctor("doctor", "vqav2")[:2] == [
        "  data/vqav2/val2014.zip is not unpacked: it holds val2014/",
        "      do: unpack it into data/vqav2; --fix does it",
    ]
    assert not (folder / "val2014").exists()
    assert doctor("doctor", "vqav2", "--fix") == [
        "  data/vqav2/val2014.zip is not unpacked: it holds val2014/",
        "      fixed: unpacked val2014/ into data/vqav2",
        "vqav2: nothing lacks; anymal-eval data check vqav2 compares it with the official counts",
    ]
    assert (folder / "val2014.zip").is_file()
    assert doctor("check", "vqav2")[-1].startswith("  image: nothing missing")


def test_a_folder_that_was_not_renamed(lay: Lay, doctor: Doctor) -> None:
    folder = lay("nextqa")
    (folder / "videos").rename(folder / "NExTVideo")
    lines = doctor("doctor", "nextqa", "--fix")
    assert lines[:2] == ["  videos/ is data/nextqa/NExTVideo", "      fixed: 1 symbolic link"]
    assert (folder / "videos").readlink() == Path("NExTVideo")
    assert doctor("check", "nextqa")[-1].startswith("  video: nothing missing")


def test_sounds_under_the_names_of_audioset(lay: Lay, doctor: Doctor) -> None:
    folder = lay("audiocaps")
    sounds = sorted((folder / "audio").iterdir())
    (folder / "audio" / "test").mkdir()
    for sound in sounds:
        sound.rename(folder / "audio" / "test" / f"Y{sound.name}")
    before = listing(folder / "audio" / "test")
    lines = doctor("doctor", "audiocaps", "--split", "test")
    assert lines == [
        f"  {len(sounds)} of {len(sounds)} lacking audio files have other names: {sounds[0].name} is data/audiocaps/audio/test/Y{sounds[0].name}",
        "      do: link them into data/audiocaps; --fix does it",
    ]
    doctor("doctor", "audiocaps", "--fix")
    assert listing(folder / "audio" / "test") == before
    assert doctor("check", "audiocaps", "--media")[-1].startswith("  audio: nothing missing or unreadable")


def test_clips_that_are_gone(lay: Lay, doctor: Doctor) -> None:
    folder = lay("audiocaps")
    first, second = sorted((folder / "audio").iterdir())[:2]
    first.unlink()
    second.write_bytes(b"\n<!DOCTYPE html><title>Video unavailable</title>")
    assert doctor("check", "audiocaps")[1:] == [
        f"  audio: 1 file not there: {first}",
        f"  audio: 1 file HTML page in place of the medium; fetch again: {second}",
        "  videos vanish from YouTube: papers use 957, 912 and 883 of the 975 clips of test; a run with --skip-missing-media leaves out those that are not there, and its table says how many are left",
    ]
    assert (
        f"  audio: 1 file unreadable: {second}: it is an HTML page, not a sound: its download failed, fetch it again"
        in doctor("check", "audiocaps", "--media")
    )
    lines = doctor("doctor", "audiocaps")
    assert lines[0] == f"  1 file HTML page in place of the medium; fetch again: {second}"
    assert lines[2] == (
        f"  1 audio files are nowhere in data/audiocaps, first {first.name} (videos vanish from YouTube: papers use 957, 912 and 883 of the 975 clips of test; "
        "a run with --skip-missing-media leaves out those that are not there, and its table says how many are left)"
    )


def test_the_folder_of_the_task_as_data_root(lay: Lay, doctor: Doctor, tmp_path: Path) -> None:
    folder = lay("nextqa")
    assert doctor("doctor", "nextqa", "--data-root", "data/nextqa") == [
        "  data/nextqa holds val.csv: it is the folder of nextqa itself",
        f"      do: give the folder above it: --data-root {tmp_path / 'data'}",
    ]
    folder.rename(tmp_path / "mine")
    assert doctor("doctor", "nextqa", "--data-root", "mine") == [
        "  mine holds val.csv: it is the folder of nextqa itself",
        f"      do: link it into a folder of its own: anymal-eval data link nextqa --from mine --data-root {tmp_path / 'data'}",
    ]


def test_vidor_without_its_map(lay: Lay, doctor: Doctor) -> None:
    folder = lay("nextqa")
    (folder / "map_vid_vidorID.json").unlink()
    assert sorted(each.name for each in (folder / "videos").iterdir())[0] == "0000"
    assert doctor("doctor", "nextqa")[:2] == [
        "  data/nextqa/videos has VidOR's layout (0000/...), and map_vid_vidorID.json is not there",
        "      do: fetch it: anymal-eval data fetch nextqa --annotations --data-root data",
    ]


def test_a_near_name_is_shown_and_not_taken(lay: Lay, doctor: Doctor) -> None:
    folder = lay("vqav2")
    (folder / "v2_mscoco_val2014_annotations.json").rename(folder / "v2_mscoco_train2014_annotations.json")
    before = listing(folder)
    lines = doctor("doctor", "vqav2", "--fix")
    assert lines == [
        "  v2_mscoco_val2014_annotations.json is not in data/vqav2; is it data/vqav2/v2_mscoco_train2014_annotations.json?",
        "      do: anymal-eval data fetch vqav2 --split val --data-root data",
    ]
    assert listing(folder) == before


def test_what_a_form_gives(doctor: Doctor, lay: Lay) -> None:
    assert doctor("doctor", "hateful_memes")[:2] == [
        "  dev_seen.jsonl is not in data/hateful_memes",
        "      do: behind a form: accept the licence there, then put the archive into the folder, then data doctor --fix: https://hatefulmemeschallenge.com",
    ]


def test_pictures_of_another_benchmark(lay: Lay, doctor: Doctor) -> None:
    shared, folder = lay("vqav2"), lay("okvqa")
    shutil.rmtree(folder / "val2014")
    assert doctor("doctor", "okvqa", "--fix")[:2] == [
        "  val2014/ is data/vqav2/val2014",
        "      fixed: 1 symbolic link",
    ]
    assert (folder / "val2014").readlink() == Path("../vqav2/val2014")
    assert shared.is_dir()


@pytest.mark.parametrize(("how", "kind"), [("auto", "hard link"), ("copy", "copy"), ("symlink", "symbolic link")])
def test_links_from_a_shared_folder(how: str, kind: str, lay: Lay, doctor: Doctor, tmp_path: Path) -> None:
    folder, shared = lay("vqav2"), tmp_path / "shared" / "coco" / "images"
    shared.mkdir(parents=True)
    for picture in (folder / "val2014").iterdir():
        picture.rename(shared / picture.name.removeprefix("COCO_val2014_"))  # as in the folders of 2017
    (folder / "val2014").rmdir()
    (folder / "v2_mscoco_val2014_annotations.json").rename(tmp_path / "shared" / "v2_mscoco_val2014_annotations.json")
    before = listing(tmp_path / "shared")
    lines = doctor("link", "vqav2", "--from", "shared", "--how", how)
    assert lines[1].startswith(f"      fixed: 1 {kind}"[:-1])
    allowed = ("--allow-links", str(tmp_path / "shared")) if how == "symlink" else ()
    assert ("--allow-links" in "\n".join(lines)) == bool(allowed)
    assert listing(tmp_path / "shared") == before
    assert doctor("check", "vqav2", *allowed)[-1].startswith("  image: nothing missing")
    assert doctor("link", "vqav2", "--from", "shared", *allowed) == ["shared holds nothing that vqav2 lacks"]


def test_nothing_is_replaced(lay: Lay, doctor: Doctor, tmp_path: Path) -> None:
    folder = lay("vqav2")
    shutil.copytree(folder, tmp_path / "other")
    for file in (tmp_path / "other").rglob("*.*"):
        if file.is_file():
            file.write_bytes(b"other")
    before = listing(folder)
    assert doctor("link", "vqav2", "--from", "other") == ["other holds nothing that vqav2 lacks"]
    assert listing(folder) == before


def test_names_and_the_one_that_is_meant(tmp_path: Path) -> None:
    assert "Yabc_30.000_40.000.wav" in names_of("audio/abc_30.wav")
    for place in ("test/1/image.png", "test/2/image.png", "Sounds/YABC.M4A", ".hidden/x.wav"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    index = Index([tmp_path])
    assert index.like("images/test/2/image.png") == str(tmp_path / "test/2/image.png")
    (tmp_path / "test/2/image.png").unlink()
    assert Index([tmp_path]).like("images/test/2/image.png") == ""  # that of problem 1 is another picture
    assert index.like("audio/abc_30.wav") == str(tmp_path / "Sounds/YABC.M4A")
    assert index.like("audio/x.wav") == ""


NOT_IN = "error: not in data/nextqa: val.csv (from github.com/doc-doc/NExT-QA dataset/nextqa); "


def test_a_run_says_what_to_do(lay: Lay, anymal: Anymal, tmp_path: Path) -> None:
    folder = lay("nextqa")
    run = ("run", "--tasks", "nextqa", "--model", "constant", "-o", "says=A", "--data-root")
    whole = f"error: not in data/nextqa/nextqa: val.csv (from github.com/doc-doc/NExT-QA dataset/nextqa); data/nextqa is the folder of nextqa itself: give --data-root {tmp_path / 'data'}"
    assert anymal(*run, "data/nextqa") == (1, [whole])
    (folder / "val.csv").unlink()
    remedy = "put it there, or name the folder above nextqa/ with --data-root ('anymal-eval data fetch nextqa' fetches what is public, 'data doctor nextqa' looks for other names)"
    assert anymal(*run, "data") == (1, [NOT_IN + remedy])
    (folder / "nextqa.zip").touch()
    remedy = "data/nextqa/nextqa.zip may hold it: 'anymal-eval data doctor nextqa --data-root data --fix' unpacks what is needed"
    assert anymal(*run, "data") == (1, [NOT_IN + remedy])
    lay("audiocaps")
    shutil.rmtree("data/audiocaps/audio")
    dataset = load_dataset(task_named("audiocaps"), DataOptions(data="official"))
    with pytest.raises(MissingData) as error:
        require_media(dataset)
    first = min(medium.uri for example in dataset.examples for medium in example.media)
    assert (
        str(error.value)
        == f"audiocaps: 4 audio files are missing, the first is {first}; put them there, or give --skip-missing-media to leave their examples out ('anymal-eval data doctor audiocaps --data-root data' looks for other names and archives)"
    )


def test_a_page_in_place_of_the_annotations(lay: Lay, anymal: Anymal, doctor: Doctor) -> None:
    folder = lay("nextqa")
    for text, what in (
        ("\n<html>Sign in</html>", "an HTML page"),
        ("version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS"),
    ):
        (folder / "val.csv").write_text(text)
        line = (
            f"data/nextqa/val.csv: it is {what}, not the file: its download failed; move it away, then 'anymal-eval data fetch nextqa --data-root data', "
            "or fetch it from github.com/doc-doc/NExT-QA dataset/nextqa"
        )
        assert anymal("data", "check", "nextqa") == (1, [f"error: {line}"])
        assert doctor("doctor", "nextqa") == [
            f"  {line}",
            "      do: mend that file, or move it away and fetch it again",
        ]
