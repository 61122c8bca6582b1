"""The examples of a run as columns: states, groups, clusters and notes, each made once for all metrics and groups."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Self, get_args

import numpy as np

from anymal_eval.json_rows import by_identity
from anymal_eval.metrics import text_array
from anymal_eval.records import Example, State
from anymal_eval.scoring.answer_notes import NOTED, NotedAnswers

if TYPE_CHECKING:
    from numpy.typing import NDArray

STATES = get_args(State)


class Columns:
    """N examples with their answers; n of them are scored, the others are errors.

    Attributes:
        scored: (N,), False for errors.
    """

    def __init__(self, states: Sequence[State], clusters: Sequence[str], groups: Sequence[Mapping[str, str]]) -> None:
        """All (N,); ``clusters`` may be empty where nobody needs them."""
        number = {state: at for at, state in enumerate(STATES)}
        self._states = np.fromiter(map(number.__getitem__, states), np.intp, len(states))
        self.scored: NDArray[np.bool_] = self._states != STATES.index("error")
        self._notes: dict[str, NDArray[np.bool_]] = {}
        self._clusters = clusters
        self._values: dict[str, dict[str, int]] = {}
        self._codes: dict[str, NDArray[np.intp]] = {}
        which, different = _shared(groups)
        for name in _names(different):
            codes, self._values[name] = _numbered([group.get(name, "") for group in different])
            self._codes[name] = codes[which]
        self._places: dict[str, list[NDArray[np.intp]]] = {}
        self._counted: dict[tuple[tuple[str, str], ...], tuple[dict[str, int], dict[str, int]]] = {}

    @classmethod
    def of(cls, noted: NotedAnswers) -> Self:
        """Those of a run's examples, with the notes of their answers."""
        examples = noted.examples
        made = cls(
            [answer.state for answer in noted.answers],
            [example.cluster for example in examples],
            [example.groups for example in examples],
        )
        made._notes = {what: np.zeros(len(examples), dtype=np.bool_) for what in NOTED}
        for at, found in enumerate(noted.notes):
            for what in found:
                made._notes[what][at] = True
        return made

    @cached_property
    def clusters(self) -> NDArray[np.intp]:
        """(n,), the number of each scored example's cluster in the order of the clusters' names."""
        return _numbered(self._clusters)[0][self.scored]

    @cached_property
    def labels(self) -> dict[str, NDArray[np.str_]]:
        """(n,) by grouping, as metrics take them; an empty label where an example has none."""
        return {name: text_array(list(self._values[name]))[codes[self.scored]] for name, codes in self._codes.items()}

    def groups(self, headline_group: dict[str, str]) -> list[dict[str, str]]:
        """No group (all examples) first, then every value of every grouping; of a yes/no grouping only ``yes``.

        Args:
            headline_group: a group that is among them in any case, if it is not empty.
        """
        found: list[dict[str, str]] = [{}]
        for name, codes in self._codes.items():
            there = np.bincount(codes[self.scored], minlength=len(self._values[name])).astype(np.bool_)
            values = [value for value, is_there in zip(self._values[name], there, strict=True) if is_there and value]
            found.extend({name: value} for value in values if not (value == "no" and set(values) <= {"yes", "no"}))
        if headline_group and headline_group not in found:
            found.append(headline_group)
        return found

    def rows(self, group: Mapping[str, str]) -> NDArray[np.intp]:
        """The places of a group's examples among the scored ones, in order."""
        if len(group) == 1:
            ((name, value),) = group.items()
            if value in self._values.get(name, {}):
                return self._places_of(name)[self._values[name][value]]
        return np.flatnonzero(self._within(group)[self.scored])

    def _places_of(self, name: str) -> list[NDArray[np.intp]]:
        """The places of each value of a grouping, sorted once for all of them."""
        if name not in self._places:
            codes = self._codes[name][self.scored]
            ends = np.cumsum(np.bincount(codes, minlength=len(self._values[name])))[:-1]
            self._places[name] = np.split(np.argsort(codes, kind="stable"), ends)
        return self._places[name]

    def counts(self, group: Mapping[str, str]) -> tuple[dict[str, int], dict[str, int]]:
        """How many answers of a group are in each state, and how many have each note; notes of none are left out."""
        key = tuple(sorted(group.items()))
        if key not in self._counted:
            within = self._within(group)
            states = np.bincount(self._states[within], minlength=len(STATES)).tolist()
            noted = {what: int(found[within].sum()) for what, found in self._notes.items()}
            self._counted[key] = (
                dict(zip(STATES, states, strict=True)),
                {what: count for what, count in noted.items() if count},
            )
        return self._counted[key]

    def _within(self, group: Mapping[str, str]) -> NDArray[np.bool_]:
        rows = np.ones(len(self._states), dtype=np.bool_)
        for name, value in group.items():
            values = self._values.get(name, {})
            rows &= self._codes[name] == values[value] if value in values else False
        return rows


def _names(groups: Sequence[Mapping[str, str]]) -> list[str]:
    return sorted(set(itertools.chain.from_iterable(groups)))


def _shared(groups: Sequence[Mapping[str, str]]) -> tuple[NDArray[np.intp], list[Mapping[str, str]]]:
    """The objects among N mappings, which few examples have for themselves, and which of them is whose, (N,)."""
    different = by_identity(groups)
    number = {own: at for at, own in enumerate(different)}
    return np.fromiter(map(number.__getitem__, map(id, groups)), np.intp, len(groups)), list(different.values())


def group_labels(examples: Sequence[Example]) -> dict[str, NDArray[np.str_]]:
    """Each grouping's labels (N,); an empty label where an example has none."""
    groups = [example.groups for example in examples]
    return {name: text_array([group.get(name, "") for group in groups]) for name in _names(_shared(groups)[1])}


def _numbered(names: Sequence[str]) -> tuple[NDArray[np.intp], dict[str, int]]:
    """Each name's number in the sorted names, and the numbers by name, in that order."""
    number = {name: at for at, name in enumerate(sorted(set(names)))}
    return np.fromiter(map(number.__getitem__, names), np.intp, len(names)), number
