"""Builds requests from examples: the protocol's template, else the model's, with the task's instruction."""

import re
import string
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from anymal_eval.codec import encode
from anymal_eval.errors import BadDefinition
from anymal_eval.protocols import Phrase, Protocol, Wording
from anymal_eval.records import Decoding, Example, Media, MediaOrder, Message, Request, media_order, with_media
from anymal_eval.task import Task

YES_NO = ("no", "yes")
# No and yes, each with the second word that InstructBLIP adds to it.
YES_NO_TRUE_FALSE = ("no", "yes", "false", "true")
# Values that may be empty: the line of the template that names one is then left out.
OPTIONAL = ("instruction", "hint", "ocr", "ocr_tokens")
_NONE = dict.fromkeys(OPTIONAL, "")
PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
# The question clean-up of BLIP-2's released code: it removes these characters, and all after the fiftieth word.
BLIP_STRIPPED = re.compile(r"[.!\"()*#:;~]")
BLIP_WORDS = 50


def phrase_for(task: Task, wording: Wording, protocol: Protocol) -> Phrase:
    """The template for this task: the protocol's, else the model's for this kind of answer.

    Raises:
        BadDefinition: neither the protocol nor the model has one.
    """
    phrase = protocol.tasks.get(task.name) or wording.get(task.kind)
    if phrase is None:
        raise BadDefinition(f"neither the protocol nor the model has a prompt for {task.kind}, the kind of {task.name}")
    return phrase


def build_request(example: Example, task: Task, wording: Wording, protocol: Protocol) -> Request:
    """Build the request for one example; :class:`RequestBuilder` builds many."""
    return RequestBuilder(task, wording, protocol).build(example)


class RequestBuilder:
    """Builds the requests of one task in one wording. They hold no reference answers."""

    def __init__(self, task: Task, wording: Wording, protocol: Protocol) -> None:
        """Look up what all requests share.

        Raises:
            BadDefinition: neither the protocol nor the model has a prompt for such a task.
            WrongUse: the user's settings of decoding do not go with the protocol's.
        """
        self._task = task
        self.phrase = phrase = phrase_for(task, wording, protocol)
        self.decoding = protocol.overrides.decoding(phrase.decoding)
        self._system = protocol.overrides.system
        in_system, overridden = "{media}" in phrase.system, self._system is not None
        self._has_place = "{media}" in phrase.user or (in_system and not overridden)
        # Where the user's system message replaces that with their place, they come first.
        self._order = "media-first" if overridden and in_system else order_for(task, phrase, protocol)
        self._bare: list[str] = []

    @property
    def words(self) -> dict[str, Any]:
        """All that the requests depend on beside the examples, as plain data."""
        return {
            "task": [self._task.name, self._task.instruction],
            "phrase": encode(self.phrase),
            "decoding": encode(self.decoding),
            "system": self._system,
            "order": self._order,
        }

    def build(self, example: Example) -> Request:
        """The request for one example.

        Raises:
            BadDefinition: the template names a value that the example does not have, or has its media elsewhere than
                the order says.
        """
        phrase = self.phrase
        return Request(
            id=example.id,
            messages=self.messages(example),
            answer_prefix=phrase.answer_prefix,
            candidates=candidates(example, phrase),
            length_normalise=phrase.length_normalise,
            decoding=self.decoding,
            frames=phrase.frames,
        )

    def messages(self, example: Example) -> tuple[Message, ...]:
        """The messages of its request; raises what :meth:`build` does."""
        phrase, task, system = self.phrase, self._task, self._system
        values = {
            **_NONE,
            **example.context,
            "question": self.question(example),
            "options": render_options(example.options, phrase) if example.options else "",
            "instruction": task.instruction,
        }
        if example.context:
            pieces = _flat(_kept_lines(phrase.user, values, task.name))
        else:  # without values of its own, the lines that are kept are those of any other
            pieces = self._bare = self._bare or _flat(_kept_lines(phrase.user, values, task.name))
        parts, order = _filled(pieces, values, example.media), self._order or "media-first"
        is_placed = self._has_place or order != "system-first"
        if example.media and not self._has_place and is_placed:
            parts = (*example.media, *parts) if order == "media-first" else (*parts, *example.media)
        messages: tuple[Message, ...] = (Message(role="user", parts=parts),)
        if system:
            messages = (Message(role="system", parts=(system,)), *messages)
        elif phrase.system and system is None:
            lines = _flat(_kept_lines(phrase.system, values, task.name))
            messages = (Message(role="system", parts=_filled(lines, values, example.media)), *messages)
        if self._has_place:
            self._require_order(messages)
        return messages if is_placed or not example.media else with_media(messages, example.media, order)

    def question(self, example: Example) -> str:
        """The question as the template gets it."""
        phrase = self.phrase
        return _question(example.question, phrase) if example.question.strip() else phrase.default_question

    def _require_order(self, messages: Sequence[Message]) -> None:
        order, found = self._order, media_order(messages)
        if None not in (found, order) and found != order:
            raise BadDefinition(f"the prompt {self.phrase.user!r} has {{media}} {found}, and its order is {order}")


def order_for(task: Task, phrase: Phrase, protocol: Protocol) -> MediaOrder | None:
    """Where the prompts of a task have their media: as the task's phrase says, the protocol, the model's own phrase.

    None where nothing names it.
    """
    own = task.name in protocol.tasks
    return (phrase.order if own else "") or protocol.order or phrase.order or None


def candidates(example: Example, phrase: Phrase) -> tuple[str, ...]:
    """The candidates to rank, in the order of the example's options; empty where text is generated."""
    match phrase.candidates:
        case "none":
            return ()
        case "options":
            return example.options
        case "letters":
            return tuple(string.ascii_uppercase[: len(example.options)])
        case "yes_no":
            return YES_NO
        case "yes_no_true_false":
            return YES_NO_TRUE_FALSE


def render_options(options: tuple[str, ...], phrase: Phrase) -> str:
    """The options as text for the prompt."""
    lettered = list(zip(string.ascii_uppercase, options, strict=False))
    match phrase.options:
        case "lines":
            return "\n".join(f"{letter}. {option}" for letter, option in lettered)
        case "inline":
            return " ".join(f"({letter}) {option}" for letter, option in lettered)
        case "lower":
            return " ".join(f"({letter.lower()}) {option}" for letter, option in lettered)
        case "named":
            return " ".join(f"Option {letter}: {option.removesuffix('.')}." for letter, option in lettered)
        case "text":
            return ", ".join(options)


def decoding_text(decoding: Decoding) -> str:
    """How an answer is generated, in words.

    >>> decoding_text(Decoding(beams=5, stop=(".",)))
    "0 to 32 tokens, 5 beams, length penalty 1, stop at ['.']"
    >>> decoding_text(Decoding(temperature=0.7, thinking="on", thinking_tokens=100))
    '0 to 32 tokens, sampled: temperature 0.7, top_p 1, seed 0, thinking on, up to 100 tokens'
    """
    how = f"{decoding.beams} beams, length penalty {decoding.length_penalty:g}" if decoding.beams > 1 else "greedy"
    if decoding.temperature > 0:
        how = f"sampled: temperature {decoding.temperature:g}, top_p {decoding.top_p:g}, seed {decoding.seed}"
    stop = f", stop at {list(decoding.stop)}" if decoding.stop else ""
    thinking = f", thinking {decoding.thinking}" if decoding.thinking != "auto" else ""
    tokens = f", up to {decoding.thinking_tokens} tokens" if decoding.thinking_tokens is not None else ""
    return f"{decoding.min_new_tokens} to {decoding.max_new_tokens} tokens, {how}{stop}{thinking}{tokens}"


def way_of(request: Request) -> tuple[str, str]:
    """How a request is answered, by ranked candidates or by generated text, and what that depends on.

    >>> way_of(Request(id="1", messages=(), candidates=("no", "yes"), length_normalise=True))
    ('ranked', 'log p a token')
    """
    if request.candidates:
        return "ranked", "log p a token" if request.length_normalise else "sum of log p"
    return "generated", decoding_text(request.decoding)


def _question(question: str, phrase: Phrase) -> str:
    match phrase.question:
        case "none":
            return question
        case "blip":
            cleaned = BLIP_STRIPPED.sub("", question.lower()).rstrip(" ")
        case "blip-caption":
            cleaned = re.sub(r"\s{2,}", " ", BLIP_STRIPPED.sub(" ", question.lower())).rstrip("\n").strip(" ")
    return " ".join(cleaned.split(" ")[:BLIP_WORDS])


def _flat(lines: list[list[str]]) -> list[str]:
    """The pieces of lines, texts and placeholders by turns, as those of one text; line breaks are part of the texts."""
    flat = [""]
    for at, pieces in enumerate(lines):
        flat[-1] += f"\n{pieces[0]}" if at else pieces[0]
        flat += pieces[1:]
    return flat


def _filled(pieces: list[str], values: Mapping[str, str], media: tuple[Media, ...]) -> tuple[str | Media, ...]:
    # Filled piece by piece instead of by str.replace: a question may itself contain "{media}" or "{ocr}".
    parts: list[str | Media] = []
    text = ""
    for index, piece in enumerate(pieces):
        if index % 2 == 0:
            text += piece
        elif piece == "media":
            parts.extend([text, *media] if text else media)
            text = ""
        else:
            text += values[piece]
    return (*parts, text) if text else tuple(parts)


def _kept_lines(template: str, values: Mapping[str, str], task: str) -> list[list[str]]:
    lines = []
    for pieces, names in _pieces(template):
        for name in names:
            if name not in values:
                raise BadDefinition(f"the prompt for {task} names {{{name}}}, which its examples do not have")
        if len(names) == 1 and names[0] in OPTIONAL and not values[names[0]] and "media" not in pieces[1::2]:
            continue
        lines.append(pieces)
    return lines


@lru_cache
def _pieces(template: str) -> list[tuple[list[str], list[str]]]:
    """Of each line the texts with the placeholders between them, and the placeholders' names but for the media's."""
    split = [PLACEHOLDER.split(line) for line in template.split("\n")]
    return [(pieces, [name for name in pieces[1::2] if name != "media"]) for pieces in split]
