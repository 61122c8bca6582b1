"""What wrappers of local networks share: a prepared request, and batches in which a broken row fails alone."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from anymal_eval.errors import BadLogits, ContextTooLong, RequestFailed
from anymal_eval.records import Failure, Media, Request, Response

if TYPE_CHECKING:
    from anymal_eval.generation.text_generator import Completion

OptionTokenIds = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class PreparedRequest:
    """A request made ready for a batch.

    ``option_token_ids`` are the ids that each option adds to the prompt; ``alike`` says what batches with it.
    """

    request: Request
    option_token_ids: OptionTokenIds
    prefix_key: str | None
    media_key: str | None
    prefix_tokens: int
    suffix_tokens: int
    nbytes: int
    alike: Hashable = None


R = TypeVar("R", bound=PreparedRequest)


def answer_alike(items: Sequence[R], compute: Callable[[Sequence[R]], list[Response]]) -> list[Response]:
    """Compute together what can be, and give the responses in the order of the items."""
    groups: dict[Hashable, list[int]] = {}
    for place, item in enumerate(items):
        how = None if item.option_token_ids else item.request.decoding
        groups.setdefault((bool(item.option_token_ids), how, item.alike), []).append(place)
    found: dict[int, Response] = {}
    for places in groups.values():
        responses = _isolated([items[place] for place in places], compute)
        found.update(zip(places, responses, strict=True))
    return [found[place] for place in range(len(items))]


def _isolated(items: Sequence[R], compute: Callable[[Sequence[R]], list[Response]]) -> list[Response]:
    try:
        return compute(items)
    except BadLogits as error:
        if len(items) > 1:
            # One broken row must not take its neighbours along.
            return [response for item in items for response in _isolated([item], compute)]
        failure = Failure(kind=error.kind, message=str(error))
        return [Response(id=items[0].request.id, failure=failure)]


def said_response(item: PreparedRequest, said: Completion) -> Response:
    """A generated answer."""
    return Response(
        id=item.request.id,
        answer=said.text,
        finish=said.finish,
        prompt_tokens=item.prefix_tokens + item.suffix_tokens,
        new_tokens=said.new_tokens,
    )


def ranked_response(item: PreparedRequest, scores: tuple[float, ...]) -> Response:
    """Ranked options."""
    return Response(
        id=item.request.id,
        option_scores=scores,
        option_tokens=tuple(map(len, item.option_token_ids)),
        finish="ranked",
        prompt_tokens=item.prefix_tokens + item.suffix_tokens,
    )


def require_context(request: Request, length: int, option_token_ids: OptionTokenIds, context: int | None) -> None:
    """Refuse a prompt that leaves no room for its answer.

    Raises:
        ContextTooLong: names the lengths.
    """
    new = max(map(len, option_token_ids), default=request.decoding.max_new_tokens)
    if context is not None and length + new > context:
        raise ContextTooLong(
            f"a prompt of {length} tokens and {new} new ones make {length + new}, the model's context is {context}"
        )


def refuse_markers(request: Request, markers: Sequence[str]) -> None:
    """Refuse a text that the tokenizer would read as the place of a medium.

    Raises:
        RequestFailed: names the marker.
    """
    texts = [part for message in request.messages for part in message.parts if isinstance(part, str)]
    for text in (*texts, request.answer_prefix, *request.candidates):
        for marker in markers:
            if marker and marker in text:
                raise RequestFailed(f"the text holds {marker!r}, which this model reads as the place of a medium")


def media_key(media: Media, frames: int) -> str:
    """A medium and the part of it that is shown."""
    cut = f"{media.start_s}-{media.end_s}"
    return f"{media.kind}:{media.uri}:{cut}-{frames}" if media.kind == "video" else f"{media.kind}:{media.uri}:{cut}"
