"""The samples of a shard: the members that share a name up to the first dot.

A caption with its medium: one picture, sound, clip or motion, and a txt, or a json with "caption". A conversation: a
json with "conversations", as LLaVA writes them, or with "instruction" and "response", also beside a txt; and any number
of media, in the order of their names, numbers in them as numbers (``7.2.jpg``, ``7.10.jpg``), wherever they stand in
the shard, each with its tag in the text, or none with one. A motion is ``7.imu.npy`` or ``7.imu.csv``; in a sample
without any other medium ``7.npy`` or ``7.csv`` is one too.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from anymal_eval.errors import listed
from anymal_eval.media.location import ROW
from anymal_eval.records import Media, MediaKind
from anymal_eval.sources.fields import Fields
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import DataAddress
from anymal_eval.training.sources._conversation import RoleAndText, conversation
from anymal_eval.training.sources._table import caption_samples, captions_of
from anymal_eval.training.sources._tar import Member
from anymal_eval.training.sources.llava import messages_of

ENDINGS: dict[str, MediaKind] = {
    **dict.fromkeys(("jpg", "jpeg", "png", "webp"), "image"),
    **dict.fromkeys(("wav", "flac", "mp3", "ogg"), "audio"),
    **dict.fromkeys(("mp4", "webm"), "video"),
    **dict.fromkeys(("imu.npy", "imu.csv"), "imu"),
}  # fmt: skip
MOTIONS = ("npy", "csv")  # where the sample has no other medium
NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")
NUMBERED = re.compile(r"[^.]+\.(.+)")
CONVERSATION = (b'"conversations"', b'"instruction"')  # beside a txt, a json without them is what is known of a picture


def split_name(name: str) -> tuple[str, str]:
    """Name and ending, split as WebDataset does: at the first dot of the file's name.

    >>> split_name("part.1/7.imu.NPY")
    ('part.1/7', 'imu.npy')
    """
    found = NAME.fullmatch(name)
    return (found[1], found[2].lower()) if found else (name, "")


def shard_samples(address: DataAddress, shard: str, key: str, parts: Iterator[Member]) -> Iterator[Sample]:
    """The samples of one key.

    Raises:
        BadData: its members make none; names the shard and the key.
    """
    row = Fields({}, shard, key)
    found: list[tuple[str, Media]] = []
    texts: dict[str, bytes] = {}
    endings: list[str] = []
    for part in parts:
        ending = split_name(part.name)[1]
        endings.append(ending)
        kind = _kind(ending)
        if kind is not None:
            if ending in ENDINGS and not part.content:
                raise row.bad(f"{part.name} is empty (0 bytes)")
            digest = hashlib.sha256(part.content).hexdigest()
            uri = f"{ROW}{shard}#{part.offset}+{len(part.content)}:{part.name}"
            found.append((ending, Media(kind=kind, uri=uri, digest=digest)))
        elif ending in ("txt", "json"):
            texts[ending] = part.content
    found = [(ending, one) for ending, one in found if ending not in MOTIONS] or found
    found.sort(key=lambda one: _by_numbers(one[0]))
    stem = f"{Path(shard).stem}/{key}"
    table = _table(row, texts)
    messages = _messages(Fields(table, shard, key), shard) if isinstance(table, dict) else None
    if messages is not None:
        media: dict[MediaKind, list[Media]] = {}
        for _, one in found:
            media.setdefault(one.kind, []).append(one)
        turns, ordered = conversation(row, messages, media, order=address.order)
        yield Sample(id=stem, where=row.where, media=ordered, turns=turns)
        return
    # Masks and depths beside a picture have names of their own before their ending, and are no second medium.
    plain = [one for ending, one in found if ending in ENDINGS or ending in MOTIONS]
    if len(plain) != 1:
        raise row.bad(f"{len(plain)} media, where one of {', '.join(ENDINGS)} was due{_dotted(endings)}")
    captions = _captions(row, texts, table, "no caption: neither a txt nor a json" + _dotted(endings))
    yield from caption_samples(address, row, stem, plain[0], captions)


def _kind(ending: str) -> MediaKind | None:
    """The kind of a medium, also of one with a name or number of its own before its ending."""
    if ending in ENDINGS:
        return ENDINGS[ending]
    if ending in MOTIONS:
        return "imu"
    numbered = NUMBERED.fullmatch(ending)
    return _kind(numbered[1]) if numbered is not None and numbered[1] not in MOTIONS else None


def _by_numbers(ending: str) -> tuple[list[tuple[int, str]], str]:
    """To sort names: runs of digits by their number, of any length, and before letters; the rest as text.

    >>> sorted(["10.jpg", "wav", "2.jpg", "a.jpg", "02.jpg"], key=_by_numbers)
    ['02.jpg', '2.jpg', '10.jpg', 'a.jpg', 'wav']
    """
    runs = re.split("([0-9]+)", ending)
    digits = [run.lstrip("0") if place % 2 else run for place, run in enumerate(runs)]
    return [(len(run) if place % 2 else 0, run) for place, run in enumerate(digits)], ending


def _dotted(endings: Sequence[str]) -> str:
    """Names with more dots than their author may have meant, such as ``b.v2.jpg``; empty without any."""
    dotted = [each for each in endings if "." in each and each not in ENDINGS]
    return f"; names end at the first dot, so the endings here are {listed(endings)}" if dotted else ""


def _table(row: Fields, texts: Mapping[str, bytes]) -> Any:
    """What the json holds, where it is needed; None without one."""
    content = texts.get("json")
    if content is None or ("txt" in texts and not any(key in content for key in CONVERSATION)):
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise row.bad(f"its caption cannot be read: {error}") from None


def _messages(row: Fields, shard: str) -> Sequence[RoleAndText] | None:
    """The messages of a conversation; None of a caption."""
    if row.has("conversations"):
        return messages_of(row, shard)
    if row.has("instruction") and row.has("response"):
        system: list[RoleAndText] = [("system", row.text("system"))] if row.has("system") else []
        return [*system, ("user", row.text("instruction")), ("assistant", row.text("response"))]
    return None


def _captions(row: Fields, texts: Mapping[str, bytes], table: Any, none: str) -> tuple[str, ...]:
    try:
        if "txt" in texts:
            return captions_of(Fields({"txt": texts["txt"].decode().strip()}, row.file, row.place), "txt")
    except ValueError as error:
        raise row.bad(f"its caption cannot be read: {error}") from None
    if "json" in texts:
        return captions_of(Fields(table, row.file, row.place), "caption")
    raise row.bad(none)
