"""The one place where a request is worded: the protocol's words first, then the model's, then the task's."""

import re
import string
from collections.abc import Mapping

from anymal_eval.errors import BadDefinition
from anymal_eval.protocols import Phrase, Protocol, Wording
from anymal_eval.records import Example, Media, Message, Request
from anymal_eval.task import Task

YES_NO = ("no", "yes")
# What an example may lack: the line of the template that asks for it is then left out.
OPTIONAL = ("instruction", "hint", "ocr", "ocr_tokens")
PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
# The question clean-up of BLIP-2's released code: these characters go, and all after the fiftieth word.
BLIP_STRIPPED = re.compile(r"[.!\"()*#:;~]")
BLIP_WORDS = 50


def phrase_for(task: Task, wording: Wording, protocol: Protocol) -> Phrase:
    """The words that count for this task: the protocol's, else the model's for this kind of answer.

    Raises:
        BadDefinition: neither the protocol nor the model words this kind of question.
    """
    phrase = protocol.tasks.get(task.name) or wording.get(task.kind)
    if phrase is None:
        raise BadDefinition(f"neither the protocol nor the model has words for {task.kind}, which {task.name} asks")
    return phrase


def build_request(example: Example, task: Task, wording: Wording, protocol: Protocol) -> Request:
    """Put one example into the words of a protocol or a model. It takes no reference along.

    Raises:
        BadDefinition: the words name something that the example does not have.
    """
    phrase = phrase_for(task, wording, protocol)
    values = {
        **dict.fromkeys(OPTIONAL, ""),
        **example.context,
        "question": _question(example.question, phrase),
        "options": render_options(example.options, phrase),
        "instruction": task.instruction,
    }
    messages = []
    if phrase.system:
        messages.append(Message(role="system", parts=_parts(phrase.system, values, example.media, task.name)))
    placed = "{media}" in phrase.system + phrase.user
    parts = _parts(phrase.user, values, example.media, task.name)
    messages.append(Message(role="user", parts=parts if placed else (*example.media, *parts)))
    return Request(
        id=example.id,
        messages=tuple(messages),
        answer_prefix=phrase.answer_prefix,
        candidates=candidates(example, phrase),
        length_normalise=phrase.length_normalise,
        decoding=phrase.decoding,
        frames=phrase.frames,
    )


def candidates(example: Example, phrase: Phrase) -> tuple[str, ...]:
    """What is ranked, in the order of the example's options; nothing where text is generated."""
    match phrase.candidates:
        case "none":
            return ()
        case "options":
            return example.options
        case "letters":
            return tuple(string.ascii_uppercase[: len(example.options)])
        case "yes_no":
            return YES_NO


def render_options(options: tuple[str, ...], phrase: Phrase) -> str:
    """The options as the prompt shows them."""
    lettered = list(zip(string.ascii_uppercase, options, strict=False))
    match phrase.options:
        case "lines":
            return "\n".join(f"{letter}. {option}" for letter, option in lettered)
        case "inline":
            return " ".join(f"({letter}) {option}" for letter, option in lettered)
        case "text":
            return ", ".join(options)


def _question(question: str, phrase: Phrase) -> str:
    if phrase.question == "none":
        return question
    words = BLIP_STRIPPED.sub("", question.lower()).rstrip(" ").split(" ")
    return " ".join(words[:BLIP_WORDS])


def _parts(template: str, values: Mapping[str, str], media: tuple[Media, ...], task: str) -> tuple[str | Media, ...]:
    parts: list[str | Media] = []
    for piece in re.split(r"(\{media\})", "\n".join(_lines(template, values, task))):
        if piece == "{media}":
            parts.extend(media)
        elif piece:
            parts.append(piece)
    return tuple(parts)


def _lines(template: str, values: Mapping[str, str], task: str) -> list[str]:
    lines = []
    for line in template.split("\n"):
        names = [name for name in PLACEHOLDER.findall(line) if name != "media"]
        unknown = [name for name in names if name not in values]
        if unknown:
            raise BadDefinition(f"the words for {task} name {{{unknown[0]}}}, which its examples do not have")
        if len(names) == 1 and names[0] in OPTIONAL and not values[names[0]]:
            continue
        lines.append(PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), line))
    return lines
