"""One row of a data file, read key by key: keys that are used are checked, others are ignored.

Official files carry more keys than we need and some copies lack optional ones, so a strict schema would refuse
good data; and one over 214,354 rows of ten answers would take longer than reading the file.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from anymal_eval.errors import BadData

# What a spreadsheet writes in place of a text that it took for a formula, such as an id that starts with a dash.
SPREADSHEET_ERRORS = frozenset(
    ("#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "#NUM!", "#NULL!", "#SPILL!", "#CALC!", "#N/A", "########")
)
# Ids of many digits as a spreadsheet or pandas saves them: different ids become one.
_ROUNDED = re.compile(r"[+-]?\d+([.,]\d+)?[Ee][+-]\d{1,3}")


class Fields:
    """The keys of one row; every error names the file, the row and the key.

    >>> row = Fields({"id": 7, "label": "1"}, "dev_seen.jsonl", "line 1")
    >>> row.name("id"), row.index("label", 2)
    ('7', 1)
    """

    __slots__ = ("_place", "data", "file")

    def __init__(self, data: object, file: Path | str, place: "str | tuple[str, int]") -> None:
        """Take a row as ``json`` or ``csv`` gave it; ``place`` says where it stands in the file (``line 3``).

        Raises:
            BadData: it is no mapping.
        """
        self.file = file
        self._place = place
        if type(data) is not dict and not isinstance(data, Mapping):
            raise self.bad(f"expected an object, got {type(data).__name__}")
        self.data: Mapping[str, Any] = data

    @property
    def place(self) -> str:
        """Where the row stands in the file."""
        return self._place if isinstance(self._place, str) else f"{self._place[0]} {self._place[1]}"

    @property
    def where(self) -> str:
        """The file and the row."""
        return f"{self.file}: {self.place}"

    def bad(self, message: str) -> BadData:
        """An error about this row, to be raised."""
        return BadData(f"{self.where}: {message}")

    def __iter__(self) -> Iterator[str]:
        """The keys, in the order of the row."""
        return iter(self.data)

    def has(self, key: str) -> bool:
        """Whether the key is there and not null."""
        return self.data.get(key) is not None

    def raw(self, key: str) -> Any:
        """The value as it stands.

        Raises:
            BadData: the key is not there.
        """
        try:
            return self.data[key]
        except KeyError:
            raise self.bad(f"no key {key!r}; it has {', '.join(map(str, self.data)) or 'none'}") from None

    def text(self, key: str, default: str | None = None) -> str:
        """A string; with ``default`` the key may be missing or null."""
        value = self.data.get(key)
        if type(value) is str and value.isascii():
            return value
        if default is None:
            value = self.raw(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or _is_broken(value):
            raise self.bad(f"{key!r} must be a string, not {value!r:.80}")
        return value

    def name(self, key: str) -> str:
        """An id: a string that is not empty, or a whole number, as a string."""
        value = self.data.get(key)
        if type(value) is int:
            return str(value)
        value = self.raw(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str) or not value or _is_broken(value):
            raise self.bad(f"{key!r} must be an id (a number or a string), not {value!r:.80}")
        if value in SPREADSHEET_ERRORS or (value[0] in "+-0123456789" and _ROUNDED.fullmatch(value)):
            raise self.bad(
                f"{key!r} is {value!r}, which a spreadsheet made of another id: take the file as it was before the "
                "spreadsheet saved it"
            )
        return value

    def whole(self, key: str) -> int:
        """A whole number, also one written as a string."""
        value = self.data.get(key)
        if type(value) is int:
            return value
        value = self.raw(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and re.fullmatch(r"\s*-?\d{1,99}\s*", value):
            return int(value)
        raise self.bad(f"{key!r} must be a whole number, not {value!r:.80}")

    def seconds(self, key: str) -> float:
        """A time in seconds, from 0."""
        value = self.raw(key)
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = -1.0
        if isinstance(value, bool) or not 0 <= number < float("inf"):
            raise self.bad(f"{key!r} must be a time in seconds, not {value!r:.80}")
        return number

    def index(self, key: str, options: int) -> int:
        """A label: an index into that many options."""
        value = self.whole(key)
        if not 0 <= value < options:
            raise self.bad(f"{key!r} is {value}, outside its {options} options (0 to {options - 1})")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(self._strings(key, self.items(key)))

    def text_or_texts(self, key: str) -> tuple[str, ...]:
        """A string, or a list of strings."""
        return self.texts(key) if isinstance(self.raw(key), list) else (self.text(key),)

    def nested(self, key: str) -> "Fields":
        """An object inside the row."""
        return Fields(self.raw(key), self.file, f"{self.place}: {key!r}")

    def items(self, key: str) -> Sequence[Any]:
        """A list of anything."""
        value = self.raw(key)
        if not isinstance(value, list | tuple):
            raise self.bad(f"{key!r} must be a list, not {value!r:.80}")
        return value

    def answers(self, key: str, inner: str = "answer", count: int = 10) -> tuple[str, ...]:
        """The annotators' answers: objects that hold ``inner``, or bare strings, as many as ``count``.

        Raises:
            BadData: another number of them, or one is no string: the official rules are defined for ten.
        """
        items = self.items(key)
        if len(items) != count:
            raise self.bad(f"{key!r} holds {len(items)} answers; the rule is defined for {count}")
        try:
            found = [item if isinstance(item, str) else item[inner] for item in items]
        except (TypeError, KeyError):
            raise self.bad(f"every one of {key!r} must be an object with {inner!r}") from None
        try:
            if "".join(found).isascii():
                return tuple(map(sys.intern, found))  # annotators often give the same answer: one string for all
        except TypeError:  # no string, or one of a class of its own
            pass
        return tuple(self._strings(key, found))

    def _strings(self, key: str, found: Sequence[Any]) -> Sequence[str]:
        for value in found:
            if not isinstance(value, str) or _is_broken(value):
                raise self.bad(f"{key!r} must hold strings, not {value!r:.80}")
        return found


def _is_broken(text: str) -> bool:
    # Half of a surrogate pair, which JSON can write and which no file, path or digest can hold.
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)
