"""The keys of a row of your own data.

One object a line, or one line of a table under these names of columns::

    {"image": "photos/7.jpg", "question": "What is it?", "options": ["a dog", "a cat"], "answer": "B", "group": "pets"}
    {"audio": "sounds/3.wav", "answers": ["a bell rings", "ringing"]}

image, audio, video or imu: the medium, relative to the file of rows; a list of them where a question is about several.
question: without one, answers are captions. options: the choices; in a table a JSON list, texts with ``|`` between
them, or columns A, B, C ... answer: a text, or a choice's text or letter; label: a choice's number from 0.
answers: several right answers. group: a name, or group_NAME: numbers are shown for each. id: unique; else the row's
number. cluster: what questions share; else the medium. start_s, end_s: a part of a sound, clip or motion. hint, ocr:
more text for the prompt. kind: caption, short_answer, choice or yes_no, where the answers do not tell.
"""

import difflib
import json
import string
from collections.abc import Sequence
from dataclasses import dataclass

from anymal_eval.records import AnswerKind, Example, Media, MediaKind
from anymal_eval.sources.tables import Row

KEYS = ("id", "image", "audio", "video", "imu", "question", "options", "answer", "answers", "label", "group", "cluster",
        "start_s", "end_s", "hint", "ocr", "kind")  # fmt: skip
YES_NO = ("no", "yes")
MISSPELT = 0.8  # how like a key a name must be to be taken for a slip
LETTERS = string.ascii_uppercase


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What all rows of a file have in common; ``annotators`` is the least number of answers to a question."""

    kind: AnswerKind
    media: MediaKind
    labelled: bool
    annotators: int = 0


def to_example(row: Row, shape: Shape) -> Example:
    """One row.

    Raises:
        BadData: naming the file, the row, the key and what to do.
    """
    files = _texts(row, shape.media)
    media = tuple(
        Media(kind=shape.media, uri=row.medium_in(".", name), start_s=_seconds(row, "start_s"), end_s=_end(row))
        for name in files
    )
    choices = options(row)
    question = row.text("question", "").strip()
    _require_kind(row, shape, choices, question)
    name = row.name("id") if row.has("id") else str(row.number + 1)
    label, references = _answer(row, shape, choices)
    return Example(
        id=name,
        cluster=_cluster(row, files, name),
        kind=shape.kind,
        media=media,
        question=question,
        context={key: row.text(key) for key in ("hint", "ocr") if _filled(row, key)},
        options=YES_NO if shape.kind == "yes_no" else choices,
        references=references,
        label=label,
        groups=_groups(row),
    )


def has_answer(row: Row) -> bool:
    """Whether the row says what is right."""
    return any(_filled(row, key) for key in ("answer", "answers", "label"))


def answers(row: Row) -> tuple[str, ...]:
    """The right answers as texts; empty where there are none."""
    given = row.raw("answer") if _filled(row, "answer") else None
    if isinstance(given, bool | dict):
        raise row.bad(f"'answer' must be a text, such as yes or no, or a list of texts, not {given!r:.80}")
    one = _texts(row, "answer") if isinstance(given, str | list) else (() if given is None else (str(given),))
    return one if _filled(row, "answer") else _texts(row, "answers")


def options(row: Row) -> tuple[str, ...]:
    """The choices: under ``options``, or in the columns A, B, C ...; empty where there are none."""
    if _filled(row, "options"):
        return _texts(row, "options")
    found = []
    for letter in LETTERS:
        if not _filled(row, letter):
            break
        found.append(row.text(letter))
    return tuple(found)


def refuse_misspelt(row: Row) -> None:
    """Refuse a key that is nearly one of ours: an answer under ``anwser`` would be none.

    Raises:
        BadData: there is one.
    """
    for key in row:
        near = difflib.get_close_matches(str(key).lower(), KEYS, n=1, cutoff=MISSPELT)
        if near and key not in KEYS and near[0] not in row.data and not str(key).startswith("group_"):
            raise row.bad(f"there is no key {key!r}; if {near[0]!r} is meant, rename it, else give it another name")


def _require_kind(row: Row, shape: Shape, choices: Sequence[str], question: str) -> None:
    if shape.kind == "choice" and len(choices) < 2:
        raise row.bad(f"it has {len(choices)} options, and other rows have some; a choice needs two or more")
    if shape.kind != "choice" and choices:
        raise row.bad(f"it has options, and the file's kind is {shape.kind}; put choices into a file of their own")
    if len(set(choices)) < len(choices):
        raise row.bad("two of its options are the same; each must differ")
    if shape.kind != "caption" and not question:
        raise row.bad("it has no 'question'; write one, or put captions into a file of their own")
    if shape.labelled and not has_answer(row):
        raise row.bad("it has no 'answer', and other rows have one; write it, or put the row into a file of its own")


def _answer(row: Row, shape: Shape, choices: Sequence[str]) -> tuple[int | None, tuple[str, ...] | None]:
    if not shape.labelled:
        return None, None
    if shape.kind == "choice":
        label = row.index("label", len(choices)) if _filled(row, "label") else _choice(row, choices)
        return label, (choices[label],)
    found = tuple(text.strip() for text in answers(row))
    if not found or not all(found):
        raise row.bad("its answer is empty; write it under 'answer' or 'answers'")
    if shape.kind != "yes_no":
        return None, found
    if len(found) != 1 or found[0].lower() not in YES_NO:
        raise row.bad(f"its answer must be yes or no, as in the other rows, not {' | '.join(found)!r:.80}")
    return YES_NO.index(found[0].lower()), (found[0].lower(),)


def _choice(row: Row, choices: Sequence[str]) -> int:
    given = answers(row)
    text = given[0].strip() if len(given) == 1 else ""
    by_text = [at for at, choice in enumerate(choices) if choice.strip() == text]
    by_letter = [LETTERS.index(text)] if len(text) == 1 and text in LETTERS[: len(choices)] else []
    found = {*by_text, *by_letter}
    last = LETTERS[min(len(choices), len(LETTERS)) - 1]
    if len(found) != 1:
        what = "is one option's letter and another's text" if found else f"is none of its {len(choices)} options"
        raise row.bad(
            f"its answer {' | '.join(given)!r:.80} {what}; write the option's text, its letter (A to {last}), or its "
            "number from 0 under 'label'"
        )
    return found.pop()


def _cluster(row: Row, files: Sequence[str], name: str) -> str:
    if _filled(row, "cluster"):
        return row.name("cluster")
    return files[0] if files else name


def _groups(row: Row) -> dict[str, str]:
    found = {"group": row.name("group")} if _filled(row, "group") else {}
    return found | {
        str(key).removeprefix("group_"): row.name(key) for key in row if key.startswith("group_") and _filled(row, key)
    }


def _texts(row: Row, key: str) -> tuple[str, ...]:
    """A text or a list of texts; in a table a list is written as JSON, or with ``|`` between the texts."""
    if not _filled(row, key):
        return ()
    value = row.raw(key)
    if isinstance(value, list):
        return row.texts(key)
    text = row.text(key)
    if text.lstrip().startswith("["):
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError):
            listed = None
        if isinstance(listed, list) and all(isinstance(each, str) for each in listed):
            return tuple(listed)
        if key == "options":
            raise row.bad(f"{key!r} is no JSON list of texts: {text!r:.80}")
    if key in ("options", "answers"):
        return tuple(part.strip() for part in text.split("|"))
    return (text,)


def _seconds(row: Row, key: str) -> float | None:
    return row.seconds(key) if _filled(row, key) else None


def _end(row: Row) -> float | None:
    start, end = _seconds(row, "start_s"), _seconds(row, "end_s")
    if start is not None and end is not None and end <= start:
        raise row.bad(f"'end_s' {end:g} is not after 'start_s' {start:g}")
    return end


def _filled(row: Row, key: str) -> bool:
    # An empty cell of a table is no value; an empty text in JSON is none either.
    return row.has(key) and row.raw(key) not in ("", [])
