"""Samples of cleaned shards: no face stays, each counts once, and training reads the captions that passed alone."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.training.cleaning.faces import FaceBlur, merged
from anymal_eval.training.cleaning.run import CleaningPlan, clean
from anymal_eval.training.sources import open_data
from tests.training.cleaning.conftest import encoded, person, picture, pixels, read_shard, write_shard


def test_a_face_that_several_cascades_find_is_one() -> None:
    found = np.asarray(person())
    assert len(FaceBlur().find(found)) == 1  # one person, by eye
    same, inside, beside = (0, 0, 100, 100), (20, 20, 60, 60), (90, 0, 190, 100)
    assert merged([same, (0, 0, 102, 98)]) == [(0, 0, 102, 100)]
    assert merged([inside, same]) == [same]
    assert merged([same, beside]) == [same, beside]  # a tenth is shared
    assert merged([same, (50, 0, 150, 100)]) == [(0, 0, 150, 100)]  # half
    assert merged([same, (51, 0, 151, 100)]) == [same, (51, 0, 151, 100)]
    # The third is half in the box around the first two, and in neither of them.
    assert merged([(0, 0, 40, 40), (20, 0, 60, 40), (0, 30, 60, 50)]) == [(0, 0, 60, 50)]
    boxes = [tuple(map(int, (*at, *(at + size)))) for at, size in zip(*_places(), strict=True)]
    covered, before = np.zeros((300, 300), bool), np.zeros((300, 300), bool)
    for mask, some in ((before, boxes), (covered, merged(boxes))):  # type: ignore[arg-type]
        for left, top, right, bottom in some:
            mask[top:bottom, left:right] = True
    assert covered[before].all()


def _places() -> Any:
    random = np.random.default_rng(0)
    return random.integers(0, 200, (40, 2)), random.integers(20, 100, (40, 2))


def _frames(kind: str, *pictures: Any) -> bytes:
    first, *others = (each.copy() for each in pictures)  # a picture keeps the settings of how it was saved before
    stream = io.BytesIO()
    first.save(stream, kind, save_all=True, append_images=others)
    return stream.getvalue()


def test_no_face_stays_in_a_later_frame(tmp_path: Path) -> None:
    face = person()
    plain = picture().resize(face.size)
    late = {"webp": "WEBP", "png": "PNG", "jpg": "MPO", "jpeg": "GIF"}
    samples = [{ending: _frames(kind, plain, face), "txt": "a woman"} for ending, kind in late.items()]
    still = {"png": encoded(plain), "gif": _frames("GIF", plain, face), "tiff": _frames("TIFF", plain, face)}
    samples += [{"jpg": _frames("TIFF", plain, face), "txt": "a woman"}, still | {"txt": "a woman"}]
    write_shard(tmp_path / "0.tar", samples)
    assert clean(CleaningPlan(shards=str(tmp_path / "0.tar"), out=tmp_path / "out", blur_faces=True), SilentConsole())
    made = read_shard(tmp_path / "out" / "0.tar")
    assert sorted(name for name in made if not name.endswith("txt")) == [
        "0000.png", "0001.png", "0002.png", "0003.png", "0004.png", "0005.gif.png", "0005.png", "0005.tiff.png",
    ]  # fmt: skip
    for name, content in made.items():
        if name.endswith("png"):
            assert getattr(Image.open(io.BytesIO(content)), "n_frames", 1) == 1, name
    # The first frame is the one that was decoded before, and a picture of one frame keeps its bytes.
    assert np.array_equal(pixels(made["0001.png"]), np.asarray(plain))
    assert made["0005.png"] == still["png"]
    data = open_data(f"webdataset:{tmp_path}/out/0.tar")
    assert len(list(data.read_shard(0))) == 6
    report = (tmp_path / "out" / "cleaning.md").read_text(encoding="utf-8")
    assert "Pictures of which the first frame alone is kept: 7.\n" in report


def test_training_gets_the_captions_that_pass_and_no_bad_row(pipeline: Path, tmp_path: Path) -> None:
    png = encoded(picture())
    several = {"caption": ["a house", "a man rides a horse", "two red apples"], "url": "x", "size": 1.0}
    written = {"caption": ["two children play in the garden", "a man rides a horse"]}
    talk = {"caption": "a dog runs", "conversations": [{"from": "human", "value": "a house"}]}
    write_shard(
        tmp_path / "0.tar",
        [
            {"png": png, "json": json.dumps(several)},
            {"png": encoded(picture("GARDEN")), "json": json.dumps(written)},
            {"png": png, "txt": b"\xff\xfe caf\xe9 a man rides a horse"},
            {"png": png, "json": b'{"caption": "a man rides'},
            {"png": png, "json": json.dumps(talk)},
            {"png": png, "wav": b"sound", "txt": "a man rides a horse"},
            {"png": png, "json": b'{"caption":["a dog runs"],   "url":"x"}'},
            {"png": png, "json": json.dumps({"caption": ["", "a dog runs", 7]})},
            {"png": png, "json": json.dumps({"caption": ["a house", "the sea"]})},
        ],
    )
    found = clean(
        CleaningPlan(shards=str(tmp_path / "0.tar"), out=tmp_path / "out", cat=True, spacy=str(pipeline)),
        SilentConsole(),
    )
    assert found.dropped == {"unreadable caption": 2, "no captioned picture": 2, "complexity": 1}
    made = read_shard(tmp_path / "out" / "0.tar")
    assert json.loads(made["0000.json"]) == several | {"caption": ["a man rides a horse"]}
    assert made["0006.json"] == b'{"caption":["a dog runs"],   "url":"x"}'
    data = open_data(f"webdataset:{tmp_path}/out/0.tar")
    captions = {sample.id: sample.turns[-1].parts for sample in data.read_shard(0)}
    ride, run = ("a man rides a horse",), ("a dog runs",)
    assert captions == {"0/0000": ride, "0/0001": ride, "0/0006": run, "0/0007": run}
    assert not data.bad.reasons
    report = (tmp_path / "out" / "cleaning.md").read_text(encoding="utf-8")
    assert "Captions left out of samples that others of theirs keep: 3.\n" in report
