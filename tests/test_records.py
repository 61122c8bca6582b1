"""A response is an answer or a failure: never both, never neither."""

import dataclasses

import pytest

from anymal_eval import records
from anymal_eval.records import Failure, Media, Message, Request, Response


def test_a_response_holds_an_answer_or_a_failure() -> None:
    Response(id="1", answer="")
    Response(id="1", option_scores=(-1.0, -2.0))
    Response(id="1", failure=Failure(kind="media", message="gone.jpg: not there"))
    with pytest.raises(ValueError, match="either an answer or a failure"):
        Response(id="1")
    with pytest.raises(ValueError, match="either an answer or a failure"):
        Response(id="1", answer="yes", failure=Failure(kind="media", message="gone"))


def test_a_request_has_no_place_for_references() -> None:
    fields = {item.name for item in dataclasses.fields(Request)}
    assert not fields & {"references", "label", "example", "groups", "cluster"}


def test_media_are_found_in_order() -> None:
    picture, motion = Media(kind="image", uri="a.jpg"), Media(kind="imu", uri="b.npy")
    messages = (Message(role="system", parts=("see ", picture)), Message(role="user", parts=(motion, "what?")))
    assert Request(id="1", messages=messages).media == (picture, motion)


def test_a_class_made_from_a_record_is_made_too() -> None:
    class Marked(Request):
        mark = 0

    marked = Marked(id="1", messages=())
    marked.__dict__["mark"] = 1
    assert (type(marked), marked.id, marked.frames, marked.mark) == (
        Marked,
        "1",
        Request(id="1", messages=()).frames,
        1,
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        marked.id = "2"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Request(id="1", messages=()).id = "2"  # type: ignore[misc]


def test_records_are_frozen_and_take_names_only() -> None:
    for name in ("Media", "Example", "Message", "Decoding", "Request", "Failure", "Response", "Answer"):
        record = getattr(records, name)
        assert record.__dataclass_params__.frozen, name
        assert all(item.kw_only for item in dataclasses.fields(record)), name
