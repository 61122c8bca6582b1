"""Which examples a report shows, of tasks that may have hundreds of thousands."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from anymal_eval.records import Example
from anymal_eval.report.gallery.content import Outcome, Row, Side, outcome, score_of
from anymal_eval.report.gallery.details import NOTES
from anymal_eval.store.score_rows import ScoreRows

_SHOWN = ("state", "answer", "raw", "scores", "choice", "p_yes", *NOTES)
_GIVEN = ("state", "answer", "choice", "scores", "p_yes")  # what selecting looks at

_Given = tuple[Any, ...]  # a row's values of these keys


class RowsById(Mapping[str, Row]):
    """What the pages need of each row, by example id: columns, of which a row is made when it is looked at."""

    def __init__(self, rows: ScoreRows, like: RowsById | None = None) -> None:
        """Keep some columns of the rows; the rows themselves may go.

        ``like``: of another run, whose ids are kept once where they are the same.
        """
        names: Sequence[str] = rows.column("id")
        nothing = [None] * len(names)
        columns = (rows.column(name) for name in _SHOWN)
        self.states: Sequence[str] = rows.column("state")
        self._columns = [nothing if column == nothing else column for column in columns]
        self._places: Mapping[str, int] = {} if like is None else like._places
        if like is None or list(like) != names:
            self._places = {name: at for at, name in enumerate(names)}

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

    def given(self, names: Sequence[str]) -> list[_Given | None]:
        """What selecting looks at, of the rows of some examples."""
        columns = dict(zip(_SHOWN, self._columns, strict=True))
        rows = zip(*(columns[key] for key in _GIVEN), strict=True)
        if names == list(self._places):
            return list(rows)
        known = dict(zip(self._places, rows, strict=True))
        return [known.get(name) for name in names]

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
    names, grades = [example.id for example in examples], _Grades(metric)
    given = [_given(side.rows, names) for side in sides]
    first: list[tuple[float, int]] = []
    rest: list[tuple[int, _Given | None]] = []
    for at, rows in enumerate(zip(*given, strict=True) if given else [()] * len(names)):
        known = [row for row in rows if row is not None]
        if any(row[0] == "error" for row in known):
            first.append((-math.inf, at))
        elif len({row[1:3] for row in known}) > 1:
            first.append((-grades.change(known, examples[at]), at))
        else:
            rest.append((at, known[0] if known else None))
    if len(first) > most:
        first = sorted(first, key=lambda item: (item[0], _hash(names[item[1]]), names[item[1]]))[:most]
    selected = {at for _, at in first}
    left = most - len(selected)
    if left:
        ordered = _by_stratum(rest, examples, grades)
        selected |= {ordered[(2 * at + 1) * len(ordered) // (2 * left)] for at in range(left)}
    return [example for at, example in enumerate(examples) if at in selected]


def _given(rows: Mapping[str, Row], names: Sequence[str]) -> list[_Given | None]:
    """What selecting looks at of each example's row; None where there is no row."""
    if isinstance(rows, RowsById):
        return rows.given(names)
    return [tuple(rows[name].get(key) for key in _GIVEN) if name in rows else None for name in names]


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _by_stratum(rows: Sequence[tuple[int, _Given | None]], examples: Sequence[Example], grades: _Grades) -> list[int]:
    """The places sorted by stratum, and within one by the hash of the id.

    ``rows``: the place of each example, and its row.
    """
    import numpy as np

    strata = [("" if row is None else grades.stratum(row, examples[at]), *examples[at].groups.items())
              for at, row in rows]  # fmt: skip
    ranks = {stratum: rank for rank, stratum in enumerate(sorted(set(strata)))}
    # Of a hash the first 8 bytes are enough: two ids with the same ones stand in the order of the data.
    hashes = np.frombuffer(b"".join(_hash(examples[at].id)[:8] for at, _ in rows), ">u8")
    order = np.lexsort((hashes, np.array([ranks[stratum] for stratum in strata])))
    return [rows[at][0] for at in order]


class _Grades:
    """Scores of answers, each computed once: many have the same."""

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._known: dict[tuple[object, ...], tuple[Outcome | None, float | None]] = {}

    def _of(self, row: _Given, example: Example) -> tuple[Outcome | None, float | None]:
        state, _, choice, scores, p_yes = row
        key = (state, choice, id(scores), p_yes, example.kind, example.label)  # rows with equal scores share them
        found = self._known.get(key)
        if found is None:
            graded = dict(zip(_GIVEN, row, strict=True))
            found = outcome(graded, example, self._metric), score_of(graded, example, self._metric)
            self._known[key] = found
        return found

    def change(self, rows: Sequence[_Given], example: Example) -> float:
        """The difference of the runs' scores."""
        scores = [score for row in rows if (score := self._of(row, example)[1]) is not None]
        return round(max(scores) - min(scores), 4) if scores else 0.0

    def stratum(self, row: _Given, example: Example) -> str:
        """Right or wrong; for graded answers the quarter of the metric's unit that the score lies in."""
        found, score = self._of(row, example)
        return found or ("" if score is None else f"{int(4 * score):03d}")
