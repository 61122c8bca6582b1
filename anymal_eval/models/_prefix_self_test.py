"""Tests prefix sharing, and compiled decoding, on a loaded model: a few requests must get the same answers without.

How a class treats a cache, positions and its processor's output cannot be read from its name, and thousands of
checkpoints share one name. Where the test fails, requests are answered whole, which changes no number. The outcome is
recorded in the manifest.

Texts generated about media are tested when a model is loaded; ranking, beam search and requests without media before
the first of them is answered, so that a run waits for no test of what it does not do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from anymal_eval.checkpoints.files import reason
from anymal_eval.errors import BadCheckpoint, BadLogits, ContextTooLong, OutOfMemory, RequestFailed
from anymal_eval.generation import Traces, self_test, try_compiling
from anymal_eval.generation.self_test import ON, Difference
from anymal_eval.models._chat import ChatModel
from anymal_eval.models._prefix_sharing import (
    BEAMS,
    MEDIA,
    NO_MEDIA,
    RANKING,
    TEXT,
    PrefixSharing,
    PreparedChat,
    obstacle,
)
from anymal_eval.models._prepared import media_key
from anymal_eval.models._self_test_memory import SelfTestMemory
from anymal_eval.records import FRAMES, Decoding, Media, Message, Request, Response
from anymal_eval.steps import step

if TYPE_CHECKING:
    from numpy.typing import NDArray

GENERATION = "generation"  # beside _prefix_sharing.kinds
GREEDY, SEARCH = Decoding(max_new_tokens=5), Decoding(max_new_tokens=5, beams=2)
OPTIONS = ("yes", "no", "it is neither of these")
QUESTIONS = ("What is this?", "How many things are there, where are they, and which of them is the largest?")
# Requests that another version tested with other texts could pass or fail where this one does not: they are fixed.
PREAMBLE = "All that is known of this matter was written down here, in one long sentence, before it was asked: "
IMAGE_SIZES = ((96, 64), (48, 120))  # two shapes, which some processors cut into different numbers of tiles
CLIP_RATE = 2.0  # frames a second
AUDIO_SECONDS = (0.5, 0.9)
REFUSALS = (RequestFailed, *self_test.REFUSALS)


@dataclass(frozen=True)
class Answered:
    """A response of the test, and the steps of the search that gave it."""

    response: Response
    traces: Traces


def require_answer(chat: ChatModel, name: str) -> dict[str, Answered]:
    """Ensure that the model answers a plain question about a medium, as every task will have it.

    What fails here would fail on every example. Limits of the machine and of the context are no such failure.

    Args:
        chat: a loaded model.
        name: of its checkpoint.

    Returns:
        The answer by its request's id, for ``try_sharing``; empty where such a limit was met.

    Raises:
        BadCheckpoint: it answers about neither of two media; the line has the library's error.
    """
    errors: list[Exception] = []
    found: dict[str, Answered] = {}
    for request in _requests(chat, GENERATION)[:: len(QUESTIONS)]:
        try:
            found[request.id] = _answered(chat, [chat.prepare(request)])[0]
        except (OutOfMemory, ContextTooLong, BadLogits):
            return {}
        except BadCheckpoint:
            raise
        except Exception as error:  # noqa: BLE001  # raised again below, as one line
            errors.append(error)
        else:
            break
    else:
        raise BadCheckpoint(f"{name}: it cannot answer a question about a medium: {reason(errors[0])}") from errors[0]
    return found


def try_sharing(chat: ChatModel, wanted: bool, *, exact: bool, known: dict[str, Answered] | None = None) -> ChatModel:
    """Turn prefix sharing on if it is wanted and passes the test, and record in ``provenance`` why it is on or off.

    With it goes a KV cache that grows in place. A class that passes the test only without that has it off.

    Args:
        chat: a loaded model.
        wanted: ``-o share``.
        exact: whether it computes in float32.
        known: from ``require_answer``.
    """
    why = "-o share=false" if not wanted else obstacle(chat.network)
    if why is None:
        chat.prefix_sharing = PrefixSharing(chat.network, chat.generator.pad_id)
        why = _fault(chat, GENERATION, exact=exact, known=known or {})
        chat.prefix_sharing.prefilled = 0
    if why is not None:
        chat.prefix_sharing = None
        chat.generator.grows_in_place = None
    chat.provenance["prefix_sharing"] = ON if why is None else f"off: {why}"
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
    short, long = (chat.prepare(request).inputs for request in _requests(chat, GENERATION)[: len(QUESTIONS)])
    chat.provenance["compiled_decoding"] = try_compiling(chat.generator, [short, long, short], exact=exact)
    chat.memory_forecast.fixed_cache = chat.generator.compiled_step is not None


def passes(chat: ChatModel, kind: str, memory: SelfTestMemory, *, exact: bool) -> bool:
    """Test what requests have beside a text that is generated about media, where no earlier run did.

    Args:
        chat: a model that shares prefixes.
        kind: one of ``_prefix_sharing.kinds``.
        memory: of passed tests.
        exact: whether it computes in float32.
    """
    if memory.is_passed(kind):
        return True
    with step("self-test", f"testing whether prefixes can be shared: {kind}"):
        why = _fault(chat, kind, exact=exact, known={})
    if why is not None:
        chat.provenance["prefix_sharing"] = f"{chat.provenance['prefix_sharing']}; off for {kind}: {why}"
    elif chat.generator.grows_in_place is not False:
        memory.remember(kind)
    return why is None


def _fault(chat: ChatModel, kind: str, *, exact: bool, known: dict[str, Answered]) -> str | None:
    """What the test of a kind of requests finds; None if it passes."""
    sharing, generator = chat.prefix_sharing, chat.generator
    assert sharing is not None  # noqa: S101
    grows, timings, prefilled = generator.grows_in_place, dict(chat.timings), sharing.prefilled
    compiled, generator.compiled_step = generator.compiled_step, None  # it has a test of its own
    try:
        alone = _Alone.of(chat, kind, exact=exact, known=known)
        if kind == GENERATION:
            generator.grows_in_place = grows = True
            why = _difference(chat, alone) or _difference_apart(chat, alone)
            if why is None:
                return None
            sharing.clear()
            grows = False
        generator.grows_in_place = grows
        return _difference(chat, alone)
    except REFUSALS as error:
        return _line(error)
    finally:
        generator.grows_in_place, generator.compiled_step = grows, compiled
        chat.timings.update(timings)
        sharing.clear()
        sharing.prefilled = prefilled


@dataclass(frozen=True, kw_only=True)
class _Alone:
    """The requests of a test, and answers to single ones of them without sharing.

    Attributes:
        items: the requests, in the order in which they are computed together.
        places: of those that were answered alone.
        answers: of these.
        noise: between a plain batch and single requests; None in float32.
    """

    items: list[PreparedChat]
    places: list[int]
    answers: list[Answered]
    noise: Difference | None

    @classmethod
    def of(cls, chat: ChatModel, kind: str, *, exact: bool, known: dict[str, Answered]) -> _Alone:
        """Answer singly: in float32 one question on each medium, in turns; else all, since rounding differs by row."""
        items = [chat.prepare(request) for request in _requests(chat, kind)]
        each = len(QUESTIONS)
        in_turns = exact and kind in (GENERATION, RANKING)
        places = [n for n in range(len(items)) if not in_turns or n % each == n // each % each]
        chat.generator.grows_in_place = None
        answers = [known.get(items[n].request.id) or _answered(chat, [items[n]])[0] for n in places]
        noise = None if exact else _apart(answers, _answered(chat, items))
        return cls(items=items, places=places, answers=answers, noise=noise)


def _difference(chat: ChatModel, alone: _Alone) -> str | None:
    """How answers with sharing differ from those to single requests; None if they do not."""
    if alone.items[0].request.media and alone.items[0].prefix_key is None:
        return "its processor leaves no place of a medium to be seen"
    shared = [
        replace(item, batch_key=MEDIA if item.prefix_key is not None else TEXT)
        if item.prefix_key is not None or not item.request.media
        else item
        for item in alone.items
    ]
    try:
        found = _answered(chat, shared)
    except REFUSALS as error:
        return _line(error)
    same = [found[place] for place in alone.places]
    return self_test.fault(_apart(alone.answers, same), len(same), alone.noise)


def _difference_apart(chat: ChatModel, alone: _Alone) -> str | None:
    """The same for rows that share nothing: their cache starts empty."""
    ends = (0, -1)
    try:
        found = _answered(chat, [alone.items[alone.places[end]] for end in ends])
    except REFUSALS as error:
        return _line(error)
    return self_test.fault(_apart([alone.answers[end] for end in ends], found), len(found), alone.noise)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _answered(chat: ChatModel, items: Sequence[PreparedChat]) -> list[Answered]:
    """Responses without failures.

    Raises:
        RequestFailed: there is one.
    """
    chat.generator.traces = traces = Traces()
    try:
        found = chat.compute(items)
    finally:
        chat.generator.traces = None
    failures = [response.failure.message for response in found if response.failure is not None]
    if failures:
        raise RequestFailed(failures[0])
    return [Answered(response, traces) for response in found]


def _apart(some: Sequence[Answered], others: Sequence[Answered]) -> Difference:
    """Scores are those of options, or of the tokens of greedy search."""
    gaps, different = [0.0], 0
    for one, other in zip(some, others, strict=True):
        options = zip(one.response.option_scores or (), other.response.option_scores or (), strict=True)
        gaps += [abs(mine - its) for mine, its in options]
        gaps.append(one.traces.gap(other.traces, one.response.id))
        different += one.response.answer != other.response.answer
    return Difference(max(gaps), different)


def _requests(chat: ChatModel, kind: str) -> list[Request]:
    """Two questions on each of two media, or two without; by beam search one on each medium."""
    prompts: list[tuple[str | Media, ...]]
    if kind == NO_MEDIA:
        prompts = [(PREAMBLE + question,) for question in QUESTIONS]
    elif kind == BEAMS:  # each beam computes its prompt: the dearest
        prompts = [(medium, QUESTIONS[place % len(QUESTIONS)]) for place, medium in enumerate(_media(chat))]
    else:
        prompts = [(medium, question) for medium in _media(chat) for question in QUESTIONS]
    return [
        Request(
            id=f"self-test-{place}",
            messages=(Message(role="user", parts=parts),),
            candidates=OPTIONS if kind == RANKING else (),
            decoding=SEARCH if kind == BEAMS else GREEDY,
        )
        for place, parts in enumerate(prompts)
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
        chat.media.cache_clip(media_key(medium, FRAMES), pictures, CLIP_RATE)
        found.append(medium)
    return found
