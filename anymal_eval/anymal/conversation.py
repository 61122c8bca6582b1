"""Conversations with places for media in them, and how they become token ids.

No text can become a place, nor a control token: places are :class:`Slot` objects, which are rendered through the
tokenizer's chat template as markers. The same markers, ``<img>`` or ``</s>`` in a question stay text.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from anymal_eval.anymal.encoders import Medium
from anymal_eval.checkpoints.templates import render_template
from anymal_eval.errors import BadCheckpoint, BadData, RequestFailed
from anymal_eval.generation.literal_text import LiteralText, PromptTokenizer
from anymal_eval.generation.token_ids import OptionTokenIds, join_with_space, option_token_ids

MARKER = "<|anymal-{}|>"  # a chat template sees it where a medium goes


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where the modality tokens of one medium go."""

    medium: Medium


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One message; the order of its parts is meaning."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[str | Slot, ...]


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Token ids with places between them: ``pieces[0] media[0] pieces[1] media[1] ... pieces[-1]``."""

    pieces: tuple[tuple[int, ...], ...]
    media: tuple[Medium, ...] = ()

    def __post_init__(self) -> None:
        if len(self.pieces) != len(self.media) + 1:
            raise BadData(f"a prompt of {len(self.media)} media needs one piece of text more, has {len(self.pieces)}")

    @property
    def text_tokens(self) -> int:
        """Number of text tokens."""
        return sum(map(len, self.pieces))

    def split(self) -> tuple["Prompt", "Prompt"]:
        """Split after the last medium: the first part is what questions about the same media share.

        >>> [part.pieces for part in Prompt(pieces=((1, 2), (3,)), media=("image",)).split()]
        [((1, 2), ()), ((3,),)]
        """
        head = Prompt(pieces=(*self.pieces[:-1], ()), media=self.media) if self.media else Prompt(pieces=((),))
        return head, Prompt(pieces=(self.pieces[-1],))


class Chat:
    """A tokenizer with its own chat template. Safe in any thread."""

    def __init__(self, tokenizer: Any, *, style: Literal["template", "plain"], media: Sequence[Medium]) -> None:
        """Add one marker token per medium to the tokenizer, in memory only.

        Raises:
            BadCheckpoint: ``style`` is template and the tokenizer has none.
        """
        from tokenizers import AddedToken

        if style == "template" and not tokenizer.chat_template:
            raise BadCheckpoint(
                f'the tokenizer of {tokenizer.name_or_path} has no chat template; set chat = "plain" for a base model'
            )
        self.tokenizer = tokenizer
        self._style = style
        # A fast tokenizer's Rust half is borrowed mutably during a call: two threads at once would fail.
        self.lock = threading.Lock()
        markers: list[tuple[str, Medium]] = [(MARKER.format(medium), medium) for medium in media]
        tokenizer.add_tokens([AddedToken(marker, special=True, normalized=False) for marker, _ in markers])
        self._literal = LiteralText(tokenizer)
        self._prompt_tokenizer = PromptTokenizer(tokenizer, self._literal)
        self._medium_of = {tokenizer.convert_tokens_to_ids(marker): medium for marker, medium in markers}

    def prompt(self, turns: Sequence[Turn], answer_prefix: str = "") -> Prompt:
        """The conversation up to where the model's answer, or its continuation, starts.

        Args:
            turns: system and user messages.
            answer_prefix: the start of the answer, given to the model.

        Raises:
            BadData: the template takes no such conversation.
        """
        return self.split_at_media(self._encode(self._render(turns, answer_prefix or None)))

    def options(
        self, turns: Sequence[Turn], options: Sequence[str], answer_prefix: str = ""
    ) -> tuple[Prompt, OptionTokenIds]:
        """The prompt, and the token ids that each option adds to it.

        The whole conversation is tokenised once with each option as the model's answer, so that spaces and merges
        between prompt and answer are those of the template. The prompt returned is the prefix that all of these share
        with the conversation without an answer.

        Raises:
            BadData: an empty option, or one that changes the prompt before a medium.
            RequestFailed: an option that adds no token.
        """
        if not all(option.strip() for option in options):
            raise BadData(f"one of the options {list(options)} is empty; it cannot be ranked")
        bare = self._encode(self._render(turns, answer_prefix or None))
        answers = [join_with_space(answer_prefix, option) for option in options]
        shared, ids = option_token_ids(bare, [self._encode(self._render(turns, answer)) for answer in answers])
        prompt = self.split_at_media(bare[:shared])
        if len(prompt.media) != sum(map(self.is_place, bare)):
            raise BadData("the chat template rewrites the text before the media for each answer; it cannot rank")
        if any(self.is_place(token) for option in ids for token in option):
            raise BadData("the chat template writes media after the answer; it cannot rank")
        return prompt, ids

    def ids(self, turns: Sequence[Turn], *, opened: bool) -> list[int]:
        """A conversation's ids with a marker for each medium.

        Args:
            turns: its messages.
            opened: whether it ends where the next answer starts, as in ``prompt``, or is complete.

        Raises:
            BadData: the template takes no such conversation.
        """
        messages = [{"role": turn.role, "content": self._content(turn)} for turn in turns]
        return self._encode(self._written(messages, opened=opened, cut=False))

    def is_place(self, token: int) -> bool:
        """Whether a token marks the place of a medium."""
        return token in self._medium_of

    def _render(self, turns: Sequence[Turn], answer: str | None) -> str:
        """The conversation as one text with markers: open for the model's answer, or cut right after ``answer``."""
        messages = [{"role": turn.role, "content": self._content(turn)} for turn in turns]
        if answer is not None:
            messages.append({"role": "assistant", "content": self._literal.guard(answer)})
        return self._written(messages, opened=answer is None, cut=answer is not None)

    def _written(self, messages: Sequence[Mapping[str, str]], *, opened: bool, cut: bool) -> str:
        """Messages through the template: ``opened`` for an answer, or ``cut`` right after the last one's text."""
        if self._style == "plain":
            return _plain(messages)
        try:
            rendered = render_template(
                self.tokenizer.get_chat_template(),
                list(messages),
                self.tokenizer.special_tokens_map,
                opened=opened,
                cut=cut,
            )
        except RequestFailed as error:
            roles = ", ".join(message["role"] for message in messages)
            why = self._literal.unguard(str(error))
            raise BadData(f"the chat template of {self.tokenizer.name_or_path} refuses {roles}: {why}") from None
        return rendered

    def _content(self, turn: Turn) -> str:
        parts = []
        for part in turn.parts:
            if isinstance(part, Slot):
                if part.medium not in self._medium_of.values():
                    known = ", ".join(self._medium_of.values())
                    raise BadData(f"the prompt has a place for {part.medium}; this network takes {known}")
                parts.append(MARKER.format(part.medium))
            else:
                parts.append(self._literal.guard(part))
        return "".join(parts)

    def _encode(self, text: str) -> list[int]:
        with self.lock:
            # A template writes the first token itself; a plain text needs the tokenizer's.
            ids: list[int] = self._prompt_tokenizer(text, add_special_tokens=self._style == "plain")["input_ids"]
        if self._style == "plain" and ids and ids[-1] == self.tokenizer.eos_token_id:
            ids = ids[:-1]  # some tokenizers append the end token to every text: it would end the answer at once
        return ids

    def split_at_media(self, ids: Sequence[int]) -> Prompt:
        """Ids with markers -> pieces of text with places between them."""
        pieces: list[list[int]] = [[]]
        media = []
        for token in ids:
            if token in self._medium_of:
                media.append(self._medium_of[token])
                pieces.append([])
            else:
                pieces[-1].append(token)
        return Prompt(pieces=tuple(map(tuple, pieces)), media=tuple(media))


def _plain(messages: Sequence[Mapping[str, str]]) -> str:
    """Texts joined by blank lines, an answer by a space."""
    text = ""
    for place, message in enumerate(messages):
        if message["role"] == "assistant":
            text = join_with_space(text, message["content"])
        else:
            text += ("\n\n" if place else "") + message["content"]
    return text
