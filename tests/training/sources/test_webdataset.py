"""Shards as the webdataset library writes them, and shards that are damaged, cut off or hold what is no sample."""

import hashlib
import io
import pickle
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image
from webdataset.tariterators import group_by_keys, tar_file_iterator

from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.errors import BadData, MediaError, MissingData, WrongUse
from anymal_eval.media import MediaReader
from anymal_eval.records import Media
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import TrainingData, open_data

BLOCK = 512


def png(grey: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((2, 3, 3), grey, np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


def shard(path: Path, samples: Sequence[Mapping[str, object]]) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    with webdataset.TarWriter(str(path)) as writer:
        for sample in samples:
            writer.write(sample)
    return path


def pictures(start: int, count: int) -> list[dict[str, object]]:
    """As img2dataset writes them: a picture, its words, and what is known of it."""
    return [
        {"__key__": f"{number:09d}", "jpg": png(number), "txt": f"picture {number}\n", "json": {"caption": "not this"}}
        for number in range(start, start + count)
    ]


def read(source: TrainingData, number: int = 0) -> list[Sample]:
    return list(source.read_shard(number))


def caption_of(sample: Sample) -> object:
    return sample.turns[-1].parts[0]


def names(samples: Sequence[Sample]) -> list[str]:
    return [sample.id.rpartition("/")[2] for sample in samples]


def test_a_shard_of_the_library_reads_back_equal(tmp_path: Path) -> None:
    path = shard(tmp_path / "00000.tar", pictures(0, 3))
    source = open_data(f"webdataset:{path}", prompt="What is it?")
    assert (source.samples, source.shards) == (None, 1)
    found = read(source)
    assert [sample.id for sample in found] == ["00000/000000000", "00000/000000001", "00000/000000002"]
    assert found[1].where == f"{path}: 000000001"
    assert found[1].turns == (
        Turn(role="user", parts=(Slot(medium="image"), "What is it?")),
        Turn(role="assistant", parts=("picture 1",)),
    )
    assert source.opener is not None
    with path.open("rb") as file:
        theirs = list(group_by_keys({**part, "__url__": ""} for part in tar_file_iterator(file)))
    for mine, other in zip(found, theirs, strict=True):
        (medium,) = mine.media
        assert source.opener(medium.uri) == other["jpg"]
        assert medium.digest == hashlib.sha256(other["jpg"]).hexdigest()
        assert caption_of(mine) == other["txt"].decode().strip()
    with MediaReader(pickle.loads(pickle.dumps(source.opener))) as reader:  # noqa: S301  # our own
        assert reader.image(found[2].media[0]).tolist() == np.full((2, 3, 3), 2).tolist()
    assert source.unreadable == []
    assert read(source) == found


def test_kinds_of_media_and_captions(tmp_path: Path) -> None:
    path = shard(
        tmp_path / "a.tar",
        [
            {"__key__": "part-1/1.5", "WAV": b"sound", "json": {"caption": ["rain", "rain falls"]}},
            {"__key__": "part-1/2", "mp4": b"clip", "txt": "a dog"},
            {"__key__": "part-2/2", "webp": b"picture", "txt": "Schnee"},
        ],
    )
    found = read(open_data(f"webdataset:{path}"))
    assert [(sample.id, sample.media[0].kind, caption_of(sample)) for sample in found] == [
        ("a/part-1/2", "video", "a dog"),
        ("a/part-2/2", "image", "Schnee"),
    ]


def test_long_names_and_a_json_of_captions(tmp_path: Path) -> None:
    name = "x" * 150
    path = shard(
        tmp_path / "a#1+2:.tar", [{"__key__": f"ü#3+4:{name}/{name}", "flac": b"s", "json": {"caption": ["a", "b"]}}]
    )
    source = open_data(f"webdataset:{path}")
    found = read(source)
    assert [(sample.id.rpartition("#")[2], caption_of(sample)) for sample in found] == [("0", "a"), ("1", "b")]
    assert source.opener is not None
    assert source.opener(found[0].media[0].uri) == b"s"
    assert source.unreadable == []


def test_ranges_and_patterns(tmp_path: Path) -> None:
    for part in range(8, 12):
        shard(tmp_path / f"{part:05d}.tar", pictures(10 * part, 2))
    source = open_data(f"webdataset:{tmp_path}/{{00008..00011}}.tar")
    assert source.shards == 4
    assert names(read(source, 3)) == ["000000110", "000000111"]
    assert names(read(source, 0)) == ["000000080", "000000081"]
    pattern = open_data(f"webdataset:{tmp_path}/*.tar")
    assert pattern.fingerprint == source.fingerprint
    assert [sample.media for sample in read(pattern, 1)] == [sample.media for sample in read(source, 1)]
    with pytest.raises(WrongUse, match="has no shard 4; it has 4"):
        source.read_shard(4)
    shard(tmp_path / "00009.tar", pictures(0, 90))
    assert open_data(f"webdataset:{tmp_path}/*.tar").fingerprint != source.fingerprint
    assert open_data(f"webdataset:{tmp_path}/*.tar", prompt="a").fingerprint != pattern.fingerprint


def test_shards_that_are_not_there(tmp_path: Path) -> None:
    shard(tmp_path / "0.tar", pictures(0, 1))
    shard(tmp_path / "2.tar", pictures(2, 1))
    with pytest.raises(MissingData, match=r"^no shard .*/1\.tar \(and 1 more\); fetch them, or leave"):
        open_data(f"webdataset:{tmp_path}/{{0..3}}.tar")
    source = open_data(f"webdataset:{tmp_path}/{{0..3}}.tar", skip_missing=True)
    assert source.shards == 2
    assert names(read(source, 1)) == ["000000002"]
    assert source.unreadable == [f"no shard {tmp_path}/1.tar", f"no shard {tmp_path}/3.tar"]
    with pytest.raises(MissingData, match=r"no shard .*/x\*\.tar"):
        open_data(f"webdataset:{tmp_path}/x*.tar")
    with pytest.raises(BadData, match=r"0\.tar\.zst: shards must be files \.tar, \.tar\.gz"):
        open_data(f"webdataset:{tmp_path}/0.tar.zst")
    (tmp_path / "0.tar").unlink()
    with pytest.raises(MissingData, match=r"0\.tar: No such file"):
        read(source, 0)


def test_what_is_no_sample_is_named_and_the_rest_read(tmp_path: Path) -> None:
    path = shard(
        tmp_path / "a.tar",
        [
            {"__key__": "good-1", "png": b"x", "txt": "a"},
            {"__key__": "wordless", "png": b"x", "cls": b"3"},
            {"__key__": "empty", "png": b"", "txt": "a"},
            {"__key__": "blank", "png": b"x", "txt": " \n"},
            {"__key__": "broken", "png": b"x", "json": b'{"caption": "a'},
            {"__key__": "null", "png": b"x", "json": {"caption": None}},
            {"__key__": "latin", "png": b"x", "txt": b"caf\xe9"},
            {"__key__": "blind", "txt": "a"},
            {"__key__": "both", "png": b"x", "jpg": b"x", "txt": "a"},
            {"__key__": "good-2", "png": b"x", "txt": "b"},
        ],
    )
    source = open_data(f"webdataset:{path}")
    assert names(read(source)) == ["good-1", "good-2"]
    lines = [line.removeprefix(f"{path}: ") for line in source.unreadable]
    assert [line.partition(":")[0] for line in lines] == [
        "wordless", "empty", "blank", "broken", "null", "latin", "blind", "both",
    ]  # fmt: skip
    assert lines[0] == "wordless: no caption: neither a txt nor a json"
    assert lines[1] == "empty: empty.png is empty (0 bytes)"
    assert lines[3].startswith("broken: its caption cannot be read: ")
    assert lines[7].startswith("both: 2 media, where one of jpg")
    before = list(source.unreadable)
    assert names(read(source)) == ["good-1", "good-2"]
    assert source.unreadable == before


def test_media_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Wherever they stand in the shard, and numbers as numbers: 2 before 10."""

    def talk(count: int) -> dict[str, object]:
        value = "<image> " * count + "which?"
        return {"conversations": [{"from": "human", "value": value}, {"from": "gpt", "value": "This."}]}

    twelve = [f"{number}.png" for number in range(12)]
    path = shard(
        tmp_path / "a.tar",
        [
            {"__key__": "swapped", "1.png": b"1", "0.png": b"0", "json": talk(2)},
            {"__key__": "sorted", **{name: name.encode() for name in sorted(twelve)}, "json": talk(12)},
            {"__key__": "text", "b.png": b"b", "a10.png": b"a10", "a9.png": b"a9", "png": b"plain", "json": talk(4)},
        ],
    )
    source = open_data(f"webdataset:{path}")
    found = read(source)
    assert source.unreadable == []
    assert source.opener is not None
    contents = [[source.opener(one.uri).decode() for one in sample.media] for sample in found]
    assert contents == [["0", "1"], twelve, ["a9", "a10", "b", "plain"]]


def test_a_conversation_beside_a_caption_wins(tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A kite."}]
    path = shard(
        tmp_path / "a.tar",
        [
            {"__key__": "1", "png": b"x", "txt": "a caption", "json": {"conversations": talk}},
            {"__key__": "2", "png": b"x", "txt": "a caption", "json": {"instruction": "Which?", "response": "A kite."}},
            {"__key__": "3", "png": b"x", "txt": "a caption", "json": {"instruction": "of the author"}},
            {"__key__": "4", "png": b"x", "txt": "a caption", "json": b"{damaged"},
        ],
    )
    found = read(open_data(f"webdataset:{path}"))
    assert [caption_of(sample) for sample in found] == ["A kite.", "A kite.", "a caption", "a caption"]


def test_names_with_more_dots_are_explained(tmp_path: Path) -> None:
    path = shard(
        tmp_path / "a.tar",
        [
            {"__key__": "b", "v2.jpg": b"x", "v2.txt": "nested"},
            {"__key__": "c", "1.png": b"x", "txt": "numbered"},
            {"__key__": "d", "png": b"x", "v2.txt": "nested"},
        ],
    )
    source = open_data(f"webdataset:{path}")
    assert read(source) == []
    why = "; names end at the first dot, so the endings here are "
    assert [line.partition(why)[2] for line in source.unreadable] == ["v2.jpg, v2.txt", "1.png, txt", "png, v2.txt"]


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Path, list[tarfile.TarInfo]]:
    path = shard(tmp_path / "a.tar", [{"__key__": f"{n}", "png": png(n), "txt": f"caption {n}"} for n in range(5)])
    with tarfile.open(path) as archive:
        return path, archive.getmembers()


def test_a_damaged_header(whole: tuple[Path, list[tarfile.TarInfo]]) -> None:
    path, members = whole
    content = bytearray(path.read_bytes())
    lost = next(member for member in members if member.name == "2.png")
    content[lost.offset_data - BLOCK : lost.offset_data] = b"\xff" * BLOCK
    path.write_bytes(content)
    source = open_data(f"webdataset:{path}")
    found = read(source)
    assert names(found) == ["0", "1", "3", "4"]
    assert source.opener is not None
    assert [source.opener(sample.media[0].uri) for sample in found] == [png(n) for n in (0, 1, 3, 4)]
    damage, left = (line.removeprefix(f"{path}: ") for line in source.unreadable)
    assert damage == "after 1.txt: a damaged header; what it stood for is lost"
    assert left.startswith("2: 0 media, where one of")


def test_a_damaged_pax_header(whole: tuple[Path, list[tarfile.TarInfo]]) -> None:
    path, members = whole
    content = bytearray(path.read_bytes())
    for name in ("2.png", "0.png"):
        extra = next(member for member in members if member.name == name)
        content[extra.offset : extra.offset + 100] = b"\xff" * 100
        path.write_bytes(content)
        if name == "2.png":  # where the library ends without a word
            with path.open("rb") as file:
                assert [part["fname"] for part in tar_file_iterator(file)][-1] == "1.txt"
    source = open_data(f"webdataset:{path}")
    assert names(read(source)) == ["0", "1", "2", "3", "4"]
    assert [line.removeprefix(f"{path}: ") for line in source.unreadable] == [
        "after its start: a damaged header; what it stood for is lost",
        "after 1.txt: a damaged header; what it stood for is lost",
    ]


def test_a_shard_that_is_cut_off(whole: tuple[Path, list[tarfile.TarInfo]]) -> None:
    path, members = whole
    content = path.read_bytes()
    last = next(member for member in members if member.name == "4.png")
    for end, line in (
        (last.offset, "after 3.txt: it does not end as tar files do; was it cut off?"),
        (last.offset + 100, "after 3.txt: it does not end as tar files do; was it cut off?"),
        (last.offset_data + 10, "in 4.png: unexpected end of data; the rest is lost"),
    ):
        path.write_bytes(content[:end])
        source = open_data(f"webdataset:{path}")
        assert names(read(source)) == ["0", "1", "2", "3"]
        assert source.unreadable == [f"{path}: {line}"]


@pytest.mark.parametrize("content", [b"", b"\x1f\x8a" + bytes(range(256)) * 20, bytes(20 * BLOCK), b"short"])
def test_no_tar_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    source = open_data(f"webdataset:{tmp_path}/a.tar")
    assert read(source) == []
    (line,) = source.unreadable
    assert line.startswith(f"{tmp_path}/a.tar: no plain tar file")


def test_the_opener_opens_these_shards_only(tmp_path: Path, whole: tuple[Path, list[tarfile.TarInfo]]) -> None:
    path, _ = whole
    source = open_data(f"webdataset:{path}")
    (first, *_) = read(source)
    assert source.opener is not None
    other = shard(tmp_path / "b.tar", pictures(0, 1))
    for uri in (f"row:{other}#0+10:x.png", "row:/etc/passwd#0+10:x.png", f"row:{path}#a:x.png", f"row:{path}#0+1"):
        with pytest.raises(MediaError, match="it is in none of the 1 shards that are open here"):
            source.opener(uri)
    path.write_bytes(b"")
    with MediaReader(source.opener) as reader:
        with pytest.raises(MediaError, match=r"a\.tar#\d+\+\d+:0\.png: the shard ends before; has it changed\?"):
            reader.image(first.media[0])
        with pytest.raises(MediaError):
            reader.image(Media(kind="image", uri="row:nowhere#0"))


def test_a_header_for_all_members_is_no_damage(tmp_path: Path) -> None:
    with tarfile.open(
        tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "made by hand"}
    ) as archive:
        for name, content in (("1.png", png(1)), ("1.txt", b"one")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    source = open_data(f"webdataset:{tmp_path}/a.tar")
    assert names(read(source)) == ["1"]
    assert source.unreadable == []


def test_memory_is_flat(tmp_path: Path) -> None:
    import tracemalloc

    sound = bytes(1 << 20)
    path = shard(tmp_path / "a.tar", [{"__key__": f"{n}", "wav": sound, "txt": "a"} for n in range(30)])
    source = open_data(f"webdataset:{path}")
    tracemalloc.start()
    try:
        held = read(source)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(held) == 30
    assert peak < 8 << 20
