"""Instructions in our JSON lines: where the media go, and conversations that cannot be."""

import pytest

from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.errors import BadData, MissingData
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import open_data
from tests.training.sources.conftest import Write

IMAGE, AUDIO = Slot(medium="image"), Slot(medium="audio")


@pytest.fixture(autouse=True)
def media(picture: Write, sound: Write) -> None:
    picture("a.png")
    picture("b.png")
    sound("c.wav")


def only(lines: Write, **row: object) -> Sample:
    samples = open_data(f"instructions:{lines('t.jsonl', {'id': 1, 'response': 'yes', **row})}").samples
    assert samples is not None
    (sample,) = samples
    return sample


def names(sample: Sample) -> list[str]:
    return [medium.uri.rpartition("/")[2] for medium in sample.media]


def test_text_alone(lines: Write) -> None:
    sample = only(lines, instruction="How does <video> work in HTML?")
    assert sample.media == ()
    assert sample.turns == (
        Turn(role="user", parts=("How does <video> work in HTML?",)),
        Turn(role="assistant", parts=("yes",)),
    )


def test_media_come_first_in_the_order_of_their_keys(lines: Write) -> None:
    sample = only(lines, audio="c.wav", image=["b.png", "a.png"], instruction="same?", system="Be brief.")
    assert names(sample) == ["c.wav", "b.png", "a.png"]
    assert sample.turns[:2] == (
        Turn(role="system", parts=("Be brief.",)),
        Turn(role="user", parts=(AUDIO, IMAGE, IMAGE, "same?")),
    )


def test_tags_mark_their_places(lines: Write) -> None:
    instruction = "Hear <audio> over\n<image>\nand <image>: <video> fits?"
    sample = only(lines, image=["b.png", "a.png"], audio="c.wav", instruction=instruction)
    assert names(sample) == ["c.wav", "b.png", "a.png"]
    assert sample.turns[0].parts == ("Hear ", AUDIO, " over", IMAGE, "and ", IMAGE, ": <video> fits?")


def test_a_window(lines: Write) -> None:
    (medium,) = only(lines, audio="c.wav", start_s=1, end_s=2, instruction="what?").media
    assert (medium.start_s, medium.end_s) == (1.0, 2.0)


def test_the_prompt_is_ignored(lines: Write) -> None:
    table = lines("t.jsonl", {"id": 1, "image": "a.png", "instruction": "what?", "response": "yes"})
    prompted, bare = open_data(f"instructions:{table}", prompt="Describe."), open_data(f"instructions:{table}")
    assert prompted.samples == bare.samples
    assert prompted.fingerprint == bare.fingerprint


def test_missing(lines: Write) -> None:
    table = lines("t.jsonl", {"id": 1, "image": ["a.png", "x.png"], "instruction": "what?", "response": "yes"})
    with pytest.raises(MissingData, match=r"t\.jsonl: line 1: no x\.png; fetch them"):
        open_data(f"instructions:{table}")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"instruction": "what?"}, "no key 'response'; it has id, instruction"),
        ({"response": "yes"}, "no key 'instruction'"),
        ({"instruction": "what?", "response": " "}, "the assistant says nothing"),
        ({"instruction": "", "response": "yes"}, "the user says nothing"),
        ({"instruction": "<image>\nwhat?", "response": "y"}, "<image> stands at the edge of what the user says"),
        ({"instruction": "what is\n<image>", "response": "y"}, "<image> stands at the edge of what the user says"),
        (
            {"image": "a.png", "instruction": "<image> or <image>?", "response": "y"},
            "it names 1 image, and its words have 2 places <image>",
        ),
        (
            {"image": "a.png", "audio": "c.wav", "instruction": "<image> fits?", "response": "y"},
            "it names 1 audio, and its words have 0 places <audio>",
        ),
        (
            {"image": ["a.png", "b.png"], "start_s": 1, "instruction": "same?", "response": "y"},
            "'start_s' and 'end_s' cut one medium; the row must have exactly one",
        ),
        ({"image": "../a.png", "instruction": "what?", "response": "y"}, "out of the data folder"),
    ],
)
def test_bad_rows(lines: Write, row: dict[str, object], message: str) -> None:
    table = lines("t.jsonl", {"id": 1, "instruction": "a", "response": "b"}, {"id": 2, **row})
    with pytest.raises(BadData) as raised:
        open_data(f"instructions:{table}")
    assert str(raised.value).startswith(f"{table}: line 2: ")
    assert message in str(raised.value)
