"""Strict reading and plain writing of records as JSON and TOML. ``json_rows.py`` beside it reads large files.

Nothing else imports pydantic and msgspec.

msgspec decodes JSON several times as fast as ``json``, and refuses a little more (NaN, halves of surrogate pairs,
other encodings than UTF-8). What it refuses is given to ``json``, so that ``json`` alone decides what is valid.
"""

import contextlib
import dataclasses
import difflib
import json
import re
import reprlib
import tomllib
import typing
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from anymal_eval.errors import AnyMALEvalError, BadData, BadDefinition, listed, system_error
from anymal_eval.plain import Unsure, build
from anymal_eval.visible import visible_json

if TYPE_CHECKING:
    import msgspec

T = TypeVar("T")
_KEY_ERRORS = {"unexpected_keyword_argument": "unknown key", "missing": "it is missing"}
# What ends a line for some readers of JSON lines, and halves of surrogate pairs, which UTF-8 cannot hold.
_ESCAPED = re.compile("[\x85\u2028\u2029\ud800-\udfff]")


def decode(of_type: type[T], data: object, where: str, error: type[AnyMALEvalError] = BadData) -> T:
    """Build a record from plain data; unknown keys, missing keys and wrong types are refused.

    Floats may be written as ints. A bool or a string is never read as a number.

    Args:
        of_type: a dataclass, or any type that pydantic knows.
        data: from ``json`` or ``tomllib``.
        where: the file, and the row in it, for the message.
        error: the type that is raised.

    Raises:
        BadData: or the given ``error``: one line that names ``where``, the key and what it must be.

    >>> decode(dict[str, float], {"width": 64}, "size")
    {'width': 64.0}
    >>> decode(dict[str, float], {"width": "64"}, "size")
    Traceback (most recent call last):
    anymal_eval.errors.BadData: size: width: Input should be a valid number, got '64'
    """
    with contextlib.suppress(Unsure):
        return typing.cast(T, build(of_type, data))
    from pydantic import ValidationError

    try:
        return typing.cast(T, _validator(typing.cast(Hashable, of_type)).validate_python(data))
    except ValidationError as found:
        first = found.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole"
        what = _KEY_ERRORS.get(first["type"]) or f"{first['msg']}, got {reprlib.repr(first['input'])}"
        if what == "unknown key":
            what += _known_keys(first["loc"], of_type)
        more = f" (and {found.error_count() - 1} more)" if found.error_count() > 1 else ""
        raise error(f"{where}: {key}: {what}{more}") from None


def _known_keys(place: Sequence[int | str], of_type: Any) -> str:
    """The nearest key, and all that may stand there; empty where the type at that place is not known."""
    for part in place[:-1]:
        if dataclasses.is_dataclass(of_type):
            of_type = typing.get_type_hints(of_type).get(str(part))
        else:  # a mapping's values, or a sequence's items
            of_type = (*typing.get_args(of_type), None)[-2] if typing.get_args(of_type) else None
    if not dataclasses.is_dataclass(of_type):
        return ""
    names = sorted(field.name for field in dataclasses.fields(of_type))
    near = difflib.get_close_matches(str(place[-1]), names, n=1)
    return f"{f'; did you mean {near[0]}' if near else ''}; it may hold {', '.join(names)}"


def encode(record: object) -> dict[str, Any]:
    """A dataclass as plain data, without the fields that are None."""
    if not dataclasses.is_dataclass(record) or isinstance(record, type):
        raise TypeError(f"{record!r} is not a record")
    return {name: _plain(value) for name in _names(type(record)) if (value := getattr(record, name)) is not None}


@cache
def _names(of_type: Any) -> tuple[str, ...]:
    return tuple(item.name for item in dataclasses.fields(of_type))


def read_json(file: Path, *, ids_as_keys: bool = False) -> Any:
    """A whole JSON file.

    Args:
        file: the file.
        ids_as_keys: its objects are rows by id: of two equal keys ``json`` itself would silently keep the last.

    Raises:
        BadData: it is truncated or no JSON, or holds an id twice; the message names the line or the id.
        FileUnusable: the operating system does not give it.
    """
    return parse_json(read_bytes(file), file, ids_as_keys=ids_as_keys)


def read_bytes(file: Path) -> bytes:
    """The content of a file.

    Raises:
        FileUnusable: the operating system does not give it.
    """
    with reading(file) as stream:
        return stream.read()


def parse_json(content: bytes, file: Path, *, ids_as_keys: bool = False) -> Any:
    """The content of a JSON file, which only messages name; else as :func:`read_json`."""
    try:
        return json.loads(content, object_pairs_hook=_refuse_doubles) if ids_as_keys else parse(content)
    except json.JSONDecodeError as error:
        raise BadData(f"{file}: line {error.lineno}: {error.msg}; is the file whole?") from None
    except UnicodeDecodeError as error:
        raise BadData(f"{file}: byte {error.start} is not UTF-8; is the file whole?") from None
    except UNREADABLE as error:
        raise BadData(f"{file}: {error}") from None


def parse(content: "bytes | msgspec.Raw") -> Any:
    """JSON as ``json.loads`` reads it.

    Raises:
        ValueError, RecursionError: of ``json.loads``.
    """
    read, errors = _reader()
    try:
        return read(content)
    except errors:
        return json.loads(bytes(content))


@cache
def _reader() -> tuple[Callable[[Any], Any], tuple[type[Exception], ...]]:
    import msgspec

    return msgspec.json.Decoder().decode, (msgspec.MsgspecError, *UNREADABLE)


# Not only invalid JSON: also a number of thousands of digits, and too deeply nested lists.
UNREADABLE = (ValueError, RecursionError)


def _refuse_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        double = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        raise ValueError(f"{len(double)} keys are in one object more than once: {listed(double)}")
    return found


def read_json_lines(
    file: Path, end: int | None = None, bad: Callable[[str, BadData], None] | None = None
) -> Iterator[tuple[int, Any]]:
    """The rows of a JSON-lines file with their line numbers, counted from 1. Empty lines are skipped.

    Args:
        file: the file.
        end: read no further than this byte, where a line must end.
        bad: called with the place and the error of a line that is no JSON, which is then left out.

    Raises:
        BadData: a line is no JSON, and ``bad`` is not given; the message names it.
        FileUnusable: the operating system does not give the file.
    """
    read = 0
    with reading(file) as lines:
        for number, line in enumerate(lines, 1):
            read += len(line)
            if end is not None and read > end:
                return
            if not line.strip():
                continue
            try:
                data = parse(line)
            except UNREADABLE as error:
                where = f"{file}: line {number}"
                problem = BadData(f"{where}: {error}; is the file whole?")
                if bad is None:
                    raise problem from None
                bad(where, problem)
                continue
            yield number, data


@contextlib.contextmanager
def reading(file: Path) -> Iterator[BinaryIO]:
    """A file opened for reading in binary mode; what the operating system refuses is one of our errors.

    Raises:
        FileUnusable: there is no such file, no permission, a broken disk, ...
    """
    try:
        with file.open("rb") as stream:
            yield stream
    except OSError as error:
        raise system_error(error, file) from None


def read_toml(of_type: type[T], file: Path) -> T:
    """A TOML file as a record.

    Raises:
        BadDefinition: it is no TOML, or does not hold what the record needs.
    """
    return decode(of_type, read_toml_table(file), str(file), BadDefinition)


def read_toml_table(file: Path) -> dict[str, Any]:
    """A TOML file as plain data.

    Raises:
        BadDefinition: it is no TOML.
        FileUnusable: the operating system does not give it.
    """
    content = read_bytes(file)
    try:
        return tomllib.loads(content.decode())
    except UNREADABLE as error:
        raise BadDefinition(f"{file}: {error}") from None


def write_json(data: object) -> str:
    r"""One line of JSON with the keys in the order given, the same on every machine.

    >>> write_json({"answer": "a\u2028b"})
    '{"answer": "a\\u2028b"}'
    """
    text = _line(data)
    return text if text.isascii() else _ESCAPED.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def write_json_pretty(data: Mapping[str, Any]) -> str:
    """Indented JSON for files that people open; characters that a terminal obeys are escaped."""
    return visible_json(json.dumps(data, ensure_ascii=False, indent=1, allow_nan=False)) + "\n"


def json_writer(*, ensure_ascii: bool, sort_keys: bool = False, allow_nan: bool = True) -> Callable[[object], str]:
    """``json.dumps`` with its default separators, made once: each call of that makes its encoder anew."""
    plain = json.JSONEncoder(ensure_ascii=ensure_ascii, sort_keys=sort_keys, allow_nan=allow_nan, check_circular=False)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # an interpreter whose json is Python alone
        return plain.encode
    text = json.encoder.encode_basestring_ascii if ensure_ascii else json.encoder.encode_basestring
    chunks = make(None, plain.default, text, None, ": ", ", ", sort_keys, False, allow_nan)
    return lambda data: text(data) if type(data) is str else "".join(chunks(data, 0))


def packed(records: Sequence[object]) -> bytes | None:
    """Records in few bytes, made in a fraction of JSON's time: equal for equal content, to be compared and not read.

    Returns:
        None where they hold anything but plain data.
    """
    import msgspec

    try:
        return msgspec.msgpack.encode(records)
    except (TypeError, OverflowError, *UNREADABLE):
        return None


_ATOMS = frozenset({str, int, float, bool, type(None)})
_line = json_writer(ensure_ascii=False, allow_nan=False)


def _plain(value: object) -> Any:
    if type(value) in _ATOMS:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return encode(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, frozenset | set):
        return sorted(_plain(item) for item in value)
    if isinstance(value, Path):
        return str(value)
    return value


@cache
def _validator(of_type: Any) -> Any:
    from pydantic import TypeAdapter
    from pydantic_core import SchemaValidator

    _forbid_unknown_keys(of_type, set())
    schema = TypeAdapter(of_type).core_schema
    _refuse_conversions(schema)
    return SchemaValidator(schema)


def _refuse_conversions(schema: Any) -> None:
    # Pydantic's strict mode would refuse lists for tuples and tables for dataclasses too.
    if isinstance(schema, dict):
        if schema.get("type") in ("int", "float", "bool"):
            schema["strict"] = True
        for part in schema.values():
            _refuse_conversions(part)
    elif isinstance(schema, list):
        for part in schema:
            _refuse_conversions(part)


def _forbid_unknown_keys(of_type: Any, seen: set[object]) -> None:
    # A TypeAdapter over a plain dataclass drops unknown keys silently unless the class itself forbids them.
    if of_type in seen:
        return
    seen.add(of_type)
    for argument in typing.get_args(of_type):
        if isinstance(argument, type) or typing.get_args(argument):
            _forbid_unknown_keys(argument, seen)
    if isinstance(of_type, type) and dataclasses.is_dataclass(of_type):
        of_type.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]
        for hint in typing.get_type_hints(of_type).values():
            _forbid_unknown_keys(hint, seen)
