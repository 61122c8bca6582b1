"""Puts modality tokens into the places of a prompt, and prompts into a left-padded batch.

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
from anymal_eval.generation import padded_embeddings, position_ids

IGNORED = -100  # the target that cross_entropy leaves out


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows of different lengths, padded on the left.

    Attributes:
        embeds: (b, t, d).
        mask: (b, t), 1 at tokens and 0 at padding.
        targets: (b, t), ids that carry the loss at their own positions, ``IGNORED`` elsewhere.
        predicting: (n,), the positions, counted through all rows, before those of the n targets.
        packed: (b, t), the positions of rows of several conversations, each of which counts its own from 0. None: each
            row is one.
        owners: (n,), which of the batch's conversations each target is of; None where rows were not made of them.
    """

    embeds: Tensor
    mask: Tensor
    targets: Tensor | None = None
    predicting: Tensor | None = None
    packed: Tensor | None = None
    owners: Tensor | None = None

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [int(length) for length in self.mask.sum(dim=1)]

    @property
    def positions(self) -> Tensor:
        """(b, t): each row counts its own tokens from 0, padding aside."""
        return position_ids(self.mask) if self.packed is None else self.packed

    @property
    def attention(self) -> Tensor | None:
        """The mask that a language model takes; None for packed rows, which it tells apart by their positions."""
        return self.mask if self.packed is None else None

    @property
    def inputs(self) -> dict[str, Tensor]:
        """The arguments of a language model's ``forward`` and ``generate``."""
        return {"inputs_embeds": self.embeds, "attention_mask": self.mask}


def splice(llm: LLM, prompt: Prompt, media: Sequence[Tensor]) -> Tensor:
    """Embed one row.

    Args:
        llm: embeds the text.
        prompt: text and places.
        media: (k_i, d) for each place, in order.

    Returns:
        (t, d), in the LLM's precision; gradients flow into ``media``.

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
    """Batch rows, padded on the left: with padding on the right generation would be silently wrong.

    Args:
        rows: (t_i, d) each.
        answers: the ids that each row ends with and that carry the loss, if it is for training.
    """
    if not rows:
        raise BadData("a batch needs at least one row")
    padded = padded_embeddings(rows)
    embeds, mask = padded["inputs_embeds"], padded["attention_mask"]
    if answers is None:
        return Batch(embeds=embeds, mask=mask)
    longest = mask.shape[1]
    targets = torch.full_like(mask, IGNORED)
    for index, answer in enumerate(answers):
        if not 0 < len(answer) < len(rows[index]):
            raise BadData(f"row {index}: {len(answer)} tokens to learn in a row of {len(rows[index])}")
        targets[index, longest - len(answer) :] = torch.tensor(answer, device=targets.device)
    # The answers end their rows: known without a look at the targets, which an estimate's fake tensors do not allow.
    before = [index * longest + longest - 1 - place for index, answer in enumerate(answers)
              for place in range(len(answer), 0, -1)]  # fmt: skip
    return Batch(embeds=embeds, mask=mask, targets=targets, predicting=torch.tensor(before, device=mask.device))


def spread(
    llm: LLM,
    conversations: Sequence[TokenizedConversation],
    media: Sequence[Sequence[Tensor]],
    *,
    packed: bool = False,
) -> Batch:
    """Batch conversations: equal to ``pad`` of ``splice`` of each, in a few operations for the whole batch.

    Args:
        llm: embeds the text.
        conversations: b of them.
        media: for each its modality tokens (k_i, d), in the order of its places; gradients flow into them.
        packed: whether short conversations share a row, which is as long as the longest one; in the order of ``bins``.

    Raises:
        BadData: more or fewer media than places.
    """
    found = [_positions(one, given) for one, given in zip(conversations, media, strict=True)]
    filled = bins([len(row.ids) for row in found]) if packed else [[number] for number in range(len(found))]
    rows = [_joined([found[number] for number in each]) for each in filled]
    longest = max(len(row.ids) for row in rows)
    before = [longest - len(row.ids) for row in rows]
    device = llm.device
    ids = torch.tensor([[llm.pad] * gap + row.ids for gap, row in zip(before, rows, strict=True)], device=device)
    targets = [[IGNORED] * gap + row.targets for gap, row in zip(before, rows, strict=True)]
    mask = torch.tensor([[0] * gap + [1] * len(row.ids) for gap, row in zip(before, rows, strict=True)], device=device)
    embeds: Tensor = llm.model.get_input_embeddings()(ids).masked_fill(mask.unsqueeze(-1) == 0, 0.0)
    tokens = [one for each in filled for number in each for one in media[number]]
    if tokens:
        places = [
            (index, gap + place)
            for index, (gap, row) in enumerate(zip(before, rows, strict=True))
            for place in row.places
        ]
        where = tuple(torch.tensor(places, device=device).T)
        embeds = embeds.index_put(where, torch.cat(tokens).to(device=device, dtype=embeds.dtype))
    wanted = torch.tensor(targets)
    predicting = (wanted.flatten() != IGNORED).nonzero().flatten() - 1
    owners = [number for each in filled for number in each for target in found[number].targets[1:] if target != IGNORED]
    places_of = None
    if packed:  # the padding is a conversation of its own, which no other attends to
        counted = [
            [place for length in (gap, *(len(found[number].ids) for number in each)) for place in range(length)]
            for gap, each in zip(before, filled, strict=True)
        ]
        places_of = torch.tensor(counted, device=device)
    return Batch(
        embeds=embeds,
        mask=mask,
        targets=wanted.to(device),
        predicting=predicting.to(device),
        packed=places_of,
        owners=torch.tensor(owners, device=device),
    )


def bins(lengths: Sequence[int]) -> list[list[int]]:
    """Conversations that share a row of the longest one's length: the longest first, each where it fits first.

    >>> bins([3, 10, 7, 2])
    [[1], [2, 0], [3]]
    """
    capacity = max(lengths, default=0)
    filled: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        place = next((place for place, left in enumerate(room) if left >= lengths[number]), len(filled))
        if place == len(filled):
            filled.append([])
            room.append(capacity)
        filled[place].append(number)
        room[place] -= lengths[number]
    return filled


@dataclass(frozen=True, kw_only=True)
class _Positions:
    """One row: text ids (0 at media), targets, and the positions of media."""

    ids: list[int]
    targets: list[int]
    places: list[int]


def _positions(conversation: TokenizedConversation, media: Sequence[Tensor]) -> _Positions:
    prompt = conversation.prompt
    if len(media) != len(prompt.media):
        raise BadData(f"the conversation has {len(prompt.media)} places for media, {len(media)} were given")
    ids: list[int] = []
    targets: list[int] = []
    places: list[int] = []
    for index, (piece, learned) in enumerate(zip(prompt.pieces, conversation.learned, strict=True)):
        ids += piece
        targets += [token if wanted else IGNORED for token, wanted in zip(piece, learned, strict=True)]
        if index < len(media):
            places += range(len(ids), len(ids) + len(media[index]))
            ids += [0] * len(media[index])
            targets += [IGNORED] * len(media[index])
    return _Positions(ids=ids, targets=targets, places=places)


def _joined(rows: Sequence[_Positions]) -> _Positions:
    """Conversations one after another. The first token of each is no target: nothing of it stands before."""
    ids: list[int] = []
    targets: list[int] = []
    places: list[int] = []
    for row in rows:
        places += [len(ids) + place for place in row.places]
        ids += row.ids
        targets += [IGNORED, *row.targets[1:]]
    return _Positions(ids=ids, targets=targets, places=places)
