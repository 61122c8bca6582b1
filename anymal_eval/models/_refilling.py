"""Requests of a local network that leave the batch when they are answered, so that others take their places."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from anymal_eval.generation import BatchedPrefix, OpenGeneration, Row, TextGenerator, memory_guard
from anymal_eval.models._prepared import PreparedRequest, completed_response
from anymal_eval.records import Response

if TYPE_CHECKING:
    from anymal_eval.models._protocols import Prepared

P = TypeVar("P", bound=PreparedRequest)


class PromptBatch(NamedTuple):
    """Requests whose prompts are computed together: a padded batch, and the computed first positions of its rows."""

    items: Sequence[PreparedRequest]
    inputs: Mapping[str, Any]
    prefix: BatchedPrefix | None


def may_refill(batch: Sequence[PreparedRequest], generator: TextGenerator) -> bool:
    """Whether others may join this batch: its requests generate text with one decoding, and rows leave."""
    decoding = batch[0].request.decoding
    same = all(not item.option_token_ids and item.request.decoding == decoding for item in batch)
    return same and generator.rows_join(decoding)


def generate_each(
    batch: Sequence[P],
    generator: TextGenerator,
    prompts: Callable[[Sequence[P]], Iterable[PromptBatch]],
    more: Callable[[], Sequence[Prepared]],
    free: Callable[[], object],
    *,
    strip: bool = True,
) -> Generator[list[Response], None, None]:
    """Answer a batch that ``may_refill``, and what joins it.

    Args:
        batch: the first requests.
        generator: the model's.
        prompts: the prompts of requests, in batches.
        more: requests of the same kind that may join; called after requests were answered.
        free: called when memory is exhausted.
        strip: whether white space around a generated text is dropped.

    Yields:
        The responses of requests that ended together.
    """
    import torch

    kind = type(batch[0])
    decoding = batch[0].request.decoding
    generation = OpenGeneration(generator, decoding)
    items: dict[int, PreparedRequest] = {}
    joining: Sequence[P] = batch

    def join() -> None:
        for own, inputs, prefix in prompts(joining):
            rows = [Row(name=item.request.id, opened=item.opened) for item in own]
            items.update(zip(generation.join(inputs, prefix, rows), own, strict=True))

    while joining or items:
        doing = f"answering {len(items) + len(joining)} requests"
        with torch.no_grad(), memory_guard(doing, free), generator.compiled(decoding):
            if joining:
                join()
            ended = [(items.pop(row), ids) for row, ids in generation.advance().items()]
        joining = ()
        if ended:
            yield [
                completed_response(item, generator.completion(ids, decoding, item.opened), strip=strip)
                for item, ids in ended
            ]
            joining = [item for item in more() if isinstance(item, kind)]
