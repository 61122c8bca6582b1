"""The examples of a run as columns: states, groups, clusters and notes, each made once for all metrics and groups."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, get_args

import numpy as np

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
        clusters: (n,), the number of each scored example's cluster in the order of the clusters' names.
    """

    def __init__(self, noted: NotedAnswers) -> None:
        number = {state: at for at, state in enumerate(STATES)}
        states = (number[answer.state] for answer in noted.answers)
        self._states = np.fromiter(states, np.intp, len(noted.answers))
        self.scored: NDArray[np.bool_] = self._states != STATES.index("error")
        self._notes = {what: np.zeros(len(noted.notes), dtype=np.bool_) for what in NOTED}
        for at, found in enumerate(noted.notes):
            for what in found:
                self._notes[what][at] = True
        clusters, _ = _numbered([example.cluster for example in noted.examples])
        self.clusters = clusters[self.scored]
        self._values: dict[str, list[str]] = {}
        self._codes: dict[str, NDArray[np.intp]] = {}
        for name in grouping_names(noted.examples):
            labels = [example.groups.get(name, "") for example in noted.examples]
            self._codes[name], self._values[name] = _numbered(labels)
        self._places: dict[str, list[NDArray[np.intp]]] = {}
        self._counted: dict[tuple[tuple[str, str], ...], tuple[dict[str, int], dict[str, int]]] = {}

    @cached_property
    def labels(self) -> dict[str, NDArray[np.str_]]:
        """(n,) by grouping, as metrics take them; an empty label where an example has none."""
        return {name: text_array(self._values[name])[codes[self.scored]] for name, codes in self._codes.items()}

    def groups(self, headline_group: dict[str, str]) -> list[dict[str, str]]:
        """No group (all examples) first, then every value of every grouping; of a yes/no grouping only ``yes``.

        Args:
            headline_group: a group that is among them in any case, if it is not empty.
        """
        found: list[dict[str, str]] = [{}]
        for name, codes in self._codes.items():
            values = sorted({self._values[name][code] for code in np.unique(codes[self.scored])} - {""})
            found.extend({name: value} for value in values if not (value == "no" and set(values) <= {"yes", "no"}))
        if headline_group and headline_group not in found:
            found.append(headline_group)
        return found

    def rows(self, group: Mapping[str, str]) -> NDArray[np.intp]:
        """The places of a group's examples among the scored ones, in order."""
        if len(group) == 1:
            ((name, value),) = group.items()
            if value in self._values.get(name, ()):
                return self._places_of(name)[self._values[name].index(value)]
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
            values = self._values.get(name, [])
            rows &= self._codes[name] == values.index(value) if value in values else False
        return rows


def grouping_names(examples: Sequence[Example]) -> list[str]:
    """The names of all groupings, sorted."""
    return sorted(set(itertools.chain.from_iterable(example.groups for example in examples)))


def group_labels(examples: Sequence[Example]) -> dict[str, NDArray[np.str_]]:
    """Each grouping's labels (N,); an empty label where an example has none."""
    return {
        name: text_array([example.groups.get(name, "") for example in examples]) for name in grouping_names(examples)
    }


def _numbered(names: Sequence[str]) -> tuple[NDArray[np.intp], list[str]]:
    """Each name's number in the sorted names, and these."""
    values = sorted(set(names))
    number = {name: at for at, name in enumerate(values)}
    return np.fromiter(map(number.__getitem__, names), np.intp, len(names)), values
