"""Tests prefix sharing, and compiled decoding, on a loaded model: a few requests must get the same answers without.

How a class treats a cache, positions and its processor's output cannot be read from its name, and thousands of
checkpoints share one name. Where the test fails, requests are answered whole, which changes no number. The outcome is
recorded in the manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anymal_eval.checkpoints.files import reason
from anymal_eval.errors import BadCheckpoint, BadLogits, ContextTooLong, OutOfMemory, RequestFailed
from anymal_eval.generation import try_compiling
from anymal_eval.models._chat import ChatModel
from anymal_eval.models._prefix_sharing import PrefixSharing, obstacle
from anymal_eval.models._prepared import media_key
from anymal_eval.records import Decoding, Media, Message, Request, Response

if TYPE_CHECKING:
    from numpy.typing import NDArray

ON = "on: self-test passed"
TOLERANCE = 1e-4  # of a sum of log p, in float32
# In lower precision: scores may differ from those of single requests by so many times what plain batching changes.
NOISE = 4.0
GREEDY, BEAMS = Decoding(max_new_tokens=5), Decoding(max_new_tokens=5, beams=2)
OPTIONS = ("yes", "no", "it is neither of these")
QUESTIONS = ("What is this?", "How many things are there, where are they, and which of them is the largest?")
# Requests that another version tested with other texts could pass or fail where this one does not: they are fixed.
PREAMBLE = "All that is known of this matter was written down here, in one long sentence, before it was asked: "
IMAGE_SIZES = ((96, 64), (48, 120))  # two shapes, which some processors cut into different numbers of tiles
CLIP_RATE = 2.0  # frames a second
AUDIO_SECONDS = (0.5, 0.9)
# Errors of classes that do not support this; anything else is a bug and is raised.
REFUSALS = (RequestFailed, RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError)


def require_answer(chat: ChatModel, name: str) -> None:
    """Ensure that the model answers a plain question about a medium, as every task will have it.

    What fails here would fail on every example. Limits of the machine and of the context are no such failure.

    Args:
        chat: a loaded model.
        name: of its checkpoint.

    Raises:
        BadCheckpoint: it answers about neither of two media; the line has the library's error.
    """
    errors: list[Exception] = []
    plain = [request for request in _requests(chat) if request.media and request.decoding == GREEDY]
    for request in [one for one in plain if not one.candidates][:: len(QUESTIONS)]:
        try:
            _responses(chat, [request])
        except (OutOfMemory, ContextTooLong, BadLogits):
            return
        except BadCheckpoint:
            raise
        except Exception as error:  # noqa: BLE001  # raised again below, as one line
            errors.append(error)
        else:
            break
    else:
        raise BadCheckpoint(f"{name}: it cannot answer a question about a medium: {reason(errors[0])}") from errors[0]
    chat.timings.update(dict.fromkeys(chat.timings, 0.0))


def try_sharing(chat: ChatModel, wanted: bool, *, exact: bool) -> ChatModel:
    """Turn prefix sharing on if it is wanted and passes the test, and record in ``provenance`` why it is on or off.

    With it goes a KV cache that grows in place. A class that passes the test only without that has it off.

    Args:
        chat: a loaded model.
        wanted: ``-o share``.
        exact: whether it computes in float32.
    """
    why = "-o share=false" if not wanted else obstacle(chat.network)
    if why is None:
        sharing = PrefixSharing(chat.network, chat.generator.pad_id)
        try:
            alone = _Alone.of(chat, exact=exact)
            why = _difference(chat, sharing, alone, grows=True)
            if why is not None:
                sharing.clear()
                why = _difference(chat, sharing, alone, grows=False)
        except REFUSALS as error:
            why = _line(error)
        sharing.clear()
        sharing.prefilled = 0
        chat.prefix_sharing = sharing if why is None else None
        if why is not None:
            chat.generator.grows_in_place = None
    chat.provenance["prefix_sharing"] = ON if why is None else f"off: {why}"
    chat.timings.update(dict.fromkeys(chat.timings, 0.0))
    return chat


def share(chat: ChatModel) -> ChatModel:
    """Turn prefix sharing on without a test: the same class passed it before, on this device with these libraries."""
    chat.prefix_sharing = PrefixSharing(chat.network, chat.generator.pad_id)
    chat.generator.grows_in_place = True
    chat.provenance["prefix_sharing"] = ON
    return chat


def try_compiled_decoding(chat: ChatModel, *, exact: bool) -> None:
    """Turn compiled decoding on if it passes its test, and record in ``provenance`` why it is on or off.

    Args:
        chat: a loaded model.
        exact: whether it computes in float32.
    """
    plain = [one for one in _requests(chat) if one.media and one.decoding == GREEDY and not one.candidates]
    short, long = (chat.prepare(request).inputs for request in plain[: len(QUESTIONS)])
    chat.provenance["compiled_decoding"] = try_compiling(chat.generator, [short, long, short], exact=exact)
    chat.memory_forecast.fixed_cache = chat.generator.compiled_step is not None


@dataclass(frozen=True, kw_only=True)
class _Alone:
    """The requests of the test with their responses one at a time.

    Attributes:
        noise: how much of a difference of scores a plain batch makes, and how many of different answers.
    """

    requests: list[Request]
    responses: list[Response]
    exact: bool
    noise: tuple[float, int]

    @classmethod
    def of(cls, chat: ChatModel, *, exact: bool) -> _Alone:
        requests = _requests(chat)
        chat.prefix_sharing, chat.generator.grows_in_place = None, None
        alone = [_responses(chat, [request])[0] for request in requests]
        batched = alone if exact else _responses(chat, requests)
        noise = _largest_gap(alone, batched), _different(alone, batched)
        return cls(requests=requests, responses=alone, exact=exact, noise=noise)


def _difference(chat: ChatModel, sharing: PrefixSharing, alone: _Alone, *, grows: bool) -> str | None:
    """How answers with sharing differ from those to single requests; None if they do not."""
    chat.prefix_sharing, chat.generator.grows_in_place = sharing, grows
    if chat.prepare(alone.requests[0]).prefix_key is None:
        return "its processor leaves no place of a medium to be seen"
    plain = [n for n, one in enumerate(alone.requests) if one.media and not one.candidates and one.decoding == GREEDY]
    apart = [plain[0], plain[-1]] if grows else []  # rows that share nothing: their cache starts empty
    try:
        shared = _responses(chat, alone.requests)
        without = _responses(chat, [alone.requests[place] for place in apart])
    except REFUSALS as error:
        return _line(error)
    gap = _largest_gap(alone.responses, shared)
    if not gap <= (TOLERANCE if alone.exact else max(TOLERANCE, NOISE * alone.noise[0])):
        return f"self-test failed, scores differ by {gap:.1e}"
    different = _different(alone.responses, shared)
    different += _different([alone.responses[place] for place in apart], without)
    if different > (0 if alone.exact else alone.noise[1] + 1):  # in lower precision two tokens may be level
        return f"self-test failed, {different} of {len(alone.requests)} answers differ"
    return None


def _different(some: Sequence[Response], others: Sequence[Response]) -> int:
    return sum(one.answer != other.answer for one, other in zip(some, others, strict=True))


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _responses(chat: ChatModel, requests: Sequence[Request]) -> list[Response]:
    """Responses without failures.

    Raises:
        RequestFailed: there is one.
    """
    found = list(chat.answer([chat.prepare(request) for request in requests]))
    failures = [response.failure.message for response in found if response.failure is not None]
    if failures:
        raise RequestFailed(failures[0])
    return found


def _largest_gap(some: Sequence[Response], others: Sequence[Response]) -> float:
    """The largest difference between scores."""
    pairs = [
        pair
        for one, other in zip(some, others, strict=True)
        for pair in zip(one.option_scores or (), other.option_scores or (), strict=True)
    ]
    return max((abs(one - other) for one, other in pairs), default=0.0)


def _requests(chat: ChatModel) -> list[Request]:
    """Two questions on each of two media, by greedy search and ranking, and one by beam search; two without media."""
    made: list[tuple[tuple[str | Media, ...], tuple[str, ...], Decoding]] = []
    for number, medium in enumerate(_media(chat)):
        for question in QUESTIONS:
            made += [((medium, question), (), GREEDY), ((medium, question), OPTIONS, GREEDY)]
        made.append(((medium, QUESTIONS[number % 2]), (), BEAMS))  # each beam computes its prompt: the dearest
    made += [((PREAMBLE + question,), (), GREEDY) for question in QUESTIONS]
    return [
        Request(
            id=f"self-test-{place}",
            messages=(Message(role="user", parts=parts),),
            candidates=candidates,
            decoding=decoding,
        )
        for place, (parts, candidates, decoding) in enumerate(made)
    ]


def _media(chat: ChatModel) -> list[Media]:
    """Two media of noise, and of an omni model a sound, and a clip of a class that takes them; put into its cache."""
    import numpy as np

    rng = np.random.default_rng(0)
    audio = "image" not in chat.accepts
    omni = not audio and "audio" in chat.accepts
    found = []
    for place in range(3 if omni else 2):
        audio = audio or place == 2
        medium = Media(kind="audio" if audio else "image", uri=f"self-test:{place}")
        array: NDArray[Any]
        if audio:
            array = rng.normal(scale=0.1, size=int(AUDIO_SECONDS[place % 2] * chat.media.sample_rate)).astype(
                np.float32
            )
        else:
            array = rng.integers(0, 256, (*IMAGE_SIZES[place], 3), dtype=np.uint8)
        chat.media.cache_decoded(media_key(medium, 1), array)
        found.append(medium)
    if chat.media.takes_clips:
        medium = Media(kind="video", uri="self-test:clip")
        pictures = rng.integers(0, 256, (4, *IMAGE_SIZES[0], 3), dtype=np.uint8)
        chat.media.cache_clip(media_key(medium, Request.frames), pictures, CLIP_RATE)
        found.append(medium)
    return found
