"""What a file of answers holds, whatever its layout: the records that layouts make and matching reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from anymal_eval.records import record


@dataclass(frozen=True, kw_only=True)
class Options:
    """What ``-o name=value`` may set.

    Attributes:
        checkpoint: the file (``--model replay:FILE``).
        field: the part of a ScienceQA result file to read.
        subset: ``answered`` leaves out examples without an answer in the file, which are errors otherwise.
        extract: the rule that reads a choice from text; empty for the rule of the file's layout.
        layout: the file's layout; empty to recognise it.
        filter: of lm-eval's rows, those of this filter; empty for the first one.
        epoch: of inspect's samples, those of this epoch; of HELM's, the trial after ``epoch - 1`` others.
    """

    checkpoint: str
    field: Literal["results", "outputs"] = "results"
    subset: Literal["", "answered"] = ""
    extract: str = ""
    layout: str = ""
    filter: str = ""
    epoch: int = 1


@record
class RecordedAnswer:
    """The answer to one example: a text, option scores, or the reason why there is none.

    Attributes:
        id: the example's name in the file.
        keys: all names that the row gives the example, by their key: ``{"question_id": "7", "doc.image": "a.jpg"}``.
        question: the question, or the prompt that holds it; empty where the file has none.
        options: the choices, in any order; empty where the file has none.
        position: the example's number from 0 in the other harness's copy of the data; None where unknown.
        where: the file and the row.
    """

    id: str
    answer: str | None = None
    option_scores: tuple[float, ...] | None = None
    failure: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)
    question: str = ""
    options: tuple[str, ...] = ()
    position: int | None = None
    where: str = ""

    @property
    def shown(self) -> str:
        """The answer for a message."""
        return repr(self.answer if self.option_scores is None else self.option_scores)[:60]

    def same_answer(self, other: "RecordedAnswer") -> bool:
        """Whether another row says the same."""
        return (self.answer, self.option_scores, self.failure) == (other.answer, other.option_scores, other.failure)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The contents of a file.

    Attributes:
        answers: in the file's order.
        extract: the layout's rule for reading a choice from text.
        where: the file's name.
        name: of another harness's layout, whose rows must be matched with the data; empty where ids are the data's.
        notes: what was left out when the file was read.
    """

    answers: tuple[RecordedAnswer, ...]
    extract: str = ""
    where: str = ""
    name: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Content:
    """A file as it was parsed, before its layout is known.

    Attributes:
        rows: of JSON lines, a JSON list or a table, each with its place for messages; None for anything else.
        data: of a JSON object; None for anything else.
    """

    file: Path
    rows: tuple[tuple[str, Any], ...] | None = None
    data: Any = None

    def has(self, *keys: str) -> bool:
        """Whether the first row has all of these keys."""
        first = self.rows[0][1] if self.rows else None
        return isinstance(first, dict) and all(key in first for key in keys)
