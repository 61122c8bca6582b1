"""Bad media through the command line with the real network: each an error that names its file; the run goes on."""

import csv
import io
import json
import re
import struct
import wave
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import write
from tests.conftest import ROOT, Command

TIMEOUT_S = 10

# In the decoder's process, which Python starts with the files of PYTHONPATH: opening this one clip never ends.
HANGS = """
import sys
if any(argument.endswith("decoder.py") for argument in sys.orig_argv):
    import av, time
    really = av.open
    def open(file, *more, **named):
        if str(getattr(file, "name", file)).endswith("hangs.mp4"):
            time.sleep(600)
        return really(file, *more, **named)
    av.open = open
"""


def picture(kind: str = "JPEG") -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, kind)
    return out.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that says it is 60,000 x 60,000: 10.8 GB once decoded."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def one_pixel() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (1, 1)).save(out, "PNG")
    return out.getvalue()


def sound(seconds: float, rate: int = 48_000, channels: int = 1) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        tone = 8000 * np.sin(np.arange(int(seconds * rate)) * 0.05)
        file.writeframes(np.repeat(tone.astype("<i2"), channels).tobytes())
    return out.getvalue()


def clip(frames: int = 40) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as container:
        stream: Any = container.add_stream("mjpeg", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p"
        for number in range(frames):
            pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def without_frames() -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), dtype=np.int16), layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    return out.getvalue()


PICTURES = {
    1: ("good", picture(), ""),
    2: ("0 bytes", b"", "it is empty (0 bytes)"),
    3: ("truncated", picture()[:1500], "the picture cannot be decoded"),
    4: ("1 px", one_pixel(), "a picture of a single pixel"),
    5: ("text", b"<html>404 not found</html>\n", "it is an HTML page, not a picture"),
    6: ("bomb", bomb(), "refused for its size"),
    7: ("good too", picture("PNG"), ""),
}
SOUNDS = {
    "good": (sound(1.0), ""),
    "nothing": (sound(0.0), "no samples|empty|0 s|nothing"),
    "telephone": (sound(1.0, rate=8000, channels=2), ""),
}
NEXTQA = ("video", "frame_count", "width", "height", "question", "answer", "qid", "type")
CLIPS = {
    "good": (clip(), ""),
    "frameless": (without_frames(), "no frames|no picture|no video"),
    "tail": (clip()[:60_000], "cannot be decoded"),
    "hangs": (clip(), f"did not finish within {TIMEOUT_S} s"),
    "nothing": (b"", "cannot be decoded|empty"),
}


def lay_pictures(root: Path) -> None:
    asked = [{"image_id": at, "question": "what is it?", "question_id": at} for at in PICTURES]
    answers = [{"answer": "cat", "answer_id": place} for place in range(1, 11)]
    noted = [
        {"image_id": at, "question_id": at, "question_type": "what is", "answer_type": "other", "answers": answers}
        for at in PICTURES
    ]
    write(root / "v2_OpenEnded_mscoco_val2014_questions.json", {"questions": asked})
    write(root / "v2_mscoco_val2014_annotations.json", {"annotations": noted})
    (root / "val2014").mkdir()
    for at, (_, content, _) in PICTURES.items():
        (root / f"val2014/COCO_val2014_{at:012d}.jpg").write_bytes(content)


def lay_sounds(root: Path) -> None:
    (root / "audio").mkdir(parents=True)
    with (root / "test.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["audiocap_id", "youtube_id", "start_time", "caption"])
        for at, (name, (content, _)) in enumerate(SOUNDS.items()):
            rows.writerows([at * 5 + number, name, 30, f"a sound of {name} number {number}"] for number in range(5))
            (root / f"audio/{name}_30.wav").write_bytes(content)


def lay_clips(root: Path) -> None:
    (root / "videos").mkdir(parents=True)
    write(root / "map_vid_vidorID.json", {name: name for name in CLIPS})
    with (root / "val.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*NEXTQA, "a0", "a1", "a2", "a3", "a4"])
        for name, (content, _) in CLIPS.items():
            rows.writerow([name, 40, 64, 64, "what happens", 0, 0, "CW", "a", "b", "c", "d", "e"])
            (root / f"videos/{name}.mp4").write_bytes(content)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from anymal_eval.anymal import tiny

    return tiny.write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    lay_pictures(tmp_path / "data/vqav2")
    lay_sounds(tmp_path / "data/audiocaps")
    lay_clips(tmp_path / "data/nextqa")
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(HANGS)
    return tmp_path


def failures(run: Path, task: str) -> dict[str, tuple[str, str]]:
    rows = [json.loads(line) for line in (run / task / "responses.jsonl").read_text().splitlines()]
    return {row["id"]: (row["failure"]["kind"], row["failure"]["message"]) for row in rows if row.get("failure")}


def test_bad_media_are_errors_that_name_their_file(lab: Path, checkpoint: Path, command_here: Command) -> None:
    run = lab / "run"
    done = command_here(
        "run", "--tasks", "vqav2,audiocaps,nextqa", "--model", f"anymal:{checkpoint}", "--data-root", lab / "data",
        "--out", run, "--media-timeout", TIMEOUT_S, "--batch-size", 4,
        PYTHONPATH=f"{lab / 'site'}:{ROOT}", OMP_NUM_THREADS="1",
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr

    expected = {
        "vqav2": {str(at): (f"COCO_val2014_{at:012d}.jpg", said) for at, (_, _, said) in PICTURES.items() if said},
        "audiocaps": {name: (f"{name}_30.wav", said) for name, (_, said) in SOUNDS.items() if said},
        "nextqa": {f"{name}_0": (f"{name}.mp4", said) for name, (_, said) in CLIPS.items() if said},
    }
    asked = {"vqav2": len(PICTURES), "audiocaps": len(SOUNDS), "nextqa": len(CLIPS)}
    measured = json.loads((run / "results.json").read_text())["measurements"]
    for task, errors in expected.items():
        found = failures(run, task)
        assert found.keys() == errors.keys(), found
        for name, (file, said) in errors.items():
            kind, message = found[name]
            assert kind == {"hangs_0": "timeout", "3": "truncated", "tail_0": "truncated"}.get(name, "media")
            assert re.search(f"{re.escape(file)}: .*({said.replace('(', '[(]').replace(')', '[)]')})", message), message
            assert len(message.splitlines()) == 1
        headline = next(row for row in measured if row["task"] == task and row["headline"])
        assert (headline["n"], headline["states"]["error"]) == (asked[task] - len(errors), len(errors))
        assert f"{task}: {len(errors)} of {asked[task]} answers are errors and are left out" in done.stderr


@pytest.mark.parametrize("how", ["up", "absolute", "link"])
def test_paths_that_leave_the_data_are_refused(tmp_path: Path, command: Command, how: str) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(picture())
    root = tmp_path / "data/mmit_cap"
    (root / "images").mkdir(parents=True)
    (root / "images/link.jpg").symlink_to(secret)
    named = {"up": "../../secret.jpg", "absolute": str(secret), "link": "images/link.jpg"}[how]
    write(root / "test.jsonl", [{"id": "1", "image": named, "references": ["a cat"]}])
    done = command(
        "run", "--tasks", "mmit_cap", "--model", "constant", "--data-root", tmp_path / "data", "--out", tmp_path / "run"
    )
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "test.jsonl" in done.stderr
    assert Path(named).name in done.stderr
    assert re.search("leave|out of|outside|absolute", done.stderr), done.stderr
    assert not (tmp_path / "run").exists()
