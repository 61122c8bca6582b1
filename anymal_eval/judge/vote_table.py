"""The judgements that count as one table, a row each, for programs."""

from collections.abc import Sequence

from anymal_eval.judge.outcomes import Comparison
from anymal_eval.judge.ratings import Rating
from anymal_eval.report.rendering import Cell, Table

NAMES = ("item", "annotator", "first", "second", "scale", "score", "both bad", "first on the left", "seconds")


def vote_table(title: str, comparisons: Sequence[Comparison], ratings: Sequence[Rating]) -> Table:
    """Item, annotator, systems and the judgement; skipped and repeated trials are not in it.

    Args:
        title: of the table.
        comparisons, ratings: of people, or of models.

    Returns:
        ``score`` is 1 where the first system is better, 0 where the second is, 0.5 for a tie; of ratings the level.
    """
    rows = [
        (
            one.item,
            one.annotator,
            one.first,
            one.second,
            "",
            f"{one.score:g}",
            _flag(one.both_bad),
            _flag(one.first_left),
            f"{one.seconds:g}",
        )
        for one in comparisons
    ]
    rows += [
        (one.item, one.annotator, one.system, "", one.scale, f"{one.value:g}", "", "", f"{one.seconds:g}")
        for one in ratings
    ]
    tidy = tuple(dict(zip(NAMES, row, strict=True)) for row in rows)
    return Table(title=title, columns=NAMES, rows=tuple(tuple(map(Cell, row)) for row in rows), tidy=tidy)


def _flag(value: bool) -> str:
    return "yes" if value else "no"
