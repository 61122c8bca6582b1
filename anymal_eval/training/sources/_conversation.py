"""Conversations whose texts mark the places of media: ``<image>``, ``<audio>``, ``<video>``, ``<imu>``.

A tag marks a place only if the row has media of that kind: ``<video>`` in a conversation about HTML stays text. Line
breaks next to a tag separate it from the text and are dropped; evaluation writes none there either.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.records import Media, MediaKind
from anymal_eval.sources.fields import Fields
from anymal_eval.training.sources._table import MEDIA

RoleAndText = tuple[Literal["system", "user", "assistant"], str]


def conversation(
    row: Fields, messages: Sequence[RoleAndText], media: Mapping[MediaKind, Sequence[Media]], *, media_first: bool
) -> tuple[tuple[Turn, ...], tuple[Media, ...]]:
    """The turns with a slot for each medium, and the media in the order of the slots.

    Args:
        row: for error messages.
        messages: role and text of each message.
        media: by kind, in the order of their tags.
        media_first: put media without any tag before the user's first text; else they are refused.

    Raises:
        BadData: tags and media differ in number, or a text is empty.
    """
    absent = sorted(set(MEDIA) - media.keys())
    turns = []
    for role, text in messages:
        # A user turn may be media alone: a network that gets no text describes them.
        if not text.strip() and not (role == "user" and media and media_first):
            raise row.bad(f"the {role} says nothing")
        if role == "user" and (tag := re.match(_tag_at_edge(absent), text.strip())):
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
    r"""A text with slots instead of tags.

    >>> split("<image>\nWhat is it?", ["image"])
    (Slot(medium='image'), 'What is it?')
    >>> split("Use <video>", ["image"])
    ('Use <video>',)
    """
    if not kinds:
        return (text,)
    slots: dict[str, Slot] = {kind: Slot(medium=kind) for kind in kinds}
    pieces = re.split(rf"\n*<({'|'.join(kinds)})>\n*", text)
    parts = [slots[piece] if number % 2 else piece for number, piece in enumerate(pieces)]
    return tuple(part for part in parts if part)


def _tag_at_edge(kinds: Sequence[str]) -> str:
    tags = "|".join(kinds) or "(?!)"
    return rf"(?s)(<(?:{tags})>)|.*(<(?:{tags})>)$"
