"""In which order requests are asked: those on one medium together, and the longest first.

Together, so that a medium is decoded, encoded and prefilled once although little is kept; the longest first, so that
rows of a batch are of one length, and what does not fit into memory shows at the start.
"""

import math
from collections.abc import Hashable, Sequence

from anymal_eval.records import Request

MEDIUM_CHARACTERS = 2048  # a medium counts as so much text: only requests with as many media go well together


def ordered(requests: Sequence[Request]) -> list[Request]:
    """The same requests in another order, which no answer may depend on.

    Lengths are compared roughly (half powers of two): within a class the order of the data is kept, because rows of a
    data set are read fastest in it.
    """
    groups: dict[Hashable, list[Request]] = {}
    for place, request in enumerate(requests):
        groups.setdefault(medium_of(request) or place, []).append(request)
    for own in groups.values():
        own.sort(key=length, reverse=True)
    return [request for own in sorted(groups.values(), key=lambda own: -_class(length(own[0]))) for request in own]


def medium_of(request: Request) -> tuple[Hashable, ...]:
    """What requests that share their media have in common; empty for a request without media."""
    media = request.media
    if not media:
        return ()
    return (*((item.kind, item.uri, item.start_s, item.end_s) for item in media), request.frames)


def length(request: Request) -> int:
    """About how long a request is, in characters; nothing is tokenised or opened for it."""
    text = sum(len(part) for message in request.messages for part in message.parts if isinstance(part, str))
    longest = max(map(len, request.candidates), default=0)
    return text + len(request.answer_prefix) + longest + MEDIUM_CHARACTERS * len(request.media)


def _class(characters: int) -> int:
    return round(2 * math.log2(max(characters, 1)))
