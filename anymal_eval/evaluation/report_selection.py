"""Which examples a report shows, of tasks that may have hundreds of thousands."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from anymal_eval.records import Example
from anymal_eval.report.gallery.content import Row, Side, outcome, score_of
from anymal_eval.report.gallery.details import NOTES
from anymal_eval.store.score_rows import ScoreRows

_SHOWN = ("state", "answer", "raw", "scores", "choice", "p_yes", *NOTES)


class RowsById(Mapping[str, Row]):
    """What the pages need of each row, by example id: columns, of which a row is made when it is looked at."""

    def __init__(self, rows: ScoreRows) -> None:
        """Keep some columns of the rows; the rows themselves may go."""
        self.states: Sequence[str] = rows.column("state")
        self._columns = [rows.column(name) for name in _SHOWN]
        self._places = {name: at for at, name in enumerate(rows.column("id"))}

    def __getitem__(self, name: str) -> Row:
        """The row of an example."""
        at = self._places[name]
        return dict(zip(_SHOWN, [column[at] for column in self._columns], strict=True))

    def __contains__(self, name: object) -> bool:
        """Whether there is a row of an example."""
        return name in self._places

    def get(self, name: str, default: Any = None) -> Any:
        """The row of an example, or the default."""
        return self[name] if name in self._places else default

    def answers(self) -> dict[str, tuple[object, ...]]:
        """The state, the answer and the choice of every row, by example id."""
        columns = dict(zip(_SHOWN, self._columns, strict=True))
        return dict(
            zip(self._places, zip(*(columns[key] for key in ("state", "answer", "choice")), strict=True), strict=True)
        )

    def __iter__(self) -> Iterator[str]:
        """The ids in the order of the data."""
        return iter(self._places)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._places)


def select_examples(examples: Sequence[Example], sides: Sequence[Side], most: int | None) -> list[Example]:
    """At most so many examples, in the order of the data; None selects all.

    All errors first, then all answers that differ between the runs (where these are too many, those whose scores differ
    most, then by hash of the id), then a stratified sample of the rest: every so many of them, sorted by right or wrong
    (captions: by score), by groups and by hash of the id. The pages state this rule.

    >>> examples = [Example(id=str(n), cluster="1", kind="caption") for n in range(100)]
    >>> len(select_examples(examples, [], 7))
    7
    """
    if most is None or len(examples) <= most:
        return list(examples)
    metric = next((side.headline.rule for side in sides if side.headline is not None), "")
    first: list[tuple[float, bytes, str]] = []
    rest: list[Example] = []
    answers = [_answers(side.rows) for side in sides]
    for example in examples:
        given = [answer for known in answers if (answer := known.get(example.id)) is not None]
        if any(answer[0] == "error" for answer in given):
            first.append((-math.inf, _hash(example), example.id))
        elif len(set(given)) > 1 and len({answer[1:] for answer in given}) > 1:
            first.append((-_change(example, sides, metric), _hash(example), example.id))
        else:
            rest.append(example)
    selected = {name for _, _, name in sorted(first)[:most]}
    left = most - len(selected)
    if left:
        ordered = _by_stratum(rest, sides, metric)
        selected |= {ordered[(2 * at + 1) * len(ordered) // (2 * left)] for at in range(left)}
    return [example for example in examples if example.id in selected]


def _answers(rows: Mapping[str, Row]) -> Mapping[str, tuple[object, ...]]:
    """The state, the answer and the choice of each row, by example id."""
    if isinstance(rows, RowsById):
        return rows.answers()
    return {name: (row["state"], row["answer"], row.get("choice")) for name, row in rows.items()}


def _rows(example: Example, sides: Sequence[Side]) -> Iterator[Row]:
    return (row for side in sides if (row := side.rows.get(example.id)) is not None)


def _hash(example: Example) -> bytes:
    return hashlib.sha256(example.id.encode()).digest()


def _by_stratum(examples: Sequence[Example], sides: Sequence[Side], metric: str) -> list[str]:
    """The ids sorted by stratum, and within one by their hash."""
    strata: dict[tuple[object, ...], list[tuple[bytes, str]]] = {}
    for example in examples:
        row = next(_rows(example, sides), None)
        stratum = ("" if row is None else _stratum(row, example, metric), *example.groups.items())
        strata.setdefault(stratum, []).append((_hash(example), example.id))
    return [name for stratum in sorted(strata) for _, name in sorted(strata[stratum])]


def _change(example: Example, sides: Sequence[Side], metric: str) -> float:
    """The difference of the runs' scores."""
    scores = [score for row in _rows(example, sides) if (score := score_of(row, example, metric)) is not None]
    return round(max(scores) - min(scores), 4) if scores else 0.0


def _stratum(row: Row, example: Example, metric: str) -> str:
    """Right or wrong; for graded answers the quarter of the metric's unit that the score lies in."""
    found = outcome(row, example, metric)
    if found:
        return found
    score = score_of(row, example, metric)
    return "" if score is None else f"{int(4 * score):03d}"
