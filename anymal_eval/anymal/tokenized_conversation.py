"""A conversation as a training row: the same tokens as in evaluation, and which of them carry the loss."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from anymal_eval.anymal.conversation import Chat, Prompt, Slot, Turn
from anymal_eval.errors import BadData
from anymal_eval.generation.token_ids import shared_prefix_length


@dataclass(frozen=True, kw_only=True)
class TokenizedConversation:
    """A whole conversation.

    Attributes:
        prompt: its text and the places of its media.
        learned: for each piece of text, for each of its tokens, whether it carries the loss.
    """

    prompt: Prompt
    learned: tuple[tuple[bool, ...], ...]

    @property
    def targets(self) -> int:
        """Number of tokens that carry the loss."""
        return sum(map(sum, self.learned))


def draw_conversation(vocabulary: int, length: int, generator: torch.Generator) -> TokenizedConversation:
    """A conversation of drawn tokens, for a self-test on a language model; all but the first carry the loss."""
    ids = torch.randint(vocabulary, (length,), generator=generator).tolist()
    return TokenizedConversation(prompt=Prompt(pieces=(tuple(ids),)), learned=((False, *[True] * (length - 1)),))


def tokenize_conversation(chat: Chat, turns: Sequence[Turn], ends: Collection[int]) -> TokenizedConversation:
    """Tokenise a conversation whose assistant turns carry the loss, each with its end token, so that the model stops.

    The conversation is tokenised as a whole. An answer starts where the prompt of the turns before it, from
    ``chat.prompt``, ends; this is also where ``chat.options`` starts an option.

    Args:
        chat: the tokenizer and its template.
        turns: the last one is the assistant's.
        ends: the ids that end an answer.

    Raises:
        BadData: a medium in an answer, an empty answer, or a template that rewrites earlier turns for each answer.
    """
    whole = chat.ids(turns, opened=False)
    learned = [False] * len(whole)
    end = 0
    for place, turn in enumerate(turns):
        if turn.role != "assistant":
            continue
        if any(isinstance(part, Slot) for part in turn.parts) or not "".join(map(str, turn.parts)).strip():
            raise BadData(f"turn {place + 1}: an assistant turn must be words, without media")
        opened = chat.ids(turns[:place], opened=True)
        start = shared_prefix_length(opened, whole)
        if start < end or any(map(chat.is_place, opened[start:])):
            raise BadData(f"turn {place + 1}: the chat template rewrites earlier turns for each answer")
        closed = whole if place == len(turns) - 1 else chat.ids(turns[: place + 1], opened=False)
        end = _end(whole, start, shared_prefix_length(closed, whole), ends)
        learned[start:end] = [True] * (end - start)
    ids, marks = whole[:end], learned[:end]
    closing = chat.tokenizer.eos_token_id
    if ids[-1] not in ends and closing is not None:  # a plain text, or a template that does not close answers
        ids, marks = [*ids, closing], [*marks, True]
    return TokenizedConversation(prompt=chat.split_at_media(ids), learned=_pieces(chat, ids, marks))


def _end(whole: Sequence[int], start: int, limit: int, ends: Collection[int]) -> int:
    """Right after the first end token: what a template writes behind it is no part of the answer."""
    for place in range(start, limit):
        if whole[place] in ends:
            return place + 1
    return limit


def _pieces(chat: Chat, ids: Sequence[int], marks: Sequence[bool]) -> tuple[tuple[bool, ...], ...]:
    pieces: list[list[bool]] = [[]]
    for token, mark in zip(ids, marks, strict=True):
        if chat.is_place(token):
            pieces.append([])
        else:
            pieces[-1].append(mark)
    return tuple(map(tuple, pieces))
