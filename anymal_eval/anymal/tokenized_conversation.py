"""A conversation as a row to learn from: the very tokens of its evaluation, and which of them carry the loss."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from anymal_eval.anymal.conversation import Chat, Prompt, Slot, Turn, common
from anymal_eval.errors import BadData


@dataclass(frozen=True, kw_only=True)
class TokenizedConversation:
    """A whole conversation.

    Attributes:
        prompt: its text and the places of its media.
        learned: for each piece, for each of its tokens, whether it is to be learned.
    """

    prompt: Prompt
    learned: tuple[tuple[bool, ...], ...]

    @property
    def targets(self) -> int:
        """How many tokens carry the loss."""
        return sum(map(sum, self.learned))


def tokenize_conversation(chat: Chat, turns: Sequence[Turn], ends: Collection[int]) -> TokenizedConversation:
    """Every assistant turn carries the loss, with the token that ends it, so that the model learns to stop.

    The conversation is tokenised whole. What an assistant said begins where ``chat.prompt`` of the turns before it
    would have let the model go on, as in ``chat.options``.

    Args:
        chat: the tokenizer and its template.
        turns: the last one is the assistant's.
        ends: the ids that end an answer.

    Raises:
        BadData: a medium in an answer, an empty answer, or a template that writes earlier turns anew for each answer.
    """
    whole = chat.ids(turns, opened=False)
    learned = [False] * len(whole)
    end = 0
    for place, turn in enumerate(turns):
        if turn.role != "assistant":
            continue
        if any(isinstance(part, Slot) for part in turn.parts) or not "".join(map(str, turn.parts)).strip():
            raise BadData(f"turn {place + 1}: what the assistant says must be words")
        opened = chat.ids(turns[:place], opened=True)
        begin = common(opened, whole)
        if begin < end or any(map(chat.is_place, opened[begin:])):
            raise BadData(f"turn {place + 1}: the chat template writes earlier turns anew for each answer")
        closed = whole if place == len(turns) - 1 else chat.ids(turns[: place + 1], opened=False)
        end = _end(whole, begin, common(closed, whole), ends)
        learned[begin:end] = [True] * (end - begin)
    ids, marks = whole[:end], learned[:end]
    closing = chat.tokenizer.eos_token_id
    if ids[-1] not in ends and closing is not None:  # a plain text, or a template that leaves its answers open
        ids, marks = [*ids, closing], [*marks, True]
    return TokenizedConversation(prompt=chat.cut(ids), learned=_pieces(chat, ids, marks))


def _end(whole: Sequence[int], begin: int, limit: int, ends: Collection[int]) -> int:
    """Right after the first token that ends an answer: the line break that a template writes then is nobody's."""
    for place in range(begin, limit):
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
