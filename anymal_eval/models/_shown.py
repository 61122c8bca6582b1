"""A prepared prompt as text: what the chat template made of it, with special tokens and places of media marked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol, runtime_checkable

from anymal_eval.models._protocols import Prepared

MARK = "‹{}›"


@dataclass(frozen=True, kw_only=True)
class ShownPrompt:
    """What a model is given.

    Attributes:
        text: of all token ids in order; a special token in ``‹ ›``, and how often where it is repeated.
        tokens: how many there are, those of media included.
        special: how many of them are special tokens or stand for media.
        marks: where these stand in the text: the start and the end of each, in order.
    """

    text: str
    tokens: int
    special: int
    marks: tuple[int, ...] = ()


@runtime_checkable
class Showing(Protocol):
    """A model that shows what it makes of a request."""

    def shown(self, item: Prepared) -> ShownPrompt:
        """What the model is given for a request that it prepared."""
        ...


def shown_prompt(tokenizer: Any, ids: Sequence[int], media: Iterable[tuple[int, str, int]] = ()) -> ShownPrompt:
    """Token ids as text.

    Args:
        tokenizer: of transformers.
        ids: of the prompt.
        media: of media that have no ids: the place in ``ids`` before which one stands, its kind, its tokens.
    """
    known = getattr(tokenizer, "added_tokens_decoder", {})
    special = {number for number, token in known.items() if token.special} | set(tokenizer.all_special_ids)
    places = [*media, (len(ids), "", 0)]
    text, count, at = "", 0, 0
    marks: list[int] = []
    for place, kind, tokens in places:
        for piece, own in _pieces(tokenizer, ids[at:place], special):
            marks += [len(text), len(text) + len(piece)] if own else []
            text, count = text + piece, count + own
        if kind:
            mark = MARK.format(f"{kind}: {tokens} tokens")
            marks += [len(text), len(text) + len(mark)]
            text, count = text + mark, count + tokens
        at = place
    return ShownPrompt(text=text, tokens=len(ids) + sum(each[2] for each in places), special=count, marks=tuple(marks))


def _pieces(tokenizer: Any, ids: Sequence[int], special: set[int]) -> Iterator[tuple[str, int]]:
    """The text of token ids in pieces: those between special tokens, with 0, and these, each with its times."""
    for is_special, run in groupby(ids, key=special.__contains__):
        if not is_special:
            yield str(tokenizer.decode(list(run), skip_special_tokens=False, clean_up_tokenization_spaces=False)), 0
            continue
        for token, same in groupby(run):
            times = len(list(same))
            yield MARK.format(tokenizer.convert_ids_to_tokens(token)) + (f"x{times}" if times > 1 else ""), times
