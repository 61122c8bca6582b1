"""LLaVA's conversation layout, as its released files hold it."""

import json
from pathlib import Path

import pytest

from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.errors import BadData, MissingData
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import TrainingData, open_data
from tests.training.sources.conftest import Write

BUS = {
    "id": "000000033471",
    "image": "000000033471.jpg",
    "conversations": [
        {"from": "human", "value": "<image>\nWhat are the colors of the bus in the image?"},
        {"from": "gpt", "value": "The bus in the image is white and red."},
        {"from": "human", "value": "What feature can be seen on the back of the bus?"},
        {"from": "gpt", "value": "The back of the bus features an advertisement."},
    ],
}
IMAGE, AUDIO = Slot(medium="image"), Slot(medium="audio")


@pytest.fixture
def table(tmp_path: Path, picture: Write, sound: Write) -> Write:
    picture("000000033471.jpg")
    picture("coco/train2017/1.jpg")
    sound("a.wav")

    def write(*rows: object) -> str:
        (tmp_path / "llava.json").write_text(json.dumps(rows))
        return f"llava:{tmp_path}/llava.json"

    return write


def samples(source: TrainingData) -> list[Sample]:
    assert source.samples is not None
    return list(source.samples)


def talk(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(texts)]


def test_a_released_row(tmp_path: Path, table: Write) -> None:
    (sample,) = samples(open_data(table(BUS), prompt="Describe."))
    assert sample.id == "000000033471"
    assert sample.where == f"{tmp_path}/llava.json: row 1"
    assert [medium.uri for medium in sample.media] == [f"{tmp_path}/000000033471.jpg"]
    assert sample.turns == (
        Turn(role="user", parts=(IMAGE, "What are the colors of the bus in the image?")),
        Turn(role="assistant", parts=("The bus in the image is white and red.",)),
        Turn(role="user", parts=("What feature can be seen on the back of the bus?",)),
        Turn(role="assistant", parts=("The back of the bus features an advertisement.",)),
    )


def test_rows_of_the_mixture(table: Write) -> None:
    """Ids that stand twice, text alone, the tag at the end, other media, HTML, and a gpt that begins."""
    rows = [
        {"id": "000000033471", "image": "coco/train2017/1.jpg", "conversations": talk("Is it red?\n<image>", "No")},
        BUS,
        {"id": "wgByO4Y_0", "model": "", "conversations": talk("Write a <video> tag, and <audio>.", "<video></video>")},
        {"id": 7, "audio": "a.wav", "image": ["coco/train2017/1.jpg", "000000033471.jpg"],
         "conversations": talk("<image>\n<audio>\nDo they fit <image>?", "Yes <image>")},
        {"id": 8, "conversations": [{"from": "gpt", "value": "Hi"}, *talk("a", "b", "c")]},
        {"id": 9, "conversations": [{"from": "system", "value": "Be brief."}, *talk("a", "b")]},
    ]  # fmt: skip
    found = samples(open_data(table(*rows)))
    assert [sample.id for sample in found] == ["000000033471@0", "000000033471@1", "wgByO4Y_0", "7", "8", "9"]
    assert found[0].turns[0].parts == ("Is it red?", IMAGE)
    assert found[2].media == ()
    assert found[2].turns[0].parts == ("Write a <video> tag, and <audio>.",)
    assert found[3].turns[0].parts == (IMAGE, AUDIO, "Do they fit ", IMAGE, "?")
    assert [medium.uri.rpartition("/")[2] for medium in found[3].media] == ["1.jpg", "a.wav", "000000033471.jpg"]
    assert found[3].turns[1].parts == ("Yes <image>",)
    assert [turn.parts for turn in found[4].turns] == [("a",), ("b",)]
    assert [turn.role for turn in found[5].turns] == ["system", "user", "assistant"]


def test_media_in_another_folder(tmp_path: Path, table: Write) -> None:
    row = {"id": 1, "image": "train2017/1.jpg", "conversations": talk("<image>\nWhat?", "That")}
    (sample,) = samples(open_data(f"{table(row)}@{tmp_path}/coco"))
    assert sample.media[0].uri == f"{tmp_path}/coco/train2017/1.jpg"
    with pytest.raises(MissingData, match=r"no folder .*/none; write llava:FILE\.json@FOLDER"):
        open_data(f"{table(row)}@{tmp_path}/none")
    with pytest.raises(MissingData, match=r"llava\.json: row 1: no train2017/1\.jpg; fetch them"):
        open_data(table(row))


def test_fingerprints(table: Write) -> None:
    one = open_data(table(BUS)).fingerprint
    assert open_data(table(BUS), prompt="Not used.").fingerprint == one
    assert open_data(table(BUS, {"id": 1, "conversations": talk("a", "b")})).fingerprint != one


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"conversations": talk("a", "b")}, "no key 'id'; it has conversations"),
        ({"id": 2}, "no key 'conversations'"),
        ({"id": 2, "conversations": talk("a")}, "no gpt answers a human in it"),
        (
            {"id": 2, "conversations": [{"from": "bot", "value": "a"}]},
            "'bot' speaks; the layout has system, human, gpt",
        ),
        ({"id": 2, "conversations": [*talk("a", "b"), {"from": "gpt", "value": "c"}]}, "gpt speaks twice in a row"),
        ({"id": 2, "conversations": [{"from": "human"}]}, "no key 'value'"),
        ({"id": 2, "image": "a.jpg", "conversations": talk("What?", "That")}, "its words have 0 places <image>"),
        ({"id": 2, "conversations": talk("<image>\nWhat?", "That")}, "<image> stands at the edge"),
        ({"id": 2, "conversations": talk("What?", "")}, "the assistant says nothing"),
        ({"id": 2, "image": "/a.jpg", "conversations": talk("<image>?", "b")}, "absolute; paths must stay inside"),
        ("row", "expected an object, got str"),
    ],
)
def test_bad_rows(tmp_path: Path, table: Write, row: object, message: str) -> None:
    with pytest.raises(BadData) as raised:
        open_data(table(BUS, row))
    assert str(raised.value).startswith(f"{tmp_path}/llava.json: row 2: ")
    assert message in str(raised.value)


def test_bad_tables(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"id": 1}')
    with pytest.raises(BadData, match=r"t\.json: expected a list of conversations, got dict$"):
        open_data(f"llava:{tmp_path}/t.json")
    (tmp_path / "t.json").write_text('[{"id": 1,')
    with pytest.raises(BadData, match=r"t\.json: line 1: .*; is the file whole\?$"):
        open_data(f"llava:{tmp_path}/t.json")
    with pytest.raises(MissingData, match=r"no file .*u\.json"):
        open_data(f"llava:{tmp_path}/u.json")
