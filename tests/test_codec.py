"""Strict reading: unknown keys, wrong types and broken files are refused in one line."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from anymal_eval import codec
from anymal_eval.errors import BadData, BadDefinition
from anymal_eval.records import Decoding, Failure, Response


@dataclass(frozen=True, kw_only=True)
class Inner:
    number: int


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner
    many: tuple[Inner, ...] = ()
    share: float = 0.0
    open: bool = False


def test_nested_records_are_read() -> None:
    assert codec.decode(Outer, {"name": "a", "inner": {"number": 1}}, "x") == Outer(name="a", inner=Inner(number=1))


def test_an_int_stands_for_a_float() -> None:
    found = codec.decode(Outer, {"name": "a", "inner": {"number": 1}, "share": 1, "many": [{"number": 2}]}, "x")
    assert isinstance(found.share, float)
    assert found == Outer(name="a", inner=Inner(number=1), share=1.0, many=(Inner(number=2),))


def test_the_caller_names_the_error() -> None:
    with pytest.raises(
        BadDefinition, match=r"f\.toml: number: unknown key; did you mean name; it may hold inner, many"
    ):
        codec.decode(Outer, {"name": "a", "inner": {"number": 1}, "number": 2}, "f.toml", BadDefinition)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "a", "inner": {"number": 1}, "naem": "b"}, "f.json: naem"),
        ({"name": "a", "inner": {"number": 1, "numbr": 2}}, "f.json: inner.numbr"),
        ({"name": "a", "inner": {"number": 1}, "many": [{"number": 1, "x": 2}]}, "f.json: many.0.x"),
        ({"name": "a"}, "f.json: inner"),
        ({"name": 3, "inner": {"number": 1}}, "f.json: name: .* valid string, got 3"),
        ({"name": "a", "inner": {"number": True}}, "f.json: inner.number: .* valid integer, got True"),
        ({"name": "a", "inner": {"number": "1"}}, "f.json: inner.number: .* valid integer, got '1'"),
        ({"name": "a", "inner": {"number": 1.0}}, "f.json: inner.number: .* valid integer, got 1.0"),
        ({"name": "a", "inner": {"number": 1}, "share": True}, "f.json: share: .* valid number, got True"),
        ({"name": "a", "inner": {"number": 1}, "share": "0.5"}, "f.json: share: .* valid number, got '0.5'"),
        ({"name": "a", "inner": {"number": 1}, "open": 1}, "f.json: open: .* valid boolean, got 1"),
        ({"name": "a", "inner": {"number": 1}, "many": "ab"}, "f.json: many"),
        ({"name": "a", "inner": [1]}, "f.json: inner"),
    ],
)
def test_what_does_not_fit_is_refused_by_key(data: object, message: str) -> None:
    with pytest.raises(BadData, match=message) as caught:
        codec.decode(Outer, data, "f.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "response",
    [
        Response(id="1", answer="a\u2028b \U0001f600", finish="stop"),
        Response(id="2", option_scores=(-0.1, -1e-300), option_tokens=(1, 2), finish="ranked"),
        Response(id="3", failure=Failure(kind="media", message="x")),
    ],
)
def test_what_is_written_is_read_back(response: Response) -> None:
    import json

    line = codec.write_json(codec.encode(response))
    assert codec.decode(Response, json.loads(line), "x") == response


def test_nan_is_never_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        codec.write_json({"value": float("nan")})


def test_broken_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "cut.json"
    file.write_text('{"a": [1, 2')
    with pytest.raises(BadData, match=r"cut\.json: line 1: .*whole"):
        codec.read_json(file)
    lines = tmp_path / "cut.jsonl"
    lines.write_text('{"a": 1}\n\n{"a": \n')
    with pytest.raises(BadData, match=r"cut\.jsonl: line 3"):
        list(codec.read_json_lines(lines))
    toml = tmp_path / "p.toml"
    toml.write_text("beams = 2\nbeam = 3\n")
    with pytest.raises(BadDefinition, match=r"p\.toml: beam"):
        codec.read_toml(Decoding, toml)
