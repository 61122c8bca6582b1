"""The captions of a shard's sample: read as training reads them, and written back without those that are dropped."""

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from anymal_eval.errors import BadData
from anymal_eval.training.sources._shard_sample import split_name
from anymal_eval.training.sources._tar import Member

_HALF = re.compile("[\ud800-\udfff]")  # of a pair of surrogates: JSON may hold one, but it is no text


@dataclass(frozen=True, kw_only=True)
class Captions:
    """The captions that a sample has.

    Attributes:
        texts: those that are texts and not empty.
        table: what its json holds, where they are in that; None where they are in its txt.
    """

    texts: tuple[str, ...]
    table: dict[str, Any] | None = None


def read_captions(parts: Iterable[Member]) -> Captions:
    """The captions of a sample, from its txt, or from ``caption`` of its json; none of a conversation.

    Raises:
        BadData: they cannot be read: the txt is not UTF-8, or the json is none.
    """
    contents = {split_name(part.name)[1]: part.content for part in parts}
    try:
        if "txt" in contents:
            return Captions(texts=_texts([contents["txt"].decode().strip()]))
        table = json.loads(contents.get("json", b"null"))
    except (ValueError, RecursionError) as error:
        raise BadData(f"{'txt' if 'txt' in contents else 'json'}: {error}") from None
    if not isinstance(table, dict) or _is_conversation(table):
        return Captions(texts=())
    value = table.get("caption")
    return Captions(texts=_texts(value if isinstance(value, list) else [value]), table=table)


def with_captions(parts: Sequence[Member], captions: Captions, kept: Sequence[str]) -> list[Member]:
    """The members of a sample whose captions are ``kept`` alone; the same bytes where those are all that it holds."""
    if captions.table is None or captions.table["caption"] in (list(kept), *kept):
        return list(parts)
    content = json.dumps(captions.table | {"caption": list(kept)}).encode()
    return [
        dataclasses.replace(part, content=content) if split_name(part.name)[1] == "json" else part for part in parts
    ]


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(text for text in values if isinstance(text, str) and text.strip() and not _HALF.search(text))


def _is_conversation(table: dict[str, Any]) -> bool:
    """Whether training makes a conversation of it, whatever caption it has, too."""
    is_instruction = table.get("instruction") is not None and table.get("response") is not None
    return table.get("conversations") is not None or is_instruction
