"""PrefixSharing is tried before it is used: a few requests, answered with it and without, must come out the same.

What a class does with a cache, with positions and with its processor's output is its own affair, and thousands of
checkpoints go by one name: reading that it should work is not enough. Where it does not, requests are answered whole,
which changes no number; either outcome stands in the manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anymal_eval.errors import RequestFailed
from anymal_eval.models._prefix_sharing import PrefixSharing, obstacle
from anymal_eval.models._prepared import media_key
from anymal_eval.records import Decoding, Media, Message, Request, Response

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anymal_eval.models._chat import Chat

ON = "on: self-test passed"
TOLERANCE = 1e-4  # of a sum of log p, in fp32
# Fewer digits: as far from one request at a time as so many times what a plain batch is.
NOISE = 4.0
GREEDY, BEAMS = Decoding(max_new_tokens=5), Decoding(max_new_tokens=5, beams=2)
OPTIONS = ("yes", "no", "it is neither of these")
QUESTIONS = ("What is this?", "How many things are there, where are they, and which of them is the largest?")
PREAMBLE = "All that is known of this matter was written down here, in one long sentence, before it was asked: "
SIZES = ((96, 64), (48, 120))  # of pictures: two shapes, which some processors cut into other numbers of tiles
SECONDS = (0.5, 0.9)  # of sounds
# What classes raise that were not written for this; anything else is a fault to be shown.
REFUSALS = (RequestFailed, RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError)


def try_sharing(chat: Chat, wanted: bool, *, exact: bool) -> Chat:
    """Turn sharing on where it was asked for and works, and say in ``provenance`` which it is, and why.

    Args:
        chat: a loaded model.
        wanted: ``-o share``.
        exact: whether it computes in fp32.
    """
    why = "-o share=false" if not wanted else obstacle(chat.network)
    if why is None:
        sharing = PrefixSharing(chat.network, chat.speaker.pad)
        try:
            why = _difference(chat, sharing, exact)
        except REFUSALS as error:
            why = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        sharing.forget()
        sharing.prefilled = 0
        chat.sharing = sharing if why is None else None
    chat.provenance["prefix_sharing"] = ON if why is None else f"off: {why}"
    chat.timings.update(dict.fromkeys(chat.timings, 0.0))
    return chat


def _difference(chat: Chat, sharing: PrefixSharing, exact: bool) -> str | None:
    """What differs between sharing and one request at a time; None where nothing does."""
    asked = _requests(chat)
    chat.sharing = None
    alone = [_answered(chat, [request])[0] for request in asked]
    batched = alone if exact else _answered(chat, asked)
    chat.sharing = sharing
    shared = _answered(chat, asked)
    if chat.prepare(asked[0]).prefix_key is None:
        return "its processor leaves no place of a medium to be seen"
    allowed = TOLERANCE if exact else max(TOLERANCE, NOISE * _apart(alone, batched))
    apart = _apart(alone, shared)
    if not apart <= allowed:
        return f"self-test failed, scores differ by {apart:.1e}"
    texts = [response.answer for response in alone]
    wrong, plainly = (
        sum(text != other.answer for text, other in zip(texts, found, strict=True)) for found in (shared, batched)
    )
    if wrong > (0 if exact else plainly + 1):  # where two tokens are level, fewer digits may tip them
        return f"self-test failed, {wrong} of {len(asked)} answers differ"
    return None


def _answered(chat: Chat, asked: Sequence[Request]) -> list[Response]:
    """Responses without failures.

    Raises:
        RequestFailed: there is one.
    """
    found = list(chat.answer([chat.prepare(request) for request in asked]))
    failures = [response.failure.message for response in found if response.failure is not None]
    if failures:
        raise RequestFailed(failures[0])
    return found


def _apart(some: Sequence[Response], others: Sequence[Response]) -> float:
    """By how much the scores differ at most."""
    pairs = [
        pair
        for one, other in zip(some, others, strict=True)
        for pair in zip(one.option_scores or (), other.option_scores or (), strict=True)
    ]
    return max((abs(one - other) for one, other in pairs), default=0.0)


def _requests(chat: Chat) -> list[Request]:
    """Of two media two questions each, to say in two ways and to rank; and two questions without a medium."""
    made: list[tuple[tuple[str | Media, ...], tuple[str, ...], Decoding]] = []
    for medium in _media(chat):
        for question in QUESTIONS:
            made += [((medium, question), (), how) for how in (GREEDY, BEAMS)]
            made.append(((medium, question), OPTIONS, GREEDY))
    made += [((PREAMBLE + question,), (), GREEDY) for question in QUESTIONS]
    return [
        Request(
            id=f"self-test-{place}",
            messages=(Message(role="user", parts=parts),),
            candidates=candidates,
            decoding=how,
        )
        for place, (parts, candidates, how) in enumerate(made)
    ]


def _media(chat: Chat) -> list[Media]:
    """Two media of noise, put where what was decoded waits for its next question."""
    import numpy as np

    drawn = np.random.default_rng(0)
    heard = "image" not in chat.accepts
    found = []
    for place in range(2):
        medium = Media(kind="audio" if heard else "image", uri=f"self-test:{place}")
        array: NDArray[Any]
        if heard:
            array = drawn.normal(scale=0.1, size=int(SECONDS[place] * chat.sample_rate)).astype(np.float32)
        else:
            array = drawn.integers(0, 256, (*SIZES[place], 3), dtype=np.uint8)
        chat.keep_decoded(media_key(medium, 1), array)
        found.append(medium)
    return found
