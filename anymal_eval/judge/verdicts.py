"""What a judge's answer says, read strictly: one form each, and whatever else is no verdict."""

import re
from collections.abc import Mapping, Sequence

from anymal_eval.generation.thinking import split
from anymal_eval.judge.study import Scale

_SIDE = re.compile(r"Verdict: (A|B|tie|both bad)")
_SIDES = {"A": "left", "B": "right", "tie": "tie", "both bad": "both bad"}
_SCORE = re.compile(r"[0-9]{1,2}(\.[0-9]+)?")
_LEAST, _MOST = 1.0, 10.0
_GRADE = re.compile(r"0(\.[0-9])?|1(\.0)?")
NONE = -1  # the number of an option where the judge finds none


def without_thinking(text: str) -> str | None:
    """A judge's answer without the thinking before it; None where that does not end."""
    thought = split(text)
    return text if thought is None else thought.answer


def read_side(text: str) -> str | None:
    r"""The choice of a comparison, from the last line; None where there is no verdict, or more than one.

    >>> read_side("A names the dog.\nVerdict: A"), read_side("Verdict: tie\n")
    ('left', 'tie')
    >>> read_side("A is better"), read_side("Verdict: A\nVerdict: B"), read_side("Verdict: A or B")
    (None, None, None)
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    found = _SIDE.fullmatch(lines[-1]) if lines else None
    if found is None or sum(line.startswith("Verdict:") for line in lines) > 1:
        return None
    return _SIDES[found[1]]


def read_scores(text: str) -> tuple[float, float] | None:
    r"""Two scores from 1 to 10, alone on the first line, with a space or a comma between them.

    >>> read_scores("8 7.5\nThe first ..."), read_scores("8, 7"), read_scores("8 11"), read_scores("Scores: 8 7")
    ((8.0, 7.5), (8.0, 7.0), None, None)
    """
    parts = text.strip().partition("\n")[0].replace(",", " ").split()
    if len(parts) != 2 or not all(_SCORE.fullmatch(part) for part in parts):
        return None
    first, second = float(parts[0]), float(parts[1])
    return (first, second) if all(_LEAST <= score <= _MOST for score in (first, second)) else None


def read_levels(text: str, scales: Sequence[Scale]) -> Mapping[str, float] | None:
    r"""A level of each scale, from lines ``scale: level``; None where one is missing, unknown or there twice.

    >>> scale = Scale(name="integrity", question="?", levels=(("no", 0.0), ("yes", 1.0)))
    >>> read_levels("It is polite.\nintegrity: yes", [scale])
    {'integrity': 1.0}
    >>> read_levels("integrity: mostly", [scale]), read_levels("integrity: no\nintegrity: yes", [scale])
    (None, None)
    """
    lines = [line.strip() for line in text.splitlines()]
    found = {}
    for scale in scales:
        given = [line.partition(":")[2].strip() for line in lines if line.partition(":")[0] == scale.name]
        levels = dict(scale.levels)
        if len(given) != 1 or given[0] not in levels:
            return None
        found[scale.name] = levels[given[0]]
    return found


def read_grade(text: str) -> float | None:
    """A grade of 0.0, 0.1 ... 1.0: the text up to its first space.

    >>> read_grade("0.7"), read_grade(" 1.0 |"), read_grade("0.75"), read_grade("good")
    (0.7, 1.0, None, None)
    """
    found = text.strip().split(" ")[0].strip()
    return float(found) if _GRADE.fullmatch(found) else None


def read_option(text: str, count: int) -> int | None:
    """The number of an option by its letter; ``NONE`` for Z.

    >>> read_option("B", 4), read_option("Z", 4), read_option("E", 4), read_option("B. rabbit", 4)
    (1, -1, None, None)
    """
    letter = text.strip()
    if letter == "Z":
        return NONE
    number = ord(letter) - ord("A") if len(letter) == 1 else -1
    return number if 0 <= number < count else None
