"""Tables that ``datasets`` reads: an imagefolder, parquet with bytes, JSON with paths, and the cache of an id."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.errors import BadData, MissingData, WrongUse
from anymal_eval.media import MediaReader
from anymal_eval.sources import hub, hub_media
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import TrainingData, open_data
from tests.training.sources.conftest import Write


@pytest.fixture(autouse=True)
def hub_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()
    for cached in (hub.load, hub.resolve, hub_media._shards):
        cached.cache_clear()


def samples(source: TrainingData) -> list[Sample]:
    assert source.samples is not None
    return list(source.samples)


def captions(source: TrainingData) -> list[object]:
    return [sample.turns[-1].parts[0] for sample in samples(source)]


def parquet(folder: Path, kind: Any, column: str, rows: Sequence[object], **others: Any) -> Path:
    """One shard of a copy as ``datasets`` writes it."""
    (folder / "data").mkdir(parents=True)
    features = datasets.Features({column: kind, **others})
    # Not through ``datasets.Dataset``: to make one with sound takes torchcodec.
    table = pa.Table.from_pylist(rows, schema=features.arrow_schema)
    pq.write_table(table, folder / "data" / "train-00000-of-00001.parquet")
    return folder


def test_an_imagefolder(tmp_path: Path, picture: Write) -> None:
    for number in range(3):
        picture(f"photos/train/{number}.png", 10 * number)
    rows = [{"file_name": f"{number}.png", "text": f"picture {number}"} for number in range(3)]
    (tmp_path / "photos" / "train" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = open_data(f"datasets:{tmp_path}/photos", prompt="What is it?")
    found = samples(source)
    assert [sample.id for sample in found] == ["0", "1", "2"]
    assert found[1].where == f"{tmp_path}/photos: row 2"
    assert found[1].media[0].uri == str(tmp_path / "photos" / "train" / "1.png")
    assert found[1].turns == (
        Turn(role="user", parts=(Slot(medium="image"), "What is it?")),
        Turn(role="assistant", parts=("picture 1",)),
    )
    with MediaReader(source.opener) as reader:
        assert [int(reader.image(sample.media[0]).max()) for sample in found] == [0, 10, 20]


def test_bytes_in_rows(tmp_path: Path, sound: Write) -> None:
    paths = [sound(f"{number}.wav") for number in range(2)]
    rows = [
        {"sound": {"bytes": Path(path).read_bytes(), "path": f"{number}.wav"}, "said": [f"{number} a", f"{number} b"]}
        for number, path in enumerate(paths)
    ]
    kind = datasets.Audio(decode=False)
    folder = parquet(tmp_path / "copy", kind, "sound", rows, said=datasets.List(datasets.Value("string")))
    source = open_data(f"datasets:{folder}?audio=sound&caption=said&split=train")
    found = samples(source)
    assert [sample.id for sample in found] == ["0#0", "0#1", "1#0", "1#1"]
    assert captions(source) == ["0 a", "0 b", "1 a", "1 b"]
    assert found[3].media[0].uri.startswith(f"row:{folder}@local-")
    assert found[3].media[0].uri.endswith("/-/train/sound#1")
    assert source.opener is not None
    assert source.opener(found[3].media[0].uri) == Path(paths[1]).read_bytes()
    with MediaReader(source.opener) as reader:
        assert np.array_equal(reader.audio(found[0].media[0], 8000), soundfile.read(paths[0], dtype="float32")[0])


def test_paths_in_json(tmp_path: Path, motion: Write) -> None:
    path = motion("own/imu/a.npy")
    lines = [{"imu": f"imu/{name}.npy", "caption": name} for name in ("a", "b", "a")]
    (tmp_path / "own" / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    address = f"datasets:{tmp_path}/own"
    with pytest.raises(MissingData, match=r"own: row 2: no imu/b\.npy; fetch them, or leave"):
        open_data(address)
    source = open_data(address, skip_missing=True)
    assert [(sample.id, sample.media[0].uri) for sample in samples(source)] == [("0", path), ("2", path)]
    assert source.unreadable == [f"{tmp_path}/own: row 2: no imu/b.npy"]


def test_rows_without_their_medium(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": b"x", "path": None}, "text": "a"}, {"image": None, "text": "b"}]
    folder = parquet(tmp_path / "copy", datasets.Image(decode=False), "image", rows, text=datasets.Value("string"))
    with pytest.raises(MissingData, match=r"copy: row 2: no image in column 'image'; fetch"):
        open_data(f"datasets:{folder}")
    assert captions(open_data(f"datasets:{folder}", skip_missing=True)) == ["a"]


def test_fingerprints(tmp_path: Path) -> None:
    def made(name: str, *captions: str) -> str:
        rows = [{"image": {"bytes": name.encode(), "path": None}, "text": caption} for caption in captions]
        kind = datasets.Image(decode=False)
        parquet(tmp_path / name, kind, "image", rows, text=datasets.Value("string"))
        return open_data(f"datasets:{tmp_path}/{name}").fingerprint

    one = made("one", "a", "b")
    assert made("two", "a", "b") == one
    assert made("three", "b", "a") != one
    assert open_data(f"datasets:{tmp_path}/one", prompt="What?").fingerprint != one


def test_an_id_that_is_not_in_the_cache(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"org/photos is not in the cache .* and HF_HUB_OFFLINE is set"):
        open_data("datasets:org/photos?image=image")


@pytest.fixture
def table(tmp_path: Path) -> str:
    rows = [{"image": {"bytes": b"x", "path": None}, "text": "a", "audio": "x.wav", "n": 1}] * 2
    rows[1] = rows[1] | {"text": " "}
    more = {"text": datasets.Value("string"), "audio": datasets.Value("string"), "n": datasets.Value("int64")}
    return f"datasets:{parquet(tmp_path / 'copy', datasets.Image(decode=False), 'image', rows, **more)}"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?image=image", "copy?image=image: row 2: 'text' is empty"),
        ("?image=picture", "copy: no column picture; it has image, text, audio, n"),
        ("?image=image&caption=words", "copy: no column words; it has"),
        ("?image=image&caption=n", "copy?image=image&caption=n: row 1: 'n' must be a string, not 1"),
        ("?video=n&caption=audio", "copy: column 'n' holds int64, where media or paths were due"),
        ("?image=image&split=val", 'copy val cannot be loaded: Unknown split "val"'),
    ],
)
def test_bad_tables(table: str, query: str, message: str) -> None:
    with pytest.raises(BadData) as raised:
        open_data(table + query)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "copy: name the one column of the media, as in ?image=COLUMN; its columns are image, text, audio, n"),
        ("?image=image&audio=audio", "name the one column of the media"),
        ("?picture=image", "there are split, config, revision, caption, image, audio, video, imu"),
        ("?image", "options are written as in ?image=COLUMN&split=train"),
        ("?image=image&caption=", "options are written as in ?image=COLUMN&split=train"),
    ],
)
def test_wrong_use(table: str, query: str, message: str) -> None:
    with pytest.raises(WrongUse) as raised:
        open_data(table + query)
    assert message in str(raised.value)


def test_an_audiofolder_says_what_it_needs(tmp_path: Path, sound: Write) -> None:
    sound("sounds/train/a.wav")
    (tmp_path / "sounds" / "train" / "metadata.jsonl").write_text('{"file_name": "a.wav", "text": "rain"}\n')
    with pytest.raises(BadData, match="torchcodec"):
        open_data(f"datasets:{tmp_path}/sounds")


def test_paths_stay_inside(tmp_path: Path, picture: Write) -> None:
    picture("out.png")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "train.jsonl").write_text('{"image": "../out.png", "caption": "a"}\n')
    with pytest.raises(BadData, match=r"own: row 1: .* out of the data folder"):
        open_data(f"datasets:{tmp_path}/own")
