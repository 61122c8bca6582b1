"""A row that holds no sample is left out and counted, whatever the layout; too many are refused before training."""

import json
import tarfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import pytest

from anymal_eval.demo.files import write_motion, write_picture, write_sound
from anymal_eval.errors import BadData, IncompleteRun
from anymal_eval.training.batches import UnreadableSamples, require_few_bad_rows
from anymal_eval.training.sources import TrainingData, open_data

Layout = Callable[[Path, Sequence[object]], str]
GOOD = 3


def jsonl(name: str, rows: Sequence[object]) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (root / name).write_text("\n".join(texts) + "\n")

    return write


def table(name: str, header: str, rows: Sequence[str]) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        (root / name).write_text("\n".join([header, *rows]) + "\n")

    return write


def document(name: str, content: object) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(json.dumps(content))

    return write


def shard(names: Sequence[str]) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        with tarfile.open(root / "t.tar", "w") as archive:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = 1
                archive.addfile(info, BytesIO(b"x"))

    return write


def pair(number: int) -> dict[str, object]:
    return {"id": number, "image": "a.png", "caption": f"a cat {number}"}


def talk(number: int, answer: object = "yes") -> dict[str, object]:
    said = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": answer}]
    return {"id": number, "image": "a.png", "conversations": said}


def instruction(number: int, **more: object) -> dict[str, object]:
    return {"id": number, "image": "a.png", "instruction": "what?", "response": "yes", **more}


def narrated(number: int, **more: object) -> dict[str, object]:
    return {"video_uid": "u", "timestamp_sec": number, "narration": "#C C walks", **more}


def release(rows: Sequence[object]) -> dict[str, object]:
    return {"videos": {"u": {"narration_pass_1": {"narrations": rows}}, "v": {"narration_pass_1": 7}}}


def lines_of(make: Callable[[int], object], bad: object) -> list[object]:
    return [make(0), bad, make(1), make(2)]


NARRATED = {"timestamp_sec": 3.0, "narration_text": "#C C walks"}
CAPTIONS = "a,b,c,d,e"
CASES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "pairs, no caption": (
        "pairs:t.jsonl", jsonl("t.jsonl", lines_of(pair, {"id": 9, "image": "a.png"})), "line 2: no key 'caption'"
    ),
    "pairs, no JSON": ("pairs:t.jsonl", jsonl("t.jsonl", lines_of(pair, '{"id": 9, ')), "line 2: "),
    "pairs, no object": ("pairs:t.jsonl", jsonl("t.jsonl", lines_of(pair, [1])), "line 2: expected an object"),
    "pairs, cut off": ("pairs:t.jsonl", jsonl("t.jsonl", [pair(0), pair(1), pair(2), '{"id"']), "line 4: "),
    "instructions": (
        "instructions:t.jsonl", jsonl("t.jsonl", lines_of(instruction, instruction(9, response=" "))), "line 2: the "
    ),
    "instructions, out of the folder": (
        "instructions:t.jsonl", jsonl("t.jsonl", lines_of(instruction, instruction(9, image="../a.png"))), "line 2: "
    ),
    "llava": ("llava:t.json", document("t.json", lines_of(talk, talk(9, ""))), "row 2: the assistant says nothing"),
    "llava, no id": ("llava:t.json", document("t.json", lines_of(talk, {"image": "a.png"})), "row 2: no key 'id'"),
    "llava, no object": ("llava:t.json", document("t.json", lines_of(talk, "x")), "row 2: expected an object"),
    "llava, two of one speaker": (
        "llava:t.json",
        document("t.json", lines_of(talk, {**talk(9), "conversations": [{"from": "human", "value": "a"}] * 2})),
        "row 2: conversations: human speaks twice",
    ),
    "audiocaps": (
        "audiocaps:t.csv",
        table("t.csv", "audiocap_id,youtube_id,start_time,caption", ["1,b,0,x", "2,b,zero,x", "3,b,0,x", "4,b,0,x"]),
        "line 3: 'start_time' must be a whole number",
    ),
    "audiocaps, cells": (
        "audiocaps:t.csv",
        table("t.csv", "audiocap_id,youtube_id,start_time,caption", ["1,b,0,x", "2,b,0,x,y", "3,b,0,x", "4,b,0,x"]),
        "line 3: expected 4 columns",
    ),
    "clotho": (
        "clotho:clotho_captions_audio.csv",
        table(
            "clotho_captions_audio.csv",
            "file_name,caption_1,caption_2,caption_3,caption_4,caption_5",
            [f"b.wav,{CAPTIONS}", "c.wav,a,b, ,d,e"],
        ),
        "line 3: 'caption_3' is empty",
    ),
    "ego4d, lines": (
        "ego4d:t.jsonl", jsonl("t.jsonl", lines_of(narrated, narrated(9, timestamp_sec="noon"))), "line 2: 'timestamp"
    ),
    "ego4d, released": (
        "ego4d:t.json",
        document("t.json", release([NARRATED, {"timestamp_sec": 1.0}, NARRATED, NARRATED])),
        "u.narration_pass_1 row 2: no key 'narration_text'",
    ),
    "datasets": (
        "datasets:own",
        document("own/t.json", [{"image": "a.png", "caption": text} for text in ("a", " ", "b", "c")]),
        "row 2: 'caption' is empty",
    ),
    "webdataset": ("webdataset:t.tar", shard([f"{n}.{end}" for n in "0123" for end in ("jpg", "txt")][:-1]), "3: "),
}  # fmt: skip


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TrainingData]:
    monkeypatch.chdir(tmp_path)
    import numpy as np

    (tmp_path / "own").mkdir()
    (tmp_path / "audio").mkdir()
    (tmp_path / "imu").mkdir()
    for folder in (tmp_path, tmp_path / "own"):
        write_picture(folder / "a.png", np.zeros((2, 2, 3), np.uint8))
    write_sound(tmp_path / "audio" / "b.wav", np.zeros(80, np.int16), 8000)
    write_motion(tmp_path / "imu" / "u.npy", np.zeros((6, 2000), np.float32))

    def open_case(name: str, **options: object) -> TrainingData:
        address, write, _ = CASES[name]
        write(tmp_path)
        kind, _, path = address.partition(":")
        return open_data(f"{kind}:{tmp_path / path}", **options)

    return open_case


@pytest.mark.parametrize("name", CASES)
def test_one_bad_row_is_left_out_and_counted(name: str, opened: Callable[..., TrainingData]) -> None:
    data = opened(name, count_bad_rows=True)
    samples = list(data.samples) if data.samples is not None else list(data.read_shard(0))
    assert len(samples) == {"clotho": 5}.get(name, GOOD)
    assert len({sample.id for sample in samples}) == len(samples)
    bad = {where.removeprefix("v.narration"): reason for where, reason in data.bad.reasons.items() if "v." not in where}
    (line,) = (f"{where}: {reason}" for where, reason in bad.items())
    assert CASES[name][2] in line
    if data.samples is None:
        return
    assert data.bad.rows == len(data.bad.reasons) + (1 if name == "clotho" else GOOD)
    with pytest.raises(BadData) as strict:
        opened(name)
    assert str(strict.value) == next(f"{where}: {reason}" for where, reason in data.bad.reasons.items())


def test_a_table_of_bad_rows_alone_is_refused_with_the_first(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"id": 1}\n{"id": 2}\n')
    with pytest.raises(BadData, match=r"t\.jsonl: line 1: "):
        open_data(f"pairs:{tmp_path / 't.jsonl'}", count_bad_rows=True)


def data_with(bad: int, good: int, *, shards: int = 0) -> TrainingData:
    data = TrainingData(name="x", fingerprint="x", samples=None if shards else (), shards=shards)
    data.bad.rows = good
    for number in range(bad):
        data.bad.add(f"t: row {number}", BadData(f"t: row {number}: no"))
    return data


@pytest.mark.parametrize(
    ("bad", "good", "limit", "refused"),
    [(1, 3, 0.01, False), (2, 18, 0.01, True), (10, 990, 0.01, False), (11, 989, 0.01, True), (1, 999, 0.0, True)],
)
def test_bad_rows_count_against_the_allowance(bad: int, good: int, limit: float, *, refused: bool) -> None:
    if not refused:
        require_few_bad_rows([data_with(bad, good)], limit)
        return
    with pytest.raises(BadData, match=r"^t: row 0: no"):
        require_few_bad_rows([data_with(bad, good)], limit)


def test_bad_rows_and_media_share_the_allowance() -> None:
    seen = UnreadableSamples(limit=0.01, data=[data_with(6, 994)], seen=500)
    seen.reasons = {f"t: row {number}": "broken" for number in range(10, 12)}
    seen.require_few()  # 2 of 500, and half of the 6 of the table: 5 of 503
    seen.reasons["t: row 12"] = "broken"
    with pytest.raises(IncompleteRun, match="6 of 503 samples cannot be read"):
        seen.require_few()


def test_bad_samples_of_shards_count_when_they_are_read() -> None:
    shards = data_with(1, 0, shards=1)
    seen = UnreadableSamples(limit=0.01, data=[shards], seen=8)
    seen.require_few()
    again = UnreadableSamples(limit=0.01)
    again.add_state_dict(json.loads(json.dumps(seen.state_dict())))
    assert again.all_reasons() == {"t: row 0": "no"}
    shards.bad.add("t: row 1", BadData("t: row 1: no"))
    with pytest.raises(IncompleteRun, match=r"2 of 10 samples cannot be read.*t: row 0: no; t: row 1: no"):
        seen.require_few()


def test_bad_samples_of_shards_count_among_all_rows_that_were_read(tmp_path: Path) -> None:
    good, bad = 990, 9
    names = [f"{number:04d}.{end}" for number in range(good) for end in ("jpg", "txt")]
    shard([*names, *(f"{number}.jpg" for number in range(2000, 2000 + bad))])(tmp_path)
    data = open_data(f"webdataset:{tmp_path / 't.tar'}", count_bad_rows=True)
    for _ in range(2):  # a second epoch reads the same rows
        assert len(list(data.read_shard(0))) == good
    assert data.bad.rows == good + bad
    UnreadableSamples(limit=0.01, data=[data], seen=8).require_few()  # 9 of 999
    with pytest.raises(IncompleteRun, match=r"^9 of 999 samples cannot be read, more than --max-unreadable 0\.90%"):
        UnreadableSamples(limit=0.009, data=[data], seen=8).require_few()
