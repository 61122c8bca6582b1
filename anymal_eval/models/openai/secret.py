"""Keeps the API key out of all that is written or shown: servers repeat what they were sent, in many spellings.

A text is searched for every eight characters of the key in a row, whatever stands between them (white space, line
feeds, characters without width) and however they are written: percent-encoded, with JSON's or HTML's escapes, in
base64 or in hexadecimal digits.
"""

import base64
import re
from collections.abc import Iterator

PIECE = 8  # characters of the key in a row that no file and no stream may hold
LEAST_KEY = 8  # a shorter "key" is a placeholder such as EMPTY, which must not be cut out of messages
LEAST_IN_ANSWER = 12  # of a shorter one, such as a word, an answer may hold a part by chance
LEAST_IN_OPTION = 16  # shorter ones are names too, such as lm-studio
HIDDEN = "***"

# What stands for one character, or for none: escapes, white space and whatever else is not printed.
_SPECIAL = re.compile(
    r"%(?:25)*(?P<percent>[0-9a-f]{2})|\\+u(?P<four>[0-9a-f]{4})|\\+x(?P<two>[0-9a-f]{2})|&\#x(?P<hex>[0-9a-f]{1,6});"
    r"|&\#(?P<decimal>[0-9]{1,7});|\\+(?P<slashed>[\"'/])|(?P<gap>\\+[nrtbf]|[^!-~]+)",
    re.IGNORECASE,
)


class Secret:
    """A key, known by its pieces. An empty key, or a placeholder, hides nothing."""

    def __init__(self, key: str) -> None:
        """``key``: ASCII; white space in it does not count."""
        self._key = "".join(key.split())
        self._pieces = frozenset(_pieces(self._key)) if len(self._key) >= LEAST_KEY else frozenset()

    def is_in(self, text: str) -> bool:
        """Whether a text holds eight characters of the key in a row, in any of the spellings."""
        return bool(self._pieces) and _holds(_SPECIAL.sub(_plain, text).lower(), self._pieces)

    def is_in_answer(self, text: str) -> bool:
        """The same of a model's answer, in which parts of a key that is a word may stand by chance."""
        return len(self._key) >= LEAST_IN_ANSWER and self.is_in(text)

    def is_option(self, text: str) -> bool:
        """Whether an option of the user's holds the whole key."""
        return len(self._key) >= LEAST_IN_OPTION and self._key.lower() in _SPECIAL.sub(_plain, text).lower()

    def clean(self, text: str) -> str:
        """The text with every piece of the key replaced by ``***``. Clean a text whole, before it is cut."""
        if not self.is_in(text):
            return text
        letters, starts, ends = _spans(text)
        covered = bytearray(len(letters))
        for size in {len(piece) for piece in self._pieces}:
            for at in range(len(letters) - size + 1):
                if letters[at : at + size] in self._pieces:
                    covered[at : at + size] = b"\1" * size
        cleaned, end = [], 0
        for at, hit in enumerate(covered):
            if hit and not (at and covered[at - 1]):
                cleaned += [text[end : starts[at]], HIDDEN]
            if hit:
                end = ends[at]
        return "".join([*cleaned, text[end:]])


def _pieces(key: str) -> Iterator[str]:
    data = key.encode()
    yield from _windows(key.lower(), PIECE)
    yield from _windows(_SPECIAL.sub(_plain, key).lower(), PIECE)  # a key that looks like escapes
    yield from _windows(data.hex(), 2 * PIECE)
    for before in range(3):
        # Base64 turns three bytes into four characters: the key may begin at any of the three.
        encoded = base64.b64encode(bytes(before) + data).decode()
        whole = encoded[-(-8 * before // 6) : 8 * (before + len(data)) // 6]
        yield from _windows(whole.lower(), PIECE)
        yield from _windows(whole.lower().replace("+", "-").replace("/", "_"), PIECE)


def _windows(text: str, size: int) -> Iterator[str]:
    return (text[at : at + size] for at in range(len(text) - size + 1))


def _holds(text: str, pieces: frozenset[str]) -> bool:
    return any(piece in text for piece in pieces)


def _plain(found: re.Match[str]) -> str:
    """The character that an escape stands for; nothing where it is not printed."""
    if found["gap"]:
        return ""
    if found["slashed"]:
        return found["slashed"]
    code = (
        int(found["decimal"])
        if found["decimal"]
        else int(found["percent"] or found["four"] or found["two"] or found["hex"], 16)
    )
    return chr(code) if 0x20 < code < 0x7F else ""


def _spans(text: str) -> tuple[str, list[int], list[int]]:
    """The printed characters of a text, in lower case, and where each starts and ends in it."""
    letters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    for found in [*_SPECIAL.finditer(text), None]:
        until = found.start() if found else len(text)
        letters += text[at:until].lower()
        starts += range(at, until)
        ends += range(at + 1, until + 1)
        if found is None:
            break
        at = found.end()
        if plain := _plain(found):
            letters.append(plain.lower())
            starts.append(found.start())
            ends.append(found.end())
    return "".join(letters), starts, ends
