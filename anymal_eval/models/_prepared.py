"""What wrappers of local networks share: prepared requests, and batches in which a broken row fails alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from anymal_eval.errors import BadLogits, ContextTooLong, RequestFailed, WrongUse
from anymal_eval.generation import BatchedPrefix, Completion, OptionRanker, OptionTokenIds, Row, TextGenerator
from anymal_eval.records import Failure, Media, Request, Response

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anymal_eval.checkpoints.transformers_folder import LoadingOptions
    from anymal_eval.media.reader import MediaReader


@dataclass(frozen=True, kw_only=True)
class PreparedRequest:
    """A preprocessed and tokenised request.

    Attributes:
        option_token_ids: the ids that each option adds to the prompt; empty where text is generated.
        prefix_key: equal for requests that can share a KV cache.
        media_key: equal for requests about the same media.
        prefix_tokens: tokens up to the last medium.
        suffix_tokens: tokens after it.
        nbytes: host memory that it holds.
        batch_key: equal for requests that can be computed in one batch.
        opened: the tag by which the prompt opens the model's thinking; it becomes the start of the answer.
    """

    request: Request
    option_token_ids: OptionTokenIds = ()
    prefix_key: str | None = None
    media_key: str | None = None
    prefix_tokens: int = 0
    suffix_tokens: int = 0
    nbytes: int = 0
    batch_key: Hashable = None
    opened: str = ""


P = TypeVar("P", bound=PreparedRequest)


def answer_in_groups(items: Sequence[P], compute: Callable[[Sequence[P]], list[Response]]) -> list[Response]:
    """Answer requests in batches of one kind: ranked or not, one decoding, one ``batch_key``.

    Args:
        items: requests of any kinds.
        compute: answers a batch; where it raises ``BadLogits``, its rows are computed singly, so that a broken one
            fails alone.

    Returns:
        Responses in the order of the items.
    """
    groups: dict[Hashable, list[int]] = {}
    for place, item in enumerate(items):
        decoding = None if item.option_token_ids else item.request.decoding
        groups.setdefault((bool(item.option_token_ids), decoding, item.batch_key), []).append(place)
    found: dict[int, Response] = {}
    for places in groups.values():
        responses = _isolated([items[place] for place in places], compute)
        found.update(zip(places, responses, strict=True))
    return [found[place] for place in range(len(items))]


def by_batch_key(items: Sequence[P]) -> list[list[P]]:
    """Requests in groups of one ``batch_key``."""
    groups: dict[Hashable, list[P]] = {}
    for item in items:
        groups.setdefault(item.batch_key, []).append(item)
    return list(groups.values())


def _isolated(items: Sequence[P], compute: Callable[[Sequence[P]], list[Response]]) -> list[Response]:
    try:
        return compute(items)
    except BadLogits as error:
        if len(items) > 1:
            return [response for item in items for response in _isolated([item], compute)]
        return [failed_response(items[0].request, error)]


def respond(
    items: Sequence[PreparedRequest],
    engines: tuple[TextGenerator, OptionRanker],
    inputs: Mapping[str, Any],
    prefix: BatchedPrefix | None = None,
    *,
    strip: bool = True,
) -> list[Response]:
    """Generate or rank one batch of ``answer_in_groups``.

    Args:
        items: b requests of one kind.
        engines: the model's.
        inputs: their whole prompts as a padded batch.
        prefix: the computed first positions of the same rows.
        strip: whether white space around a generated text is dropped.
    """
    generator, ranker = engines
    if items[0].option_token_ids:
        scores = ranker.rank(inputs, [item.option_token_ids for item in items], prefix)
        return [ranked_response(item, own) for item, own in zip(items, scores, strict=True)]
    rows = [Row(name=item.request.id, opened=item.opened) for item in items]
    completions = generator.generate(inputs, items[0].request.decoding, prefix, rows)
    return [completed_response(item, one, strip=strip) for item, one in zip(items, completions, strict=True)]


def completed_response(item: PreparedRequest, completion: Completion, *, strip: bool = True) -> Response:
    """The response with a generated text."""
    return Response(
        id=item.request.id,
        answer=completion.text.strip() if strip else completion.text,
        finish=completion.finish,
        prompt_tokens=item.prefix_tokens + item.suffix_tokens,
        new_tokens=completion.new_tokens,
    )


def ranked_response(item: PreparedRequest, scores: tuple[float, ...]) -> Response:
    """The response with the options' log-probabilities."""
    return Response(
        id=item.request.id,
        option_scores=scores,
        option_tokens=tuple(map(len, item.option_token_ids)),
        finish="ranked",
        prompt_tokens=item.prefix_tokens + item.suffix_tokens,
    )


def failed_response(request: Request, error: RequestFailed) -> Response:
    """The response of a request that cannot be answered."""
    return Response(id=request.id, failure=Failure(kind=error.kind, message=str(error)))


def require_context(request: Request, length: int, option_token_ids: OptionTokenIds, context: int | None) -> None:
    """Refuse a prompt that leaves no room for its answer.

    Raises:
        ContextTooLong: names the lengths.
    """
    new = max(map(len, option_token_ids), default=request.decoding.most_new_tokens)
    if context is not None and length + new > context:
        raise ContextTooLong(
            f"the prompt is too long: its {length} tokens and {new} new ones make {length + new}, "
            f"the model's context is {context}"
        )


def require_vocabulary(ids: Iterable[int], rows: int, places: Collection[int] = ()) -> None:
    """Refuse ids that the embedding has no row for: on a GPU they would break every later request.

    Args:
        ids: of a prompt and its options.
        rows: of the embedding.
        places: ids at whose positions media are inserted, which are not embedded.

    Raises:
        RequestFailed: names the id.
    """
    beyond = next((one for one in ids if not 0 <= one < rows and one not in places), None)
    if beyond is not None:
        raise RequestFailed(
            f"the tokenizer gives token id {beyond}, the embedding has {rows} rows: the checkpoint's tokenizer and "
            "weights do not belong together"
        )


def refuse_markers(request: Request, markers: Sequence[str]) -> None:
    """Refuse a text that a model without ``LiteralText`` would read as the place of a medium.

    Raises:
        RequestFailed: names the marker.
    """
    texts = [part for message in request.messages for part in message.parts if isinstance(part, str)]
    for text in (*texts, request.answer_prefix, *request.candidates):
        for marker in markers:
            if marker and marker in text:
                raise RequestFailed(f"the text holds {marker!r}, which this model reads as the place of a medium")


def media_key(media: Media, frames: int) -> str:
    """A name for a medium as a request uses it: its file, the part of it, and of a clip the number of frames."""
    part = f"{media.start_s}-{media.end_s}"
    return f"{media.kind}:{media.uri}:{part}-{frames}" if media.kind == "video" else f"{media.kind}:{media.uri}:{part}"


def nbytes(values: Iterable[Any]) -> int:
    """Bytes of all arrays and tensors among the values.

    >>> nbytes([b"no array", memoryview(b"four")])
    4
    """
    return sum(getattr(value, "nbytes", 0) for value in values)


def require_one_device(options: LoadingOptions, *, compiled: bool) -> None:
    """Refuse to compile what is spread over several devices.

    Raises:
        WrongUse: ``-o compile=true`` with ``device_map``.
    """
    if compiled and options.device_map:
        raise WrongUse("-o compile=true: not with -o device_map, which moves tensors between the layers")


class MediaOptions(Protocol):
    """The options of a model that opens media."""

    @property
    def media_timeout(self) -> float: ...
    @property
    def media_budget(self) -> float: ...


def media_reader(options: MediaOptions) -> MediaReader:
    """A reader of files and of media in rows of hub data sets; close it with the model.

    Args:
        options: the seconds after which a decoder is killed, and the factor of the limits of a medium.

    Raises:
        WrongUse: one of them is no positive number.
    """
    from anymal_eval.media.budget import RAISE, MediaBudget
    from anymal_eval.media.reader import MediaReader
    from anymal_eval.sources.hub_media import open_media

    try:
        budget = MediaBudget.times(options.media_budget)
        return MediaReader(open_media, timeout_s=options.media_timeout, budget=budget, processes=2)
    except ValueError as error:
        raise WrongUse(f"media_timeout and {RAISE} must be positive numbers: {error}") from error


def hold_images(reader: MediaReader, processor: object, media: Media, arrays: Iterable[NDArray[Any]]) -> None:
    """Refuse pictures that an image processor would make too large.

    Args:
        reader: with the budget.
        processor: of transformers.
        media: what the pictures are of, for the message.
        arrays: (height, width, 3) each.

    Raises:
        MediaError: names the sizes.
    """
    from anymal_eval.media.broken import failures_of
    from anymal_eval.media.budget import hold_resized

    with failures_of(media):
        for height, width in sorted({array.shape[:2] for array in arrays}):
            hold_resized(reader.budget, processor, height, width)
