"""The layouts of files of answers, one file each. A file has ``recognises(content)`` and ``read(content, options)``.

They are tried in the order of their names, but for ``benchmark``: the project's own lines and the benchmarks' own
submission files, whose ids are the data's. What no other layout recognises is read by it.
"""

from types import ModuleType
from typing import Any

from anymal_eval.catalog import Catalog
from anymal_eval.errors import BadData
from anymal_eval.models.replay.records import Content
from anymal_eval.paths import PACKAGE

OWN = "benchmark"
LONGEST_NUMBER = 18  # digits


def known() -> Catalog:
    """The layouts by name."""
    return Catalog("layout of answers", [PACKAGE / "models" / "replay" / "layouts"])


def layout_of(content: Content, named: str = "") -> ModuleType:
    """The layout of a file: the one that is named, or the first that recognises it.

    Raises:
        NotInCatalog: there is no layout of that name.
    """
    layouts = known()
    if named:
        found: ModuleType = layouts.module(named)
        return found
    for name in layouts.names():
        module: ModuleType = layouts.module(name)
        if name != OWN and module.recognises(content):
            return module
    own: ModuleType = layouts.module(OWN)
    return own


def scalar(value: Any) -> str | None:
    """A name as text: a text or a whole number; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():  # how a table holds a whole number beside an empty cell
        value = int(value)
    return str(value) if isinstance(value, str | int) and str(value) else None


def number_of(where: str, value: Any, what: str) -> int:
    """A count that a row may lack, which is 0.

    Raises:
        BadData: it is no whole number.
    """
    text = scalar(value) if value is not None else "0"
    if text is None or not text.isdecimal() or len(text) > LONGEST_NUMBER:
        raise BadData(f"{where}: {what} must be a whole number, not {value!r:.80}")
    return int(text)


def text_of(where: str, value: Any, what: str) -> str:
    """An answer as text; an empty cell of a table is an empty answer.

    Raises:
        BadData: it is no text.
    """
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadData(f"{where}: {what} must be text, not {value!r:.80}")
    return scalar(value) or str(value)
