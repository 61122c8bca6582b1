"""The exact prompt, media and reading of one example, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from anymal_eval.errors import AnyMALEvalError
from anymal_eval.models import Model, Showing
from anymal_eval.protocols.prompting import way_of
from anymal_eval.protocols.reading import Reading, reading_text
from anymal_eval.records import Example, Media, Request


def prompt_lines(task: str, example: Example, request: Request, reading: Reading) -> Iterator[str]:
    """What the model gets, and how its answer is read.

    Args:
        task: its name.
        example: for its references, which the request does not hold.
        request: of the example.
        reading: of the task.
    """
    yield f"=== {task} {example.id}"
    for message in request.messages:
        text = "".join(f"<{part.kind}: {_named(part)}>" if isinstance(part, Media) else part for part in message.parts)
        yield f"[{message.role}] {text}"
    if request.answer_prefix:
        yield f"[answer begins] {request.answer_prefix}"
    way, how = way_of(request)
    yield f"{way:<12} {' | '.join(request.candidates)} ({how})" if request.candidates else f"{way:<12} {how}"
    if any(part.kind == "video" for part in request.media):
        yield f"frames       {request.frames}"
    yield f"read         {reading_text(asdict(reading))}"
    if example.label is not None:
        yield f"label        {example.label}: {example.options[example.label]}"
    if example.references is not None:
        yield f"references   {' | '.join(example.references)}"


def sent_lines(model: Model, request: Request) -> Iterator[str]:
    """The prompt after the chat template as the model is given it, where the model shows that."""
    if not isinstance(model, Showing):
        return
    try:
        sent = model.shown(model.prepare(request))
    except AnyMALEvalError as error:
        yield f"sent         not shown: {error}"
        return
    yield f"sent         {sent.tokens:,} tokens, {sent.special:,} of them special or of media; marked ‹ ›"
    yield sent.text


def _named(media: Media) -> str:
    cut = "" if media.start_s is None else f" {media.start_s:g}-{media.end_s:g} s"
    return f"{media.uri}{cut}"
