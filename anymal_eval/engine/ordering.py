"""The order of requests: those with the same media together, the longest first.

Together, so that a medium is decoded, encoded and prefilled once with small caches. The longest first, so that the rows
of a batch have similar lengths and a batch that does not fit into memory shows at the start.
"""

import math
from collections.abc import Hashable, Sequence

from anymal_eval.records import Request

MEDIUM_CHARACTERS = 2048  # a medium counts as this much text, so that requests with as many media stand together


def ordered(requests: Sequence[Request]) -> list[Request]:
    """The same requests in another order, on which no answer may depend.

    Lengths are compared in classes of half a power of two. Within a class the order of the data stays, because that
    order reads rows of a data set fastest.
    """
    # A request without media is a unit by itself, and no list: there may be a million.
    units: list[Request | list[Request]] = []
    groups: dict[Hashable, list[Request]] = {}
    for request in requests:
        key = media_of(request)
        if not key:
            units.append(request)
        elif key in groups:
            groups[key].append(request)
        else:
            groups[key] = [request]
            units.append(groups[key])
    for own in groups.values():
        own.sort(key=length, reverse=True)
    units.sort(key=lambda unit: _class(length(unit[0] if isinstance(unit, list) else unit)), reverse=True)
    return [request for unit in units for request in (unit if isinstance(unit, list) else (unit,))]


def media_of(request: Request) -> tuple[Hashable, ...]:
    """A key that requests with the same media share; empty for a request without media."""
    media = request.media
    if not media:
        return ()
    return (*[(item.kind, item.uri, item.start_s, item.end_s) for item in media], request.frames)


def length(request: Request) -> int:
    """The approximate length of a request in characters; nothing is tokenized or opened."""
    found = len(request.answer_prefix) + max(map(len, request.candidates), default=0)
    for message in request.messages:
        for part in message.parts:
            found += len(part) if isinstance(part, str) else MEDIUM_CHARACTERS
    return found


def _class(characters: int) -> int:
    return round(2 * math.log2(max(characters, 1)))
