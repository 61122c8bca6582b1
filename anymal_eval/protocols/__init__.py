"""How a paper asked: wording, decoding, cleaning and extraction, one TOML a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from anymal_eval import catalog
from anymal_eval.records import AnswerKind, Decoding

DEFAULT = "plain"

Candidates = Literal["none", "options", "letters", "yes_no", "yes_no_true_false"]
OptionStyle = Literal["lines", "inline", "lower", "named", "text"]


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """How one kind of question is put to a model, and how its answer is to be read.

    The texts may name ``{media}``, ``{question}``, ``{options}``, ``{instruction}`` and what the example's context
    holds (``{hint}``, ``{ocr}``, ``{ocr_tokens}``). A line that names one of the latter or ``{instruction}``, and no
    other, is left out where that is empty. ``{media}`` stands where the media go; without it they come first in the
    user's message.

    Attributes:
        system, user, answer_prefix: the texts; the prefix begins the model's own turn.
        options: ``lines`` is ``A. x`` a line, ``inline`` is ``(A) x (B) y``, ``lower`` is ``(a) x (b) y``, ``named`` is
            ``Option A: x. Option B: y.``, ``text`` is ``x, y``.
        candidates: what is ranked by log-likelihood: nothing (text is generated), the options' texts, their
            letters, ``yes``/``no``, or those with ``true``/``false`` beside them.
        length_normalise: candidates are compared by log p a token instead of by their sums.
        question: ``blip`` lower-cases it, strips some punctuation and cuts it at 50 words, as BLIP-2's code does;
            ``blip-caption`` puts spaces for the punctuation, as InstructBLIP's configurations do.
        frames: pictures taken from a clip.
        unwrap: ``json-caption`` takes the text out of ``{"caption": "..."}``.
        clean: a named cleaning of the answer before the metric.
        extract: a named rule that reads a choice out of text; empty: the task's own.
        split: the split that the paper reports, by the task's own name for it; empty: not known, or the task's default.
        source: where it is printed, or the code it was read in.
        ours: what is our choice because the paper is silent.
    """

    user: str
    system: str = ""
    answer_prefix: str = ""
    options: OptionStyle = "lines"
    candidates: Candidates = "none"
    length_normalise: bool = False
    question: Literal["none", "blip", "blip-caption"] = "none"
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
    """A named way of asking. A task it does not name is asked in the model's own wording.

    ``clean`` and ``extract`` hold for the tasks that have no entry of their own; ``name`` is the file's.
    """

    name: str = ""
    summary: str
    paper: str = ""
    clean: str = "none"
    extract: str = ""
    tasks: Mapping[str, Phrase] = field(default_factory=dict)


def get(name: str, extra: Sequence[Path] = ()) -> Protocol:
    """The protocol of that name.

    Raises:
        NotInCatalog: there is none.
        BadDefinition: its file has an unknown key or a wrong value.
    """
    from anymal_eval.codec import read_toml

    return replace(read_toml(Protocol, catalog.protocols(extra).file(name)), name=name)
