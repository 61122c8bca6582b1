"""What ``report`` writes, without a browser: one policy, data that is no code, media there once."""

import json
import re
import shutil
from pathlib import Path

import pytest

from anymal_eval.errors import BadData, MissingData, OtherRun, WrongUse
from anymal_eval.evaluation.report_selection import select_examples
from anymal_eval.records import Example
from anymal_eval.report.gallery.clips import clip_ending, picture_ending, preview_frames, sound_ending
from anymal_eval.report.gallery.content import Side
from anymal_eval.report.gallery.pages import POLICY
from tests.report.gallery.conftest import call, demo_run, scores

Runs = tuple[Path, Path]
FORM = re.compile(r'"use strict";\nAnyMALGallery\.receive\("(index|rows-\d+|\d+)", ("(?:[^"\\]|\\.)*")\);\n')


def data(file: Path) -> object:
    found = FORM.fullmatch(file.read_text(encoding="ascii"))
    assert found, file
    return json.loads(json.loads(found[2]))


def test_every_page_bears_the_policy_and_no_script_of_its_own(report: Path) -> None:
    pages = sorted(report.rglob("*.html"))
    assert len(pages) == 6
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert text.count("Content-Security-Policy") == 1
        assert POLICY.replace("'", "&#39;") in text
        assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=|https?://|//[a-z]", text)


def test_data_is_one_string_in_one_call(report: Path) -> None:
    files = sorted((report / "data").rglob("*.js"))
    assert len(files) == 15
    for file in files:
        assert data(file)


def test_nothing_names_the_machine(report: Path, world: Path) -> None:
    for file in report.rglob("*"):
        if file.is_file():
            assert str(world).encode() not in file.read_bytes(), file


def test_media_are_there_once(report: Path) -> None:
    files = [file for file in (report / "media").rglob("*") if file.is_file()]
    assert len({file.read_bytes() for file in files}) == len(files)
    # Several questions are about one picture: 24 questions, fewer pictures.
    rows = data(report / "data" / "vqav2" / "rows-0.js")
    assert isinstance(rows, list)
    assert len({row["t"] for row in rows}) < len(rows) == 24


def test_the_same_run_gives_the_same_bytes(runs: Runs, report: Path, tmp_path: Path) -> None:
    call("report", runs[1], "--against", runs[0], "--out", tmp_path / "again")
    before = {file.relative_to(report): file.read_bytes() for file in report.rglob("*") if file.is_file()}
    after = {file.relative_to(tmp_path / "again"): file.read_bytes()
             for file in (tmp_path / "again").rglob("*") if file.is_file()}  # fmt: skip
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == []


def test_a_folder_of_others_is_left_alone(runs: Runs, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(WrongUse, match="holds other files and no report"):
        call("report", runs[1], "--out", mine)
    assert [file.name for file in mine.iterdir()] == ["thesis.txt"]


def test_fewer_examples_no_media_and_twice_into_one_folder(world: Path, tmp_path: Path) -> None:
    run = demo_run(tmp_path / "run", "constant", tasks="vqav2")
    out = tmp_path / "small"
    for count in ("20", "5"):
        call("report", run, "--examples", count, "--media", "none", "--out", out)
    assert not (out / "media").exists()
    index = data(out / "data" / "vqav2" / "index.js")
    assert isinstance(index, dict)
    assert len(index["ids"]) == 5
    assert "5 of 24 are in this report" in (out / "tasks" / "vqav2.html").read_text(encoding="utf-8")


def test_what_cannot_be_reported_is_one_line(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(OtherRun, match="holds no run"):
        call("report", tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(runs[1], copy)
    (copy / "vqav2" / "scores.jsonl").write_text("{}\n")
    with pytest.raises(BadData, match="has changed since it was scored"):
        call("report", copy)
    (copy / "results.json").unlink()
    with pytest.raises(MissingData, match="not finished"):
        call("report", copy)


def test_a_missing_picture_has_a_message_in_its_place(runs: Runs, world: Path, tmp_path: Path) -> None:
    from anymal_eval.media.reader import MediaReader
    from anymal_eval.records import Media
    from anymal_eval.report.gallery.media_files import MediaFiles

    with MediaReader() as reader:
        shown = MediaFiles(tmp_path, reader, 512).one(Media(kind="image", uri=str(tmp_path / "gone.jpg")))
    assert shown["error"].startswith("gone.jpg: ")
    assert str(tmp_path) not in shown["error"]


def test_errors_and_changes_are_shown_first() -> None:
    examples = [Example(id=str(at), cluster="1", kind="caption") for at in range(50)]
    rows: dict[str, dict[str, object]] = {
        str(at): {"state": "error" if at == 40 else "ok", "answer": "a", "scores": {}} for at in range(50)
    }
    other = {name: {**row, "answer": "b" if name in ("7", "8") else "a"} for name, row in rows.items()}
    sides = [Side(label=label, rows=each, headline=None) for label, each in (("run", rows), ("base", other))]
    assert {example.id for example in select_examples(examples, sides, 3)} == {"7", "8", "40"}
    assert len(select_examples(examples, sides, 10)) == 10
    assert select_examples(examples, sides, 50) == examples
    # Of too many that differ, the largest changes of score: the ten worst falls are always there.
    scored = []
    for label, share in (("run", 0.0), ("base", 1.0)):
        each = {
            str(at): {"state": "ok", "answer": f"{label} {at}", "scores": {"": at / 50 * share}} for at in range(50)
        }
        scored.append(Side(label=label, rows=each, headline=None))
    assert {int(example.id) for example in select_examples(examples, scored, 4)} == {46, 47, 48, 49}


def test_the_rest_is_sampled_in_proportion_to_right_and_wrong_and_to_the_groups() -> None:
    examples = [
        Example(id=str(at), cluster="1", kind="caption", groups={"g": "rare" if at % 10 == 0 else "usual"})
        for at in range(1000)
    ]
    rows = {str(at): {"state": "ok", "answer": str(at), "scores": {"": 1.0 if at % 4 else 0.0}} for at in range(1000)}
    shown = select_examples(examples, [Side(label="run", rows=rows, headline=None)], 100)
    assert len(shown) == 100
    wrong = [one for one in shown if int(one.id) % 4 == 0]
    rare = [one for one in shown if one.groups["g"] == "rare"]
    assert 24 <= len(wrong) <= 26
    assert 9 <= len(rare) <= 11
    assert [int(one.id) for one in shown] == sorted(int(one.id) for one in shown)
    assert select_examples(examples, [], None) == examples


def test_what_browsers_play_is_detected_from_its_bytes() -> None:
    assert picture_ending(b"\xff\xd8\xff\xe0") == "jpg"
    assert picture_ending(b"<svg onload=alert(1)>") == ""
    assert sound_ending(b"RIFF....WAVEfmt ") == "wav"
    assert sound_ending(b"<html>") == ""
    assert clip_ending(b"....ftypisom" + b"avcC\x01\x64") == "mp4"
    assert clip_ending(b"....ftypisom" + b"avcC\x01\xf4") == ""
    assert clip_ending(b"\x1aE\xdf\xa3...V_VP9") == "webm"
    assert (preview_frames(0.5), preview_frames(4), preview_frames(60)) == (16, 32, 64)


def test_the_prompt_is_the_one_that_was_sent(report: Path, runs: Runs) -> None:
    chunk = data(report / "data" / "vqav2" / "chunk-0.js")
    assert isinstance(chunk, list)
    assert {each["id"] for each in chunk} == set(scores(runs[1], "vqav2"))
    for each in chunk:
        parts = each["prompt"]["messages"][0]["parts"]
        assert (parts[0]["medium"], parts[0]["kind"]) == (1, "image")
        assert each["question"] in parts[1]


def test_a_run_of_errors_and_nothing_else(world: Path, tmp_path: Path) -> None:
    (tmp_path / "silent.jsonl").write_text("")
    run = demo_run(tmp_path / "run", f"replay:{tmp_path / 'silent.jsonl'}", tasks="imu_caption")
    call("report", run)
    assert "not computed: every answer is an error" in (run / "report" / "index.html").read_text(encoding="utf-8")
    assert "error 24" in (run / "report" / "tasks" / "imu_caption.html").read_text(encoding="utf-8")


def test_a_split_without_answers_and_without_its_pictures(tmp_path: Path) -> None:
    root = tmp_path / "data" / "vqav2"
    root.mkdir(parents=True)
    questions = [{"image_id": 1, "question_id": at, "question": "what?"} for at in (10, 11)]
    (root / "v2_OpenEnded_mscoco_test-dev2015_questions.json").write_text(json.dumps({"questions": questions}))
    requested = ("--data", "official", "--data-root", tmp_path / "data", "--split", "test-dev")
    call("run", "--tasks", "vqav2", *requested, "--model", "constant", "--out", tmp_path / "run")
    call("report", tmp_path / "run", "--data-root", tmp_path / "data")
    chunk = data(tmp_path / "run" / "report" / "data" / "vqav2" / "chunk-0.js")
    assert isinstance(chunk, list)
    assert [each["references"] for each in chunk] == [None, None]
    assert [each["sides"][0]["outcome"] for each in chunk] == [None, None]
    assert "No such file" in chunk[0]["media"][0]["error"]
    assert str(tmp_path) not in json.dumps(chunk)


def test_nothing_is_written_into_an_accepted_run(runs: Runs, tmp_path: Path) -> None:
    call("accept", runs[0], "--results", tmp_path)
    (accepted,) = (tmp_path / "accepted").iterdir()
    with pytest.raises(WrongUse, match="give --out"):
        call("report", accepted)
    call("report", accepted, "--media", "none", "--out", tmp_path / "report")
    call("report", runs[1], "--against", "constant", "--accepted", tmp_path / "accepted", "--media", "none",
         "--out", tmp_path / "against")  # fmt: skip
    assert "against constant" in (tmp_path / "against" / "tasks" / "vqav2.html").read_text(encoding="utf-8")


def test_media_are_copied_or_made_playable(tmp_path: Path) -> None:
    import numpy as np
    import soundfile
    from PIL import Image

    from anymal_eval.media.reader import MediaReader
    from anymal_eval.records import Media
    from anymal_eval.report.gallery import clips
    from anymal_eval.report.gallery.media_files import MediaFiles

    random = np.random.default_rng(0)
    frames = random.integers(0, 255, (16, 48, 64, 3), dtype=np.uint8)
    (tmp_path / "clip.mp4").write_bytes(clips.mp4(frames, 8.0))
    soundfile.write(tmp_path / "sound.wav", random.uniform(-0.5, 0.5, 16_000), 8_000)
    Image.fromarray(random.integers(0, 255, (1200, 900, 3), dtype=np.uint8)).save(tmp_path / "large.tif")
    with MediaReader() as reader:
        files = MediaFiles(tmp_path / "out", reader, 512)
        clip = files.one(Media(kind="video", uri=str(tmp_path / "clip.mp4"), start_s=0.5, end_s=1.5))
        whole = files.one(Media(kind="audio", uri=str(tmp_path / "sound.wav")))
        cut = files.one(Media(kind="audio", uri=str(tmp_path / "sound.wav"), start_s=0.5, end_s=1.0))
        picture = files.one(Media(kind="image", uri=str(tmp_path / "large.tif")))
    assert (tmp_path / "out" / clip["file"]).read_bytes() == (tmp_path / "clip.mp4").read_bytes()
    assert clip["window"] == [0.5, 1.5]
    assert (tmp_path / "out" / whole["file"]).read_bytes() == (tmp_path / "sound.wav").read_bytes()
    assert (whole["seconds"], cut["seconds"]) == (2.0, 0.5)
    assert cut["file"].endswith(".mp3")
    with Image.open(tmp_path / "out" / picture["file"]) as shown:
        assert (shown.format, shown.size) == ("JPEG", (384, 512))
    assert picture["note"] == "900 x 1200, shown smaller"


def test_a_sound_too_large_to_read_as_a_whole_is_shown(tmp_path: Path) -> None:
    """A file of sound is decoded piece by piece; ``file_bytes`` limits only what is read as a whole."""
    import numpy as np
    import soundfile

    from anymal_eval.media.budget import MediaBudget
    from anymal_eval.media.reader import MediaReader
    from anymal_eval.records import Media
    from anymal_eval.report.gallery.media_files import MAX_AUDIO, MediaFiles

    file = tmp_path / "long.wav"
    soundfile.write(file, np.sin(np.arange(20 * 16_000) / 9), 16_000, subtype="PCM_16")
    size = file.stat().st_size
    assert size > MAX_AUDIO
    with MediaReader(budget=MediaBudget(file_bytes=size - 1)) as reader:
        shown = MediaFiles(tmp_path / "out", reader, 512).one(Media(kind="audio", uri=str(file)))
    assert shown["seconds"] == 20.0
    assert shown["file"].endswith(".mp3")
    assert (tmp_path / "out" / shown["file"]).stat().st_size > 1000
