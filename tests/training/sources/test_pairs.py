"""Captions in our JSON lines, and what holds for every source: names, fingerprints, media that are not there."""

import subprocess
import sys
from pathlib import Path

import pytest

from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.errors import BadData, MissingData, NotInCatalog, WrongUse
from anymal_eval.records import Media
from anymal_eval.training.sources import catalog, open_data
from tests.training.sources.conftest import Write


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from anymal_eval.training.sources import catalog; assert 'pairs' in catalog().names();"
        "heavy = {'torch', 'numpy', 'datasets'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_samples(tmp_path: Path, lines: Write, picture: Write, sound: Write, motion: Write) -> None:
    cat, rain, walk = picture("images/cat.png"), sound("rain.wav"), motion("walk.npy")
    table = lines(
        "train.jsonl",
        {"id": "b", "image": "images/cat.png", "caption": "a cat"},
        {"id": 7, "audio": "rain.wav", "start_s": 1, "end_s": "2.5", "caption": ["rain", "rain on a roof"], "more": 1},
        {"id": "a", "imu": "walk.npy", "image": None, "caption": "walking"},
    )
    source = open_data(f"pairs:{table}", prompt="What is it?")
    assert source.name == f"pairs:{table}"
    assert (source.shards, source.opener, source.unreadable) == (0, None, [])
    assert source.samples is not None
    assert [sample.id for sample in source.samples] == ["b", "7#0", "7#1", "a"]
    assert [sample.where for sample in source.samples] == [f"{table}: line {number}" for number in (1, 2, 2, 3)]
    assert [sample.media for sample in source.samples] == [
        (Media(kind="image", uri=cat),),
        (Media(kind="audio", uri=rain, start_s=1.0, end_s=2.5),),
        (Media(kind="audio", uri=rain, start_s=1.0, end_s=2.5),),
        (Media(kind="imu", uri=walk),),
    ]
    assert source.samples[2].turns == (
        Turn(role="user", parts=(Slot(medium="audio"), "What is it?")),
        Turn(role="assistant", parts=("rain on a roof",)),
    )
    bare = open_data(f"pairs:{table}").samples
    assert bare is not None
    assert bare[0].turns[0] == Turn(role="user", parts=(Slot(medium="image"),))


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: Write, picture: Write) -> None:
    picture("a.png")
    lines("t.jsonl", {"id": 1, "image": "a.png", "caption": "a"})
    monkeypatch.chdir(tmp_path)
    samples = open_data("pairs:t.jsonl").samples
    assert samples is not None
    assert samples[0].media[0].uri == str(tmp_path / "a.png")


def test_fingerprints(tmp_path: Path, lines: Write, picture: Write) -> None:
    picture("a.png")
    row = {"id": 1, "image": "a.png", "caption": "a"}
    one = open_data(f"pairs:{lines('one.jsonl', row)}")
    assert open_data(f"pairs:{lines('same.jsonl', row)}").fingerprint == one.fingerprint
    assert open_data(f"pairs:{lines('other.jsonl', row | {'caption': 'b'})}").fingerprint != one.fingerprint
    assert open_data(one.name, prompt="What?").fingerprint != one.fingerprint
    picture("a.png", 9)
    assert open_data(one.name).fingerprint == one.fingerprint
    gone = lines("gone.jsonl", row, row | {"id": 2, "image": "b.png"})
    without = open_data(f"pairs:{gone}", skip_missing=True)
    picture("b.png")
    assert open_data(f"pairs:{gone}").fingerprint != without.fingerprint


def test_media_that_are_not_there(lines: Write, picture: Write) -> None:
    picture("a.png")
    table = lines(
        "t.jsonl",
        {"id": 1, "image": "a.png", "caption": "a"},
        {"id": 2, "image": "images/b.png", "caption": ["b", "c"]},
        {"id": 3, "audio": "c.wav", "caption": "c"},
        {"id": 4, "audio": "d.wav", "caption": "c"},
    )
    with pytest.raises(MissingData) as raised:
        open_data(f"pairs:{table}")
    assert str(raised.value) == (
        f"{table}: line 2: no images/b.png (and 2 more);"
        " fetch them, or leave their samples out with --skip-missing-media"
    )
    source = open_data(f"pairs:{table}", skip_missing=True)
    assert source.samples is not None
    assert [sample.id for sample in source.samples] == ["1"]
    assert source.unreadable == [
        f"{table}: line 2: no images/b.png (nor for 1 samples more)",
        f"{table}: line 3: no c.wav",
        f"{table}: line 4: no d.wav",
    ]
    alone = lines("alone.jsonl", {"id": 2, "image": "b.png", "caption": "b"})
    with pytest.raises(BadData, match=r"alone\.jsonl: all its 1 samples lack their media$"):
        open_data(f"pairs:{alone}", skip_missing=True)


def test_names(tmp_path: Path) -> None:
    assert catalog().names() == sorted(catalog().names())
    with pytest.raises(NotInCatalog, match="no kind of training data named 'pair'; did you mean pairs"):
        open_data("pair:x.jsonl")
    with pytest.raises(WrongUse, match="'pairs' names no file; write pairs:PATH"):
        open_data("pairs")
    with pytest.raises(MissingData, match=r"no file .*nowhere\.jsonl"):
        open_data(f"pairs:{tmp_path}/nowhere.jsonl")


def test_map_style_has_no_shards(lines: Write, picture: Write) -> None:
    picture("a.png")
    source = open_data(f"pairs:{lines('t.jsonl', {'id': 1, 'image': 'a.png', 'caption': 'a'})}")
    with pytest.raises(WrongUse, match="has no shard 0; it has 0"):
        source.read_shard(0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": "a.png", "caption": "a"}, "no key 'id'; it has image, caption"),
        ({"id": 2, "image": "a.png"}, "no key 'caption'; it has id, image"),
        ({"id": 2, "image": "a.png", "caption": " "}, "'caption' is empty"),
        ({"id": 2, "image": "a.png", "caption": []}, "'caption' is empty"),
        ({"id": 2, "image": "a.png", "caption": [3]}, "'caption' must hold strings, not 3"),
        ({"id": 2, "caption": "a"}, "a pair has one of image, audio, video and imu; this has 0 media"),
        ({"id": 2, "image": "a.png", "audio": "a.wav", "caption": "a"}, "this has 2 media"),
        ({"id": 2, "image": ["a.png", "a.png"], "caption": "a"}, "this has 2 media"),
        ({"id": 2, "image": 3, "caption": "a"}, "'image' must be a string, not 3"),
        ({"id": 2, "image": "../a.png", "caption": "a"}, "out of the data folder"),
        ({"id": 2, "image": "/etc/passwd", "caption": "a"}, "absolute; paths must stay inside the data folder"),
        ({"id": 2, "image": "a.png", "start_s": -1, "caption": "a"}, "'start_s' must be a time in seconds, not -1"),
        ({"id": 2, "image": "a.png", "start_s": 3, "end_s": 3, "caption": "a"}, "'end_s' is 3, and must be after"),
        ([1], "expected an object, got list"),
    ],
)
def test_bad_rows(lines: Write, picture: Write, row: object, message: str) -> None:
    picture("a.png")
    table = lines("t.jsonl", {"id": 1, "image": "a.png", "caption": "a"}, row)
    with pytest.raises(BadData) as raised:
        open_data(f"pairs:{table}")
    assert str(raised.value).startswith(f"{table}: line 2: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_bad_tables(tmp_path: Path, lines: Write, picture: Write) -> None:
    picture("a.png")
    row = {"id": 1, "image": "a.png", "caption": "a"}
    with pytest.raises(BadData, match=r"t\.jsonl: 1 double id: 1$"):
        open_data(f"pairs:{lines('t.jsonl', row, row)}")
    with pytest.raises(BadData, match=r"empty\.jsonl: it holds no sample$"):
        open_data(f"pairs:{lines('empty.jsonl')}")
    (tmp_path / "cut.jsonl").write_text('{"id": 1, "image": "a.png", "cap')
    with pytest.raises(BadData, match=r"cut\.jsonl: line 1: .*; is the file whole\?$"):
        open_data(f"pairs:{tmp_path}/cut.jsonl")
