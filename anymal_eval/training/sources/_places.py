"""Conversations whose texts say where the media go: ``<image>``, ``<audio>``, ``<video>``, ``<imu>``.

A tag is a place only for a kind of which the row has media: ``<video>`` in a lesson on HTML stays a text. Line breaks
next to a tag set it apart from the words and are none of them; evaluation puts none there either.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.records import Media, MediaKind
from anymal_eval.sources.fields import Fields
from anymal_eval.training.sources._table import MEDIA

Said = tuple[Literal["system", "user", "assistant"], str]


def conversation(
    row: Fields, said: Sequence[Said], media: Mapping[MediaKind, Sequence[Media]], *, media_first: bool
) -> tuple[tuple[Turn, ...], tuple[Media, ...]]:
    """The turns with their places, and the media in the order of these.

    Args:
        row: for messages.
        said: who says what.
        media: by kind, in the order of their tags.
        media_first: whether media without any tag stand before the user's first words; else they are refused.

    Raises:
        BadData: tags and media do not agree in number, or a text is empty.
    """
    lost = sorted(set(MEDIA) - media.keys())
    turns = []
    for role, text in said:
        # A medium may be all that the user gives: a network that is asked without words describes it.
        if not text.strip() and not (role == "user" and media and media_first):
            raise row.bad(f"the {role} says nothing")
        if role == "user" and (tag := re.match(_edge(lost), text.strip())):
            raise row.bad(f"{tag[1] or tag[2]} stands at the edge of what the user says, and the row has none")
        turns.append(Turn(role=role, parts=split(text, media.keys()) if role == "user" else (text,)))
    slots = [part.medium for turn in turns for part in turn.parts if isinstance(part, Slot)]
    if not slots and media_first:
        slots = [kind for kind, found in media.items() for _ in found]
        first = next(number for number, turn in enumerate(turns) if turn.role == "user")
        turns[first] = Turn(role="user", parts=(*(Slot(medium=kind) for kind in slots), *turns[first].parts))
    for kind, found in media.items():
        if slots.count(kind) != len(found):
            raise row.bad(f"it names {len(found)} {kind}, and its words have {slots.count(kind)} places <{kind}>")
    queues = {kind: iter(found) for kind, found in media.items()}
    return tuple(turns), tuple(next(queues[kind]) for kind in slots)


def split(text: str, kinds: Collection[MediaKind]) -> tuple[str | Slot, ...]:
    r"""A text with places instead of tags.

    >>> split("<image>\nWhat is it?", ["image"])
    (Slot(medium='image'), 'What is it?')
    >>> split("Use <video>", ["image"])
    ('Use <video>',)
    """
    if not kinds:
        return (text,)
    pieces = re.split(rf"\n*<({'|'.join(kinds)})>\n*", text)
    parts = [Slot(medium=_kind(piece)) if number % 2 else piece for number, piece in enumerate(pieces)]
    return tuple(part for part in parts if part)


def _kind(name: str) -> MediaKind:
    return next(kind for kind in MEDIA if kind == name)


def _edge(kinds: Sequence[str]) -> str:
    tags = "|".join(kinds) or "(?!)"
    return rf"(?s)(<(?:{tags})>)|.*(<(?:{tags})>)$"
