"""The rows that sources yield, one type a family of benchmarks: official files and hub copies give the same.

A medium is named, never opened: an absolute file path, or ``hub:ID@REVISION/SPLIT#ROW``. Answers and labels
are None where a split has none.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class VQARow:
    """A question about a picture, with ten answers. The types are empty where the benchmark has none."""

    question_id: str
    image_id: str
    image: str
    question: str
    answers: tuple[str, ...] | None
    answer_type: str = ""
    question_type: str = ""
    ocr_tokens: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ScienceQARow:
    """A school question with two to five choices; ``image`` is None for most of them. ``grade``: 1 to 12, or None."""

    problem_id: str
    image: str | None
    question: str
    choices: tuple[str, ...]
    answer: int | None
    hint: str
    grade: int | None
    subject: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MemeRow:
    """A meme: a picture, the words on it, and whether it is hateful (1) or not (0)."""

    meme_id: str
    image: str
    text: str
    label: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipRow:
    """A question about a clip with four or five options. Times are seconds within the file ``clip``.

    ``type`` is the benchmark's own question type, unfolded, and empty where it has none.
    """

    row_id: str
    video: str
    clip: str
    start_s: float | None = None
    end_s: float | None = None
    question: str
    options: tuple[str, ...]
    answer: int | None
    type: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionRow:
    """A picture, sound or motion with its human captions. ``origin`` is what it was cut from, or itself."""

    row_id: str
    origin: str
    medium: str
    start_s: float | None = None
    end_s: float | None = None
    question: str = ""
    captions: tuple[str, ...] | None
