"""Conversations whose texts mark the places of media: ``<image>``, ``<audio>``, ``<video>``, ``<imu>``.

A tag in what the system or the user says marks a place, if the row has media of that kind: ``<video>`` in a
conversation about HTML stays text. In the user's text, line breaks next to a tag separate it from the text, as in
LLaVA's files, and are dropped; a system message is kept as it is, since prompts of evaluation have line breaks there.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.records import Media, MediaKind, MediaOrder, with_media
from anymal_eval.sources.fields import Fields
from anymal_eval.training.sources._table import MEDIA

RoleAndText = tuple[Literal["system", "user", "assistant"], str]


def conversation(
    row: Fields,
    messages: Sequence[RoleAndText],
    media: Mapping[MediaKind, Sequence[Media]],
    *,
    order: MediaOrder | None,
) -> tuple[tuple[Turn, ...], tuple[Media, ...]]:
    """The turns with a slot for each medium, and the media in the order of the slots.

    Args:
        row: for error messages.
        messages: role and text of each message.
        media: by kind, in the order of their tags.
        order: where media without any tag are put; None refuses them.

    Raises:
        BadData: tags and media differ in number, or a text is empty.
    """
    absent = sorted(set(MEDIA) - media.keys())
    turns = []
    for role, text in messages:
        # A user turn may be media alone: a network that gets no text describes them.
        if not text.strip() and not (role == "user" and media and order):
            raise row.bad(f"the {role} says nothing")
        if role != "assistant" and (tag := re.match(_tag_at_edge(absent), text.strip())):
            raise row.bad(f"{tag[1] or tag[2]} stands at the edge of what the {role} says, and the row has none")
        turns.append(Turn(role=role, parts=_parts(role, text, media.keys())))
    slots = [part.medium for turn in turns for part in turn.parts if isinstance(part, Slot)]
    if not slots and media and order is not None:
        slots = [kind for kind, found in media.items() for _ in found]
        turns = list(with_media(turns, [Slot(medium=kind) for kind in slots], order))
    for kind, found in media.items():
        if slots.count(kind) != len(found):
            raise row.bad(f"it names {len(found)} {kind}, and its words have {slots.count(kind)} places <{kind}>")
    queues = {kind: iter(found) for kind, found in media.items()}
    return tuple(turns), tuple(next(queues[kind]) for kind in slots)


def _parts(role: str, text: str, kinds: Collection[MediaKind]) -> tuple[str | Slot, ...]:
    match role:
        case "user":
            return split(text, kinds)
        case "system":
            return split(text, kinds, breaks=True)
    return (text,)


def split(text: str, kinds: Collection[MediaKind], *, breaks: bool = False) -> tuple[str | Slot, ...]:
    r"""A text with slots instead of tags; ``breaks`` keeps the line breaks next to a tag.

    >>> split("<image>\nWhat is it?", ["image"])
    (Slot(medium='image'), 'What is it?')
    >>> split("Use <video>", ["image"])
    ('Use <video>',)
    """
    if not kinds:
        return (text,)
    slots: dict[str, Slot] = {kind: Slot(medium=kind) for kind in kinds}
    around = "" if breaks else r"\n*"
    pieces = re.split(rf"{around}<({'|'.join(kinds)})>{around}", text)
    parts = [slots[piece] if number % 2 else piece for number, piece in enumerate(pieces)]
    return tuple(part for part in parts if part)


def _tag_at_edge(kinds: Sequence[str]) -> str:
    tags = "|".join(kinds) or "(?!)"
    return rf"(?s)(<(?:{tags})>)|.*(<(?:{tags})>)$"
