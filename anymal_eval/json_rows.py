"""Large JSON files by msgspec: lists whose items are decoded when they are read, and JSON lines as columns.

What msgspec refuses is left to ``codec.py``, which reads it, or says what is wrong with it.
"""

import codecs
import contextlib
import dataclasses
import typing
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import repeat
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from anymal_eval.codec import UNREADABLE, parse
from anymal_eval.errors import BadData

if TYPE_CHECKING:
    import msgspec

T = TypeVar("T")
_BLOCK = 1 << 20
_LINES = 1 << 9  # that are decoded at once: what is made of them stays in the processor's cache


class JsonList:
    """The items of a list in a JSON file, each decoded when it is read: a large file is never whole in memory."""

    def __init__(self, items: "list[msgspec.Raw]", file: Path) -> None:
        """``items``: undecoded, but known to be JSON in UTF-8; ``file``: for messages."""
        self._items = items
        self._file = file

    def __len__(self) -> int:
        """The number of items."""
        return len(self._items)

    def __getitem__(self, at: int) -> Any:
        """An item, decoded anew each time.

        Raises:
            BadData: it holds a number of thousands of digits.
        """
        try:
            return parse(self._items[at])
        except UNREADABLE as error:
            raise BadData(f"{self._file}: {error}") from None

    def typed(self, of_type: type[T]) -> Iterator[T]:
        """The items with the fields of a dataclass, up to the first that does not fit; nothing is converted.

        Keys that the class does not name are read past. What comes is no such dataclass but has its attributes.
        """
        import msgspec

        struct: Any = _struct(typing.cast(Hashable, of_type))
        decode_one = msgspec.json.Decoder(struct).decode
        with contextlib.suppress(msgspec.MsgspecError, *UNREADABLE):
            for item in self._items:
                yield decode_one(item)


def list_in(content: bytes, key: str, file: Path) -> JsonList | None:
    """The list under a key of the object that a JSON file holds; without a key, the list that it holds.

    Args:
        content: of the file.
        key: of the list; the other keys' values are read past.
        file: for messages.

    Returns:
        None where the file is anything else, or msgspec refuses it: :func:`parse_json` reads it, or says what is wrong.
    """
    import msgspec

    try:
        if not key:
            items = msgspec.json.decode(content, type=list[msgspec.Raw])
        else:
            head = msgspec.defstruct("Head", [("items", list[msgspec.Raw])], rename={"items": key})
            items = msgspec.json.decode(content, type=head).items  # type: ignore[attr-defined]
    except (msgspec.MsgspecError, *UNREADABLE):
        return None
    return JsonList(items, file) if _is_utf8(content) else None


def lines_in(content: bytes) -> list[bytes]:
    """The lines of a file without the empty ones."""
    return list(filter(None, content.split(b"\n")))


def columns_in(
    lines: Sequence[bytes], needed: Mapping[str, type], others: Mapping[str, Any], shared: Collection[str] = ()
) -> dict[str, list[Any]] | None:
    """Some keys of JSON lines, a list each; what else a row holds is read past.

    Args:
        lines: each a row; :func:`lines_in` has those of a file.
        needed: by key, the type of the values that every row has; nothing is converted.
        others: keys of any values, with what stands for one that a row lacks. Equal values are decoded once, and are
            one object.
        shared: the keys of ``needed`` whose equal values are one object too.

    Returns:
        None where a line does not fit, or msgspec refuses it.
    """
    import msgspec

    found: dict[str, list[Any]] = {key: [] for key in (*needed, *others)}
    known = {key: _Parsed({b"": lacking}) for key, lacking in others.items()}
    texts: dict[str, dict[Any, Any]] = {key: {} for key in shared}
    try:
        # Most files hold rows of one kind: keys that the first one lacks are not looked for, until a row has others.
        first = parse(lines[0]) if lines else {}
        keys = [key for key in others if key in first] if isinstance(first, dict) else []
        decode_line = _decoder(needed, keys, strict=True)
        for start in range(0, len(lines), _LINES):
            try:
                rows = list(map(decode_line, lines[start : start + _LINES]))
            except msgspec.ValidationError:
                keys, decode_line = list(others), _decoder(needed, others, strict=False)
                rows = list(map(decode_line, lines[start : start + _LINES]))
            for key in needed:
                values = list(map(attrgetter(key), rows))
                found[key] += map(texts[key].setdefault, values, values) if key in texts else values
            for key in keys:
                found[key] += map(known[key].__getitem__, map(bytes, map(attrgetter(key), rows)))
            for key in others.keys() - keys:
                found[key] += repeat(others[key], len(rows))
        if not all(map(bytes.isascii, lines)):
            for line in lines:
                line.decode()  # what msgspec only reads past is not decoded by it
    except (msgspec.MsgspecError, *UNREADABLE):
        return None
    return found


def by_identity(objects: Sequence[T]) -> dict[int, T]:
    """The different objects among many, by ``id``, in their order: rows share what is equal in them."""
    return dict(zip(map(id, objects), objects, strict=True))


class _Parsed(dict[bytes, Any]):
    """Values by their JSON, each decoded once."""

    def __missing__(self, text: bytes) -> Any:
        self[text] = found = parse(text)
        return found


def _decoder(needed: Mapping[str, type], others: Iterable[str], *, strict: bool) -> Callable[[bytes], Any]:
    """Decodes a line into an object, the values of ``others`` not yet; ``strict`` refuses a line with other keys."""
    import msgspec

    fields: list[Any] = [*needed.items(), *((key, msgspec.Raw, msgspec.Raw()) for key in others)]
    line = msgspec.defstruct("Line", fields, gc=False, forbid_unknown_fields=strict)
    return msgspec.json.Decoder(line).decode


def line_decoder(needed: Mapping[str, Any], others: Mapping[str, Any]) -> Callable[[bytes], Any]:
    """A reader of lines that have certain keys and no others.

    Args:
        needed: by key, the type of the values that a line must have; nothing is converted.
        others: the same of keys that it may have.

    Returns:
        A function from a line to an object that has the values as attributes, None for those that are not there. It
        gives None for a line of any other kind.
    """
    import msgspec

    fields: list[Any] = [*needed.items(), *((key, of_type, None) for key, of_type in others.items())]
    line = msgspec.defstruct("Line", fields, gc=False, forbid_unknown_fields=True)
    decode_line, refused = msgspec.json.Decoder(line).decode, (msgspec.MsgspecError, *UNREADABLE)

    def read(content: bytes) -> Any:
        try:
            return decode_line(content)
        except refused:
            return None

    return read


@cache
def _struct(of_type: Any) -> Any:
    """The struct with the fields of a dataclass, and of those in it: made in half of the time."""
    import msgspec

    if not (isinstance(of_type, type) and dataclasses.is_dataclass(of_type)):
        inner = tuple(map(_struct, typing.get_args(of_type)))
        return typing.get_origin(of_type)[inner] if inner else of_type
    hints = typing.get_type_hints(of_type)
    fields: list[Any] = []
    for item in dataclasses.fields(of_type):
        own = (item.name, _struct(hints[item.name]))
        fields.append(own if item.default is dataclasses.MISSING else (*own, item.default))
    return msgspec.defstruct(of_type.__name__, fields, gc=False)


def _is_utf8(content: bytes) -> bool:
    # What msgspec only reads past is not decoded by it.
    if content.isascii():
        return True
    decoder, view = codecs.getincrementaldecoder("utf-8")(), memoryview(content)
    try:
        for at in range(0, len(content), _BLOCK):
            decoder.decode(view[at : at + _BLOCK])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
