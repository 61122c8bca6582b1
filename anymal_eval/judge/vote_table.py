"""The votes that count as one table, a row each, for programs."""

from anymal_eval.judge.results import Judged
from anymal_eval.report.rendering import Cell, Table


def vote_table(found: Judged) -> Table:
    """Item, annotator, systems and the judgement; skipped and repeated trials are not in it.

    Args:
        found: a study and its votes.

    Returns:
        ``score`` is 1 where the first system is better, 0 where the second is, 0.5 for a tie; of ratings the level.
    """
    names = ("item", "annotator", "first", "second", "scale", "score", "both bad", "first on the left")
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
        )
        for one in found.comparisons
    ]
    rows += [(one.item, one.annotator, one.system, "", one.scale, f"{one.value:g}", "", "") for one in found.ratings]
    tidy = tuple(dict(zip(names, row, strict=True)) for row in rows)
    cells = tuple(tuple(map(Cell, row)) for row in rows)
    return Table(title=found.study.name, columns=names, rows=cells, tidy=tidy)


def _flag(value: bool) -> str:
    return "yes" if value else "no"
