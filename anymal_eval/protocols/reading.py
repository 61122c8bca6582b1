"""Reads answers from responses: unwraps, cleans, and extracts the choice."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from anymal_eval.errors import BadDefinition
from anymal_eval.generation.thinking import split
from anymal_eval.protocols import Protocol, Wording
from anymal_eval.protocols.cleaning import CLEANING, unavailable
from anymal_eval.protocols.extraction import NAMES as EXTRACTION
from anymal_eval.protocols.extraction import extract, yes_or_no
from anymal_eval.protocols.prompting import YES_NO, YES_NO_TRUE_FALSE, phrase_for
from anymal_eval.records import Answer, Example, Response
from anymal_eval.task import Task

TRUNCATED = "truncated: its thinking does not end; --thinking-tokens sets how long it may be"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the responses to one task are read; all fields are part of the signature."""

    clean: str = "none"
    extract: str = "letter"
    unwrap: Literal["none", "json-caption"] = "none"
    length_normalise: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown rules before a request is run."""
        if self.clean not in CLEANING:
            raise BadDefinition(f"no cleaning named {self.clean!r}; there are {', '.join(CLEANING)}")
        if self.extract not in EXTRACTION:
            raise BadDefinition(f"no extraction named {self.extract!r}; there are {', '.join(EXTRACTION)}")


def reading_text(reading: Mapping[str, Any]) -> str:
    """How answers are read, in words, from the fields of a ``Reading``.

    >>> reading_text({"clean": "none", "extract": "letter", "unwrap": "none"})
    'unwrap none, clean none, extract letter'
    """
    return ", ".join(f"{name} {reading[name]}" for name in ("unwrap", "clean", "extract") if name in reading)


def reading_for(task: Task, wording: Wording, protocol: Protocol) -> Reading:
    """The reading rules of a task: from the protocol's entry, else the model's template, else the protocol or the task.

    A cleaning whose package is not installed becomes ``none``, so that the signature states what was done;
    ``cleaning_warning`` gives the reason.
    """
    phrase = phrase_for(task, wording, protocol)
    clean = _clean(phrase.clean, protocol)
    return Reading(
        clean="none" if unavailable(clean) else clean,
        extract=protocol.user_extract or phrase.extract or protocol.extract or task.extract,
        unwrap=phrase.unwrap,
        length_normalise=phrase.length_normalise,
    )


def cleaning_warning(task: Task, wording: Wording, protocol: Protocol) -> str:
    """One line for the user where ``reading_for`` leaves out a cleaning of the protocol; else empty."""
    clean = _clean(phrase_for(task, wording, protocol).clean, protocol)
    why = unavailable(clean)
    return f"{task.name}: read without the cleaning {clean!r} of the protocol: {why}" if why else ""


def _clean(named: str, protocol: Protocol) -> str:
    return named if named != "none" else protocol.clean


def read_response(response: Response, example: Example, reading: Reading) -> Answer:
    """The answer in a response, without the thinking before it. A failure becomes the state ``error``.

    Thinking that does not end is the state ``error`` too: there is no answer, and nothing is guessed.

    Option scores are compared as sums, or per token under ``length_normalise``; ties go to the first option.
    """
    if response.failure is not None:
        return Answer(state="error", text=response.failure.message)
    if response.option_scores is not None:
        return _read_scores(response, example, reading)
    text = response.answer or ""
    thought = split(text)
    if thought is not None and thought.answer is not None:
        text = thought.answer
    elif thought is not None or (response.thinking and response.finish == "length" and not text.strip()):
        return Answer(state="error", text=TRUNCATED)
    if reading.unwrap == "json-caption":
        text = unwrap_json_caption(text)
    text = CLEANING[reading.clean](text)
    if not text.strip():
        return Answer(state="empty", text=text)
    if example.kind == "choice":
        choice = extract(reading.extract, text, example.options)
        return Answer(state="unparsable" if choice is None else "ok", text=text, choice=choice)
    if example.kind == "yes_no":
        word = yes_or_no(reading.extract, text)
        if word not in YES_NO:
            return Answer(state="unparsable", text=text)
        return Answer(state="ok", text=text, choice=YES_NO.index(word))
    return Answer(state="ok", text=text)


def _read_scores(response: Response, example: Example, reading: Reading) -> Answer:
    scores = list(response.option_scores or ())
    expected = (len(example.options), len(YES_NO_TRUE_FALSE) if example.kind == "yes_no" else len(example.options))
    if len(scores) not in expected:
        message = f"{len(scores)} option scores for {len(example.options)} options"
        return Answer(state="error", text=message)
    if not all(math.isfinite(score) for score in scores):
        return Answer(state="error", text=f"option scores are not finite: {scores}")
    if reading.length_normalise and response.option_tokens is not None:
        scores = [score / max(tokens, 1) for score, tokens in zip(scores, response.option_tokens, strict=True)]
    if example.kind != "yes_no":
        choice = scores.index(max(scores))
        return Answer(state="ok", text=example.options[choice], choice=choice)
    # The candidates alternate between no and yes; the probabilities of each side's words add up.
    no, yes = _log_sum(scores[0::2]), _log_sum(scores[1::2])
    choice = int(yes > no)
    p_yes = 1.0 / (1.0 + math.exp(min(no - yes, 700.0)))
    return Answer(state="ok", text=example.options[choice], choice=choice, p_yes=p_yes)


def _log_sum(scores: list[float]) -> float:
    top = max(scores)
    return top + math.log(sum(math.exp(score - top) for score in scores))


def unwrap_json_caption(text: str) -> str:
    """The caption in the first JSON object of the text that has one; else the text itself.

    AnyMAL's prompt requests JSON and shows an invalid example (without its closing quote), so a single missing quote is
    accepted.

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
        except (json.JSONDecodeError, RecursionError):
            end = text.find("}", start)
            found = _forgiving(text[start:end]) if end != -1 else None
        if isinstance(found, dict) and isinstance(found.get("caption"), str):
            # JSON can escape half of a surrogate pair, which cannot be encoded in UTF-8.
            return str(found["caption"]).encode("utf-8", "replace").decode("utf-8")
        start = text.find("{", start + 1)
    return text


def _forgiving(opened: str) -> object:
    try:
        return json.loads(opened + '"}')
    except (json.JSONDecodeError, RecursionError):
        return None
