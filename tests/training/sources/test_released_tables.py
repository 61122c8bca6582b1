"""AudioCaps, Clotho and Ego4D in the layouts in which they are released."""

import json
from pathlib import Path

import pytest

from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.errors import BadData, MissingData
from anymal_eval.media import MediaReader
from anymal_eval.records import Media
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import TrainingData, open_data
from anymal_eval.training.sources.ego4d import narration
from tests.training.sources.conftest import Write

AUDIOCAPS = """audiocap_id,youtube_id,start_time,caption
91139,r1nicOVtvkQ,130,A woman talks nearby as water pours
58146,-Bu7YaslRW0,30,"A large engine, then a horn"
11542,r1nicOVtvkQ,250,Multiple clanging
"""
CLOTHO = """file_name,caption_1,caption_2,caption_3,caption_4,caption_5
Distorted AM Radio noise.wav,A muddled noise,A person is turning a radio,"A radio, dialled",Noise,Static
05 #2.wav,One,Two,Three,Four,Five
"""


def samples(source: TrainingData) -> list[Sample]:
    assert source.samples is not None
    return list(source.samples)


def caption_of(sample: Sample) -> object:
    return sample.turns[-1].parts[0]


# --- AudioCaps --------------------------------------------------------------------------------------------------


@pytest.fixture
def audiocaps(tmp_path: Path, sound: Write) -> Path:
    for name in ("r1nicOVtvkQ_130.wav", "-Bu7YaslRW0.flac", "r1nicOVtvkQ_250.mp3", "r1nicOVtvkQ.wav"):
        sound(f"audio/{name}")
    (tmp_path / "train.csv").write_text(AUDIOCAPS)
    return tmp_path / "train.csv"


def test_audiocaps(tmp_path: Path, audiocaps: Path) -> None:
    found = samples(open_data(f"audiocaps:{audiocaps}", prompt="What is heard?"))
    assert [sample.id for sample in found] == ["91139", "58146", "11542"]
    assert [sample.where for sample in found] == [f"{audiocaps}: line {number}" for number in (2, 3, 4)]
    names = ["r1nicOVtvkQ_130.wav", "-Bu7YaslRW0.flac", "r1nicOVtvkQ_250.mp3"]
    assert [sample.media for sample in found] == [
        (Media(kind="audio", uri=str(tmp_path / "audio" / name)),) for name in names
    ]
    assert found[1].turns == (
        Turn(role="user", parts=(Slot(medium="audio"), "What is heard?")),
        Turn(role="assistant", parts=("A large engine, then a horn",)),
    )


def test_audiocaps_without_its_sound(tmp_path: Path, audiocaps: Path) -> None:
    (tmp_path / "audio" / "-Bu7YaslRW0.flac").unlink()
    with pytest.raises(MissingData, match=r"train\.csv: line 3: no audio/-Bu7YaslRW0_30\.wav; fetch them, or leave"):
        open_data(f"audiocaps:{audiocaps}")
    source = open_data(f"audiocaps:{audiocaps}", skip_missing=True)
    assert [sample.id for sample in samples(source)] == ["91139", "11542"]
    assert source.unreadable == [f"{audiocaps}: line 3: no audio/-Bu7YaslRW0_30.wav"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (AUDIOCAPS.replace("start_time", "start"), "line 1: no column start_time"),
        (AUDIOCAPS.replace(",30,", ",soon,"), "line 3: 'start_time' must be a whole number, not 'soon'"),
        (AUDIOCAPS.replace('"A large engine, then a horn"', ""), "line 3: 'caption' is empty"),
        (AUDIOCAPS.replace("-Bu7YaslRW0", "../../up"), "line 3: "),
        (AUDIOCAPS.replace("11542", "91139"), "1 double audiocap_id: 91139"),
        (AUDIOCAPS[:-22], "line 4: expected 4 columns"),
        (AUDIOCAPS.partition("\n")[0], "it holds no sample"),
    ],
)
def test_bad_audiocaps(audiocaps: Path, text: str, message: str) -> None:
    audiocaps.write_text(text)
    with pytest.raises(BadData) as raised:
        open_data(f"audiocaps:{audiocaps}")
    assert str(raised.value).startswith(f"{audiocaps}: {message}")


# --- Clotho -----------------------------------------------------------------------------------------------------


@pytest.fixture
def clotho(tmp_path: Path, sound: Write) -> Path:
    sound("development/Distorted AM Radio noise.wav")
    sound("development/05 #2.wav")
    (tmp_path / "clotho_captions_development.csv").write_text(CLOTHO)
    return tmp_path / "clotho_captions_development.csv"


def test_clotho(tmp_path: Path, clotho: Path) -> None:
    found = samples(open_data(f"clotho:{clotho}"))
    assert [sample.id for sample in found[:2]] == ["Distorted AM Radio noise.wav#0", "Distorted AM Radio noise.wav#1"]
    assert [caption_of(sample) for sample in found[2:7]] == ["A radio, dialled", "Noise", "Static", "One", "Two"]
    assert found[9].media[0].uri == str(tmp_path / "development" / "05 #2.wav")
    assert found[9].where == f"{clotho}: line 3"
    assert found[9].turns[0] == Turn(role="user", parts=(Slot(medium="audio"),))


def test_bad_clotho(tmp_path: Path, clotho: Path) -> None:
    (tmp_path / "train.csv").write_text(CLOTHO)
    with pytest.raises(BadData, match=r"train\.csv: its name must be clotho_captions_SPLIT\.csv"):
        open_data(f"clotho:{tmp_path}/train.csv")
    clotho.write_text(CLOTHO.replace("Three", ""))
    with pytest.raises(BadData, match=r"development\.csv: line 3: 'caption_3' is empty"):
        open_data(f"clotho:{clotho}")
    clotho.write_text(CLOTHO.replace("05 #2.wav", "/05.wav"))
    with pytest.raises(BadData, match=r"development\.csv: line 3: .* is absolute"):
        open_data(f"clotho:{clotho}")
    clotho.write_text(CLOTHO.replace("05 #2", "other"))
    with pytest.raises(MissingData, match=r"line 3: no development/other\.wav; fetch them"):
        open_data(f"clotho:{clotho}")


# --- Ego4D ------------------------------------------------------------------------------------------------------


def row(second: object, text: object) -> dict[str, object]:
    return {"timestamp_sec": second, "timestamp_frame": 1, "narration_text": text, "annotation_uid": "u"}


EGO4D = {
    "v-1": {
        "narration_pass_1": {
            "narrations": [
                row(6.5, "#C C walks up the stairs."),
                row(7.0, "#O man X waves at C"),
                row(1, "#C C runs"),
            ],
            "summaries": [],
        },
        "narration_pass_2": {"narrations": [row(6.4, "#C C drops the #unsure")]},
    },
    "v-0": {"narration_pass_1": {"narrations": [row(3, "#C C ")]}, "status": "complete"},
    "v-2": {"narration_pass_2": {"narrations": [row(4, "#C C sits")]}},
}  # fmt: skip


@pytest.fixture
def ego4d(tmp_path: Path, motion: Write) -> Path:
    motion("imu/v-1.npy")
    rows = "".join(f"0,{time + 40},{time},1,2,3,4,5,\n" for time in range(0, 9000, 10))
    (tmp_path / "imu" / "v-2.csv").write_text(
        "component_idx,component_timestamp_ms,canonical_timestamp_ms,gyro_x,gyro_y,gyro_z,accl_x,accl_y,accl_z\n"
        f"0,0,,9,9,9,9,9,9\n{rows}"
    )
    (tmp_path / "narration.json").write_text(json.dumps({"videos": EGO4D}))
    return tmp_path / "narration.json"


def test_ego4d(tmp_path: Path, ego4d: Path) -> None:
    source = open_data(f"ego4d:{ego4d}")
    found = samples(source)
    assert [sample.id for sample in found] == ["v-1/1/0", "v-1/1/2", "v-1/2/0", "v-2/2/0"]
    assert [caption_of(sample) for sample in found] == [
        "a person walks up the stairs", "a person runs", "a person drops the something", "a person sits",
    ]  # fmt: skip
    uri = str(tmp_path / "imu" / "v-1.npy")
    assert [sample.media[0] for sample in found[:3]] == [
        Media(kind="imu", uri=uri, start_s=4.0, end_s=9.0),
        Media(kind="imu", uri=uri, start_s=0.0, end_s=5.0),
        Media(kind="imu", uri=uri, start_s=3.9, end_s=8.9),
    ]
    assert source.unreadable == [f"{ego4d}: v-1.narration_pass_1 row 2: not of the wearer, or no words (and 1 more)"]
    with MediaReader() as reader:
        motions = [reader.imu(sample.media[0]) for sample in found]
    assert [motion.shape for motion in motions] == [(6, 1000)] * 4
    assert motions[3][:, 0].tolist() == motions[3][:, 999].tolist() == [4, 5, 0, 1, 2, 3]
    ego4d.write_text(json.dumps(EGO4D))
    assert samples(open_data(f"ego4d:{ego4d}"))[0].media == found[0].media


def test_ego4d_lines(ego4d: Path, lines: Write) -> None:
    table = lines(
        "own.jsonl",
        {"video_uid": "v-2", "timestamp_sec": 5, "narration": "#C C walks"},
        {"video_uid": "v-1", "timestamp_sec": "3", "narration": "sits down"},
    )
    found = samples(open_data(f"ego4d:{table}"))
    assert [(sample.id, caption_of(sample)) for sample in found] == [
        ("v-2/1", "a person walks"),
        ("v-1/2", "sits down"),
    ]
    bad = lines("bad.jsonl", {"video_uid": "v-2", "timestamp_sec": "soon", "narration": "#C C walks"})
    with pytest.raises(BadData, match=r"bad\.jsonl: line 1: 'timestamp_sec' must be a time in seconds, not 'soon'"):
        open_data(f"ego4d:{bad}")
    gone = lines("gone.jsonl", *({"video_uid": "v-3", "timestamp_sec": n, "narration": "#C C walks"} for n in (3, 4)))
    with pytest.raises(MissingData, match=r"gone\.jsonl: line 1: no imu/v-3\.csv; fetch them"):
        open_data(f"ego4d:{gone}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#C C opens the fridge", "a person opens the fridge"),
        ("#c c Opens", "a person Opens"),
        ("#C  C walks", "a person walks"),
        ("#CC walks", "a person walks"),
        ("#C-C walks", "a person walks"),
        ("#C walks", "a person walks"),
        ("#C C talks to #O woman Y", "a person talks to woman Y"),
        ("#C C cuts", "a person cuts"),
        ("#Unsure", "something"),
        ("#O man X walks", None),
        ("#o man X walks", None),
        ("#C C", None),
        (" . ", None),
    ],
)
def test_narrations(text: str, words: str | None) -> None:
    assert narration(text) == words


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"videos": {"v-1": {"narration_pass_1": {"narrations": [row(1, None)]}}}},
         "v-1.narration_pass_1 row 1: 'narration_text' must be a string, not None"),
        ({"videos": {"v-1": {"narration_pass_1": {"narrations": [row(-1, "#C C a")]}}}},
         "v-1.narration_pass_1 row 1: 'timestamp_sec' must be a time"),
        ({"videos": {"../v": {"narration_pass_1": {"narrations": [row(1, "#C C a")]}}}}, "../v.narration_pass_1 row"),
        ({"videos": {"v-1": {"narration_pass_1": [1]}}}, "v-1.narration_pass_1: expected an object, got list"),
        ({"videos": [1]}, "videos: expected an object, got list"),
        ([1], "the whole: expected an object, got list"),
        ({"videos": {}}, "it holds no sample"),
    ],
)  # fmt: skip
def test_bad_ego4d(ego4d: Path, data: object, message: str) -> None:
    ego4d.write_text(json.dumps(data))
    with pytest.raises(BadData) as raised:
        open_data(f"ego4d:{ego4d}")
    assert str(raised.value).startswith(f"{ego4d}: {message}")
