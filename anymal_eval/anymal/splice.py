"""Modality tokens into the places of a prompt, and prompts into a left-padded batch.

Shapes:  b batch · t positions · k modality tokens · d LLM width
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anymal_eval.anymal.conversation import Prompt
from anymal_eval.anymal.llm import LLM
from anymal_eval.anymal.tokenized_conversation import TokenizedConversation
from anymal_eval.errors import BadData

IGNORED = -100  # what cross_entropy leaves out


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows of different lengths, ends aligned.

    Attributes:
        embeds: (b, t, d).
        mask: (b, t), 1 where a row has something.
        targets: (b, t), the ids to be learned at their own positions, ``IGNORED`` elsewhere.
    """

    embeds: Tensor
    mask: Tensor
    targets: Tensor | None = None

    @property
    def lengths(self) -> list[int]:
        """Positions in use, row by row."""
        return [int(length) for length in self.mask.sum(dim=1)]

    @property
    def positions(self) -> Tensor:
        """(b, t): each row counts its own positions from 0, padding aside."""
        return (self.mask.cumsum(dim=1) - 1).clamp(min=0)


def splice(llm: LLM, prompt: Prompt, media: Sequence[Tensor]) -> Tensor:
    """One row.

    Args:
        llm: whose embeddings the text gets.
        prompt: its text and places.
        media: (k_i, d) for each place, in order.

    Returns:
        (t, d), in the LLM's type; gradients flow into ``media``.

    Raises:
        BadData: more or fewer media than places, or another width.
    """
    if len(media) != len(prompt.media):
        places = ", ".join(prompt.media) or "none"
        raise BadData(f"the prompt has {len(prompt.media)} places for media ({places}), {len(media)} were given")
    for medium, tokens in zip(prompt.media, media, strict=True):
        if tokens.ndim != 2 or tokens.shape[1] != llm.width or len(tokens) == 0:
            raise BadData(f"{medium}: expected tokens of shape (k, {llm.width}), got {tuple(tokens.shape)}")
    text = llm.embed([token for piece in prompt.pieces for token in piece])
    parts = []
    for index, piece in enumerate(torch.split(text, [len(piece) for piece in prompt.pieces])):
        parts.append(piece)
        if index < len(media):
            parts.append(media[index].to(device=text.device, dtype=text.dtype))
    return torch.cat(parts)


def pad(rows: Sequence[Tensor], answers: Sequence[Sequence[int]] | None = None) -> Batch:
    """Rows to a batch, padded on the left (right padding makes generation silently wrong).

    Args:
        rows: (t_i, d) each.
        answers: where given, the ids that each row ends with and that are to be learned.
    """
    if not rows:
        raise BadData("a batch needs at least one row")
    longest = max(map(len, rows))
    embeds = torch.stack([torch.nn.functional.pad(row, (0, 0, longest - len(row), 0)) for row in rows])
    mask = torch.zeros(len(rows), longest, dtype=torch.long, device=embeds.device)
    for index, row in enumerate(rows):
        mask[index, longest - len(row) :] = 1
    if answers is None:
        return Batch(embeds=embeds, mask=mask)
    targets = torch.full_like(mask, IGNORED)
    for index, answer in enumerate(answers):
        if not 0 < len(answer) < len(rows[index]):
            raise BadData(f"row {index}: {len(answer)} tokens to learn in a row of {len(rows[index])}")
        targets[index, longest - len(answer) :] = torch.tensor(answer, device=targets.device)
    return Batch(embeds=embeds, mask=mask, targets=targets)


def spread(llm: LLM, lessons: Sequence[TokenizedConversation], media: Sequence[Sequence[Tensor]]) -> Batch:
    """Lessons to a left-padded batch, equal to ``pad`` of ``splice`` of each, with a handful of operations in all.

    Args:
        llm: whose embeddings the text gets.
        lessons: b of them.
        media: for each its modality tokens (k_i, d), in the order of its places; gradients flow into them.

    Raises:
        BadData: more or fewer media than places.
    """
    rows = [_laid(lesson, given) for lesson, given in zip(lessons, media, strict=True)]
    longest = max(len(row.ids) for row in rows)
    before = [longest - len(row.ids) for row in rows]
    device = llm.device
    ids = torch.tensor([[llm.pad] * gap + row.ids for gap, row in zip(before, rows, strict=True)], device=device)
    targets = [[IGNORED] * gap + row.targets for gap, row in zip(before, rows, strict=True)]
    mask = torch.tensor([[0] * gap + [1] * len(row.ids) for gap, row in zip(before, rows, strict=True)], device=device)
    embeds: Tensor = llm.model.get_input_embeddings()(ids).masked_fill(mask.unsqueeze(-1) == 0, 0.0)
    tokens = [one for given in media for one in given]
    if tokens:
        places = [
            (index, gap + place)
            for index, (gap, row) in enumerate(zip(before, rows, strict=True))
            for place in row.places
        ]
        where = tuple(torch.tensor(places, device=device).T)
        embeds = embeds.index_put(where, torch.cat(tokens).to(device=device, dtype=embeds.dtype))
    return Batch(embeds=embeds, mask=mask, targets=torch.tensor(targets, device=device))


@dataclass(frozen=True, kw_only=True)
class _Laid:
    """One row as positions: text ids (0 at media), targets, and the positions that media take."""

    ids: list[int]
    targets: list[int]
    places: list[int]


def _laid(lesson: TokenizedConversation, media: Sequence[Tensor]) -> _Laid:
    prompt = lesson.prompt
    if len(media) != len(prompt.media):
        raise BadData(f"the lesson has {len(prompt.media)} places for media, {len(media)} were given")
    ids: list[int] = []
    targets: list[int] = []
    places: list[int] = []
    for index, (piece, learned) in enumerate(zip(prompt.pieces, lesson.learned, strict=True)):
        ids += piece
        targets += [token if wanted else IGNORED for token, wanted in zip(piece, learned, strict=True)]
        if index < len(media):
            places += range(len(ids), len(ids) + len(media[index]))
            ids += [0] * len(media[index])
            targets += [IGNORED] * len(media[index])
    return _Laid(ids=ids, targets=targets, places=places)
