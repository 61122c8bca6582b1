"""The one place where a response is read: unwrapped, cleaned, and a choice taken out of it."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from anymal_eval.errors import BadDefinition
from anymal_eval.protocols import Protocol, Wording
from anymal_eval.protocols.extraction import RULES as EXTRACTION
from anymal_eval.protocols.prompting import YES_NO, phrase_for
from anymal_eval.records import Answer, Example, Response
from anymal_eval.task import Task


def clean_m4c_upload(text: str) -> str:
    """The TextVQA (m4c) normal form, in which LLaVA and OpenFlamingo upload VQA answers."""
    from anymal_eval.metrics._vqa_text import normalise_m4c

    return normalise_m4c(text)


CLEANING: Mapping[str, Callable[[str], str]] = {
    "none": lambda text: text,
    "strip": str.strip,
    "m4c-upload": clean_m4c_upload,
}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the responses to one task are read; all of it stands in the signature."""

    clean: str = "none"
    extract: str = "letter"
    unwrap: Literal["none", "json-caption"] = "none"
    length_normalise: bool = False

    def __post_init__(self) -> None:
        """Refuse rules that do not exist, before anything is asked."""
        if self.clean not in CLEANING:
            raise BadDefinition(f"no cleaning named {self.clean!r}; there are {', '.join(CLEANING)}")
        if self.extract not in EXTRACTION:
            raise BadDefinition(f"no extraction named {self.extract!r}; there are {', '.join(EXTRACTION)}")


def reading_for(task: Task, wording: Wording, protocol: Protocol) -> Reading:
    """How this task is read: the entry of the protocol, else the model's words, else the protocol's or task's rule."""
    phrase = phrase_for(task, wording, protocol)
    return Reading(
        clean=phrase.clean if phrase.clean != "none" else protocol.clean,
        extract=phrase.extract or protocol.extract or task.extract,
        unwrap=phrase.unwrap,
        length_normalise=phrase.length_normalise,
    )


def read_response(response: Response, example: Example, reading: Reading) -> Answer:
    """What the response says. A failure stays an error; nothing is guessed.

    Option scores are compared as they are, or by token where the reading says so; equal ones give the first.
    """
    if response.failure is not None:
        return Answer(state="error", text=response.failure.message)
    if response.option_scores is not None:
        return _read_scores(response, example, reading)
    text = response.answer or ""
    if reading.unwrap == "json-caption":
        text = unwrap_json_caption(text)
    text = CLEANING[reading.clean](text)
    if not text.strip():
        return Answer(state="empty", text=text)
    if example.kind == "choice":
        choice = EXTRACTION[reading.extract](text, len(example.options))
        return Answer(state="unparsable" if choice is None else "ok", text=text, choice=choice)
    if example.kind == "yes_no":
        word = text.strip().rstrip(".").lower()
        if word not in YES_NO:
            return Answer(state="unparsable", text=text)
        return Answer(state="ok", text=text, choice=YES_NO.index(word))
    return Answer(state="ok", text=text)


def _read_scores(response: Response, example: Example, reading: Reading) -> Answer:
    scores = list(response.option_scores or ())
    if len(scores) != len(example.options):
        message = f"{len(scores)} option scores for {len(example.options)} options"
        return Answer(state="error", text=message)
    if not all(math.isfinite(score) for score in scores):
        return Answer(state="error", text=f"option scores are not finite: {scores}")
    if reading.length_normalise and response.option_tokens is not None:
        scores = [score / max(tokens, 1) for score, tokens in zip(scores, response.option_tokens, strict=True)]
    choice = scores.index(max(scores))
    p_yes = None
    if example.kind == "yes_no":
        p_yes = 1.0 / (1.0 + sum(math.exp(min(other - scores[1], 700.0)) for other in scores[:1]))
    return Answer(state="ok", text=example.options[choice], choice=choice, p_yes=p_yes)


def unwrap_json_caption(text: str) -> str:
    """The caption in the first JSON object of the text that has one; the text itself where there is none.

    AnyMAL's prompt asks for JSON and shows an example that is itself no valid JSON (its closing quote is missing),
    so a lone missing quote is forgiven.

    >>> unwrap_json_caption('Sure: {"caption": "A man."} Generic.')
    'A man.'
    >>> unwrap_json_caption('{"caption": "A man.}')
    'A man.'
    >>> unwrap_json_caption("A man.")
    'A man.'
    """
    start = text.find("{")
    while start != -1:
        try:
            found, _ = json.JSONDecoder().raw_decode(text[start:])
        except json.JSONDecodeError:
            end = text.find("}", start)
            found = _forgiving(text[start:end]) if end != -1 else None
        if isinstance(found, dict) and isinstance(found.get("caption"), str):
            return str(found["caption"])
        start = text.find("{", start + 1)
    return text


def _forgiving(opened: str) -> object:
    try:
        return json.loads(opened + '"}')
    except json.JSONDecodeError:
        return None
