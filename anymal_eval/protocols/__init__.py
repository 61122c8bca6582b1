"""Protocols: how a paper prompts a model and reads its answers, one TOML file per paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from anymal_eval import catalog
from anymal_eval.protocols.overrides import NONE, Overrides
from anymal_eval.records import AnswerKind, Decoding, MediaOrder

DEFAULT = "plain"

Candidates = Literal["none", "options", "letters", "yes_no", "yes_no_true_false"]
OptionStyle = Literal["lines", "inline", "lower", "named", "text"]


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """The prompt template for one kind of question, and the rules for reading its answer.

    The texts may contain ``{media}``, ``{question}``, ``{options}``, ``{instruction}`` and keys of the example's
    context (``{hint}``, ``{ocr}``, ``{ocr_tokens}``). A line whose only placeholder is ``{instruction}`` or a key of
    the context is left out where its value is empty; one that names ``{media}`` too stays. Media replace ``{media}``;
    without it they are put where ``order`` says.

    Attributes:
        system, user, answer_prefix: the texts; ``answer_prefix`` starts the model's turn.
        options: ``lines`` is ``A. x`` per line, ``inline`` is ``(A) x (B) y``, ``lower`` is ``(a) x (b) y``, ``named``
            is ``Option A: x. Option B: y.``, ``text`` is ``x, y``.
        candidates: the texts to rank by log-likelihood: none (text is generated), the options' texts, their letters,
            ``yes``/``no``, or these with ``true``/``false``.
        length_normalise: compare candidates by log-probability per token instead of by their sums.
        question: ``blip`` lower-cases the question, strips some punctuation and cuts it at 50 words, as BLIP-2's code
            does; ``blip-caption`` replaces the punctuation by spaces, as InstructBLIP's configurations do.
        default_question: stands for ``{question}`` where an example has none: a caption's usual prompt.
        order: ``media-first`` puts media before the user's text, ``instruction-first`` after it, ``system-first`` at
            the end of the system message. Empty: the protocol's, else the model's, else media first. Where the
            template has ``{media}``, the order that it names must be the template's.
        frames: the number of frames sampled from a video.
        unwrap: ``json-caption`` takes the text out of ``{"caption": "..."}``.
        clean: the name of a cleaning applied to the answer before the metric.
        extract: the name of a rule that reads a choice from text; empty: the task's own rule.
        split: the split that the paper reports, by the task's own name; empty: unknown, or the task's default.
        source: the page or the code that states it.
        ours: choices of this project where the paper states nothing.
    """

    user: str
    system: str = ""
    answer_prefix: str = ""
    options: OptionStyle = "lines"
    candidates: Candidates = "none"
    length_normalise: bool = False
    question: Literal["none", "blip", "blip-caption"] = "none"
    default_question: str = ""
    order: MediaOrder | Literal[""] = ""
    frames: int = 8
    decoding: Decoding = Decoding()
    unwrap: Literal["none", "json-caption"] = "none"
    clean: str = "none"
    extract: str = ""
    split: str = ""
    source: str = ""
    ours: tuple[str, ...] = ()


Wording = Mapping[AnswerKind, Phrase]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A named set of prompts and reading rules. A task without an entry uses the model's own wording.

    ``clean`` and ``extract`` apply to tasks without an entry of their own, ``order`` to all prompts that do not name
    theirs; ``name`` is the file's name. ``user_extract`` is the rule of ``--extract``, ``overrides`` are other settings
    of the user's: they go before all others.
    """

    name: str = ""
    summary: str
    paper: str = ""
    clean: str = "none"
    extract: str = ""
    order: MediaOrder | Literal[""] = ""
    user_extract: str = ""
    overrides: Overrides = NONE
    tasks: Mapping[str, Phrase] = field(default_factory=dict)


def get(name: str, extra: Sequence[Path] = ()) -> Protocol:
    """The protocol of that name.

    Raises:
        NotInCatalog: there is no such protocol.
        BadDefinition: its file has an unknown key or an invalid value.
    """
    from anymal_eval.codec import read_toml

    return replace(read_toml(Protocol, catalog.protocols(extra).file(name)), name=name, user_extract="", overrides=NONE)


def with_extract(protocol: Protocol, rule: str | None) -> Protocol:
    """The protocol, with a rule of the user's own for reading choices.

    Raises:
        WrongUse: there is no such rule.
    """
    from anymal_eval.errors import WrongUse
    from anymal_eval.protocols.extraction import NAMES

    if rule is None:
        return protocol
    if rule not in NAMES:
        raise WrongUse(f"--extract {rule}: there is no such rule; there are {', '.join(NAMES)}")
    return replace(protocol, user_extract=rule)
