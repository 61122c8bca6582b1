"""The lines of ``scores.jsonl``: what many rows have in common is encoded once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from anymal_eval.codec import write_json
from anymal_eval.records import Answer, Example, Response
from anymal_eval.scoring.score import Scores

_KEPT = 100_000  # encoded texts of each kind in memory


class ScoreLines:
    """The lines of one task."""

    def __init__(self, scores: Scores) -> None:
        """``scores`` are of the examples that :meth:`of` gets."""
        self._scores = scores
        # By the answer, which equal texts share, and the groups, which many examples share: both live as long.
        self._answers: dict[tuple[int, str | None], str] = {}
        self._groups: dict[int, str] = {}

    def of(self, examples: Sequence[Example], responses: Mapping[str, Response]) -> Iterator[str]:
        """A line for each example: id, cluster, state, answer, groups, notes and scores.

        Args:
            examples: that were scored, in the same order.
            responses: to them, by id.

        Raises:
            ValueError: a score is no number, which JSON cannot hold.
        """
        values = self._values()
        for example, answer, notes in zip(examples, self._scores.answers, self._scores.notes, strict=True):
            more = f'"key": {write_json(example.key)}, ' if example.key else ""
            if example.groups:
                more += self._groups.get(id(example.groups)) or self._of_groups(example.groups)
            if notes:
                more += "".join([f'"{note}": true, ' for note in sorted(notes)])
            yield (
                f'{{"id": {write_json(example.id)}, "cluster": {write_json(example.cluster)}, '
                f"{self._answer(answer, responses[example.id])}{more}"
                f'"scores": {{{next(values, "") if answer.state != "error" else ""}}}}}'
            )

    def _answer(self, answer: Answer, response: Response) -> str:
        if response.option_scores is not None:
            return _answer_fields(answer, response)
        key = (id(answer), response.answer)
        found = self._answers.get(key)
        if found is None:
            if len(self._answers) >= _KEPT:
                self._answers.clear()
            found = self._answers[key] = _answer_fields(answer, response)
        return found

    def _of_groups(self, groups: Mapping[str, str]) -> str:
        if len(self._groups) >= _KEPT:
            self._groups.clear()
        found = self._groups[id(groups)] = f'"groups": {write_json(dict(groups))}, '
        return found

    def _values(self) -> Iterator[str]:
        """The scores of each example that has them, without their braces."""
        display = {name: np.asarray(column, dtype=np.float64) for name, column in self._scores.display.items()}
        columns = [column.tolist() for column in display.values()]
        if not all(np.isfinite(column).all() for column in display.values()):
            yield from (write_json(dict(zip(display, own, strict=True)))[1:-1] for own in zip(*columns, strict=True))
            return
        # As JSON writes finite numbers.
        starts = [f"{write_json(name)}: " for name in display]
        texts = [map(start.__add__, map(repr, column)) for start, column in zip(starts, columns, strict=True)]
        yield from map(", ".join, zip(*texts, strict=True))


def _answer_fields(answer: Answer, response: Response) -> str:
    row: dict[str, Any] = {"state": answer.state}
    row["raw"] = response.answer if response.option_scores is None else list(response.option_scores)
    row["answer"] = answer.text
    if answer.choice is not None:
        row["choice"] = answer.choice
    if answer.p_yes is not None:
        row["p_yes"] = answer.p_yes
    return f"{write_json(row)[1:-1]}, "
