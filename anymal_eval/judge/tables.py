"""The tables of a study, for the terminal, Markdown, LaTeX and CSV."""

import math
from collections.abc import Sequence

from anymal_eval.errors import CannotTell
from anymal_eval.judge.agreement import Level, alpha, consistency
from anymal_eval.judge.bradley_terry import strengths
from anymal_eval.judge.outcomes import Comparison, WinRate, position_bias, win_rates
from anymal_eval.judge.ratings import Rating, RatingChange, changes, means
from anymal_eval.judge.results import Judged
from anymal_eval.judge.study import Study
from anymal_eval.report.rendering import Cell, Table
from anymal_eval.report.run_table import SCALE, interval_text
from anymal_eval.statistics.p_values import holm

ALPHA = 0.05


def tables(found: Judged) -> list[Table]:
    """All tables that the votes allow: outcomes, strengths, ratings and their differences, annotators."""
    title = title_of(found.study)
    made = judgement_tables(title, found.study, found.comparisons, found.ratings)
    return [table for table in [*made, _annotators(title, found)] if table.rows]


def title_of(study: Study) -> str:
    """The name of a study, with the word demo where its data are that."""
    return f"{study.name}, demo data" if study.is_demo else study.name


def judgement_tables(
    title: str, study: Study, comparisons: Sequence[Comparison], ratings: Sequence[Rating]
) -> list[Table]:
    """What judgements of one kind of judge, people or one model, say of the systems; without empty tables."""
    made = []
    if comparisons:
        made.append(_outcomes(title, win_rates(comparisons)))
        if len(study.systems) > 2:
            made.append(_strengths(title, comparisons))
    if ratings:
        made += [_ratings(title, ratings), _changes(title, ratings)]
    return [table for table in made if table.rows]


def _outcomes(title: str, rates: Sequence[WinRate]) -> Table:
    corrected = holm([one.p for one in rates])
    rows = []
    for one, p in zip(rates, corrected, strict=True):
        ahead = one.first if one.rate > 0.5 else one.second
        verdict = f"{ahead} is better" if p < ALPHA else _open(one)
        texts = (
            f"{one.first} : {one.second}", f"{one.wins:,}", f"{one.ties:,}", f"{one.losses:,}",
            f"{SCALE * one.rate:.1f} {interval_text(one.low, one.high, 1)}", _p(p), f"{one.items:,}", verdict,
        )  # fmt: skip
        rows.append(tuple(Cell(text, bold=at == 4) for at, text in enumerate(texts)))
    notes = [
        "Win rate x100 of the first, a tie as half a win, with its 95 % interval clustered by item; p after Holm.",
        "The interval says what other items would give with the same judges.",
    ]
    if bad := sum(one.both_bad for one in rates):
        notes.append(f"Of the ties, {bad:,} are two bad answers.")
    columns = ("first : second", "wins", "ties", "losses", "win rate", "p", "items", "verdict")
    return Table(title=f"{title}: pairwise judgements", columns=columns, rows=tuple(rows), notes=tuple(notes))


def _open(one: WinRate | RatingChange) -> str:
    return "open" if not one.more_items else f"open; about {one.more_items:,} items more would decide it"


def _strengths(title: str, comparisons: Sequence[Comparison]) -> Table:
    columns = ("system", "strength", "95 % interval", "points")
    try:
        rows = tuple(
            (Cell(one.system), Cell(f"{one.strength:+.3f}", bold=True),
             Cell(_ends(one.low, one.high)), Cell(f"{one.elo:+.0f}"))
            for one in strengths(comparisons)
        )  # fmt: skip
        notes = (
            "Bradley and Terry's strengths (log-odds, sum 0; points as Elo's), 95 % intervals by bootstrap over items.",
        )
    except CannotTell as error:
        rows, notes = ((Cell("not computed"), Cell(""), Cell(""), Cell("")),), (f"{error}.",)
    return Table(title=f"{title}: strengths", columns=columns, rows=rows, notes=notes)


def _ratings(title: str, ratings: Sequence[Rating]) -> Table:
    scales = list(dict.fromkeys(one.scale for one in ratings))
    by = {(one.system, one.scale): one for one in means(ratings)}
    rows = []
    for system in dict.fromkeys(one.system for one in ratings):
        cells = [Cell(system)]
        for scale in scales:
            one = by.get((system, scale))
            text = "" if one is None else f"{SCALE * one.value:.1f} {interval_text(one.low, one.high, 1)}"
            cells.append(Cell(text))
        rows.append(tuple(cells))
    notes = ("Means x100, with 95 % intervals clustered by item.",)
    return Table(title=f"{title}: ratings", columns=("system", *scales), rows=tuple(rows), notes=notes)


def _changes(title: str, ratings: Sequence[Rating]) -> Table:
    compared = changes(ratings)
    rows = tuple(
        tuple(map(Cell, (
            f"{one.first} - {one.second}", one.scale,
            f"{SCALE * one.difference:+.1f} {interval_text(one.low, one.high, 1, '+')}", _p(p), f"{one.items:,}",
            f"{one.first if one.difference > 0 else one.second} is better" if p < ALPHA else _open(one),
        )))
        for one, p in zip(compared, holm([one.p for one in compared]), strict=True)
    )  # fmt: skip
    columns = ("difference", "scale", "x100", "p", "items", "verdict")
    notes = ("Over the items that both have, paired; p after Holm.",)
    return Table(title=f"{title}: differences of ratings", columns=columns, rows=rows, notes=notes)


def _annotators(title: str, found: Judged) -> Table:
    again = consistency(found.repeated)
    rows = []
    for one in found.annotators:
        equal, of = again.get(one.code, (0, 0))
        share = position_bias([vote for vote in found.comparisons if vote.annotator == one.code])[0]
        texts = (
            one.code,
            f"{one.votes:,} of {one.trials:,}",
            f"{one.skipped:,}",
            f"{one.seconds:.1f} s" if one.votes else "",
            f"{equal} of {of}" if of else "",
            f"{one.known[0]} of {one.known[1]}" if one.known[1] else "",
            "" if math.isnan(share) else f"{SCALE * share:.0f} %",
        )
        rows.append(tuple(map(Cell, texts)))
    level: Level = "nominal" if found.comparisons else "ordinal"
    agreed = alpha(found.labels, level)
    left = position_bias(found.comparisons)
    notes = [f"Krippendorff's alpha ({level}): {agreed:.3f}." if not math.isnan(agreed) else
             "Krippendorff's alpha: nothing was judged by two annotators in different ways."]  # fmt: skip
    if not math.isnan(left[0]):
        notes.append(f"Left answers among the decided votes: {SCALE * left[0]:.1f} % {interval_text(*left[1:], 1)}.")
    columns = ("annotator", "votes", "skipped", "median time", "repeated alike", "known right", "left")
    return Table(title=f"{title}: annotators", columns=columns, rows=tuple(rows), notes=tuple(notes))


def _p(p: float) -> str:
    return "" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _ends(low: float, high: float) -> str:
    return "not estimable" if math.isnan(low) else f"[{low:+.3f}, {high:+.3f}]"
