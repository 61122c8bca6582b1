"""``timings.json``: the commands that worked on a run: when, on which host, with what command, where their time went.

It is apart from the results, which are the same bytes however a run went, and it has a checksum of its own.
"""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from anymal_eval.checksums import read_checked_json, write_checked_json
from anymal_eval.codec import decode
from anymal_eval.errors import BadData
from anymal_eval.store.atomic import write_atomic

FILE = "timings.json"
HIDDEN = "***"
_SECRET = re.compile(
    r"(^|[-_.])(api[-_]?key|apikey|key|token|secret|password|passwd|passphrase|auth|authorization|credentials?|bearer"
    r"|signature|sig)($|[-_.])",
    re.IGNORECASE,
)
# The forms of keys of well-known services, and what follows the name of a scheme.
_KNOWN = re.compile(
    r"\b(hf_|sk-|rk-|pk-|ghp_|gho_|ghs_|github_pat_|glpat-|xox[abprs]-|AKIA|ASIA|AIza|eyJ)[A-Za-z0-9_.+/=-]{8,}"
    r"|(?<=bearer )\S+|(?<=basic )\S+",
    re.IGNORECASE,
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"]+")
_LONG = 20  # a part of an address's path of so many letters and digits may be a key


@dataclass(frozen=True, kw_only=True)
class _Sessions:
    schema: int
    sessions: tuple[dict[str, Any], ...]


def read(file: Path) -> tuple[dict[str, Any], ...]:
    """The sessions of a run in their order, with ``answered``, ``wall`` (in seconds) and ``seconds`` by part.

    Those since version 0.2.0 have ``started`` (UTC, ISO 8601), ``host`` and ``command`` too. Empty without a file.

    Raises:
        BadData: it is damaged.
    """
    if not file.is_file():
        return ()
    data, matches = read_checked_json(file)
    if matches is False:
        raise BadData(f"{file}: its checksum differs")
    return decode(_Sessions, data, str(file)).sessions


def write(file: Path, sessions: Sequence[Mapping[str, Any]]) -> None:
    """Replace the file."""
    write_atomic(file, write_checked_json({"schema": 1, "sessions": list(sessions)}))


def command_line(arguments: Sequence[str]) -> str:
    """A command as it would be typed, without secrets: values of options that name a key or a token, parts of URLs.

    >>> command_line(["run", "--api-key", "abc", "-o", "token=abc", "--max-new-tokens", "5"])
    'anymal-eval run --api-key *** -o token=*** --max-new-tokens 5'
    >>> command_line(["-o", "url=https://me:abc@host/v1?key=abc"])
    'anymal-eval -o url=https://***@host/v1?***'
    """
    shown, hide = [], False
    for each in arguments:
        option, equals, _ = each.partition("=")
        if hide:
            shown.append(HIDDEN)
        elif equals and _SECRET.search(option.lstrip("-")):
            shown.append(f"{option}={HIDDEN}")
        else:
            shown.append(without_secrets(each))
        hide = not hide and not equals and each.startswith("--") and bool(_SECRET.search(each.lstrip("-")))
    words = (word if HIDDEN in word and " " not in word else shlex.quote(word) for word in shown)
    return " ".join(("anymal-eval", *words))


def is_secret(name: str) -> bool:
    """Whether the value of an option or a variable of that name is a secret."""
    return bool(_SECRET.search(name))


def without_secrets(text: str) -> str:
    """A text without parts of addresses, keys of known forms, and values of such environment variables."""
    text = _URL.sub(lambda found: _without_secret_parts(found[0]), text)
    text = _KNOWN.sub(HIDDEN, text)
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET.search(name) and not os.path.exists(value):
            text = text.replace(value, HIDDEN)
    return text


def _without_secret_parts(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    host = parts.netloc.rpartition("@")[2]
    steps = (HIDDEN if _may_be_key(step) else step for step in parts.path.split("/"))
    user = f"{HIDDEN}@" if "@" in parts.netloc else ""
    hidden = (HIDDEN if each else "" for each in (parts.query, parts.fragment))
    return urlunsplit((parts.scheme, user + host, "/".join(steps), *hidden))


def _may_be_key(step: str) -> bool:
    return len(step) >= _LONG and any(map(str.isdigit, step)) and any(map(str.isalpha, step))
