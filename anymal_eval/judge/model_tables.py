"""The tables of models as judges, each beside its agreement with people, and never mixed with their votes."""

import math
from collections.abc import Sequence
from pathlib import Path

from anymal_eval.judge.judge_answers import Judge
from anymal_eval.judge.model_results import (
    Agreement,
    ModelJudged,
    agreement,
    among_people,
    model_judged,
    relative_scores,
)
from anymal_eval.judge.outcomes import position_bias
from anymal_eval.judge.results import Judged
from anymal_eval.judge.tables import judgement_tables, title_of
from anymal_eval.report.rendering import Cell, Table
from anymal_eval.report.run_table import SCALE, interval_text

_RUNS = 2  # a spread needs so many


def model_tables(judged: Sequence[ModelJudged], people: Judged) -> list[Table]:
    """For each judge what it says of the systems; then the judges themselves, with people's agreement."""
    made = []
    for one in judged:
        title = f"{title_of(one.study)}, judged by {one.judge.label}"
        tables = judgement_tables(title, one.study, one.comparisons, one.ratings)
        extra = [table for table in (_relative(title, one), _runs(title, one), _extraction(title, one)) if table.rows]
        made += [*tables, *extra]
    return [*made, _judges(title_of(people.study), judged, people)] if judged else []


def summary(folder: Path, judge: Judge) -> str:
    """One line: what a judge answered to a study."""
    found = next(one for one in model_judged(folder) if one.judge.signature == judge.signature)
    return "; ".join(filter(None, (f"{judge.label}: {state_text(found)}", flip_text(found))))


def flip_text(found: ModelJudged) -> str:
    """``flip rate 1.00 (40 of 40)``; empty where nothing was judged in two orders."""
    flips, pairs = found.flips
    return f"flip rate {flips / pairs:.2f} ({flips:,} of {pairs:,})" if pairs else ""


def state_text(found: ModelJudged) -> str:
    """``78 ok, 2 unreadable``: how many answers have each state."""
    return ", ".join(f"{count:,} {state}" for state, count in found.states.items() if count)


def _judges(title: str, judged: Sequence[ModelJudged], people: Judged) -> Table:
    rows = []
    for one in judged:
        bias = position_bias(one.sides)
        first = "" if math.isnan(bias[0]) else f"{SCALE * bias[0]:.0f} % {interval_text(*bias[1:], 0)}"
        known = f"{one.known[0]} of {one.known[1]}" if one.known[1] else ""
        texts = (one.judge.label, state_text(one), flip_text(one), first, known, _agreed(agreement(one, people)))
        rows.append(tuple(map(Cell, texts)))
    notes = [
        "Both orders are judged; where they differ the pair is a tie, and counts in the flip rate. Unreadable answers "
        "and errors are no verdict.",
        "With people: the share of their votes that the judge gives too, x100, clustered by item.",
        *(f"{one.judge.label}: {one.judge.signature}." for one in judged),
    ]
    if (ceiling := among_people(people)) is not None:
        notes.insert(2, f"Two people gave the same judgement in {_agreed(ceiling)}.")
    columns = ("judge", "answers", "orders", "first answer", "known right", "with people")
    return Table(title=f"{title}: models as judges", columns=columns, rows=tuple(rows), notes=tuple(notes))


def _agreed(found: Agreement | None) -> str:
    return "" if found is None else agreement_text(found)


def agreement_text(found: Agreement) -> str:
    """``83.3 [52.1, 99.0] of 12``: x100, the interval, and over how many votes."""
    return f"{SCALE * found.share:.1f} {interval_text(found.low, found.high, 1)} of {found.votes:,}"


def _relative(title: str, found: ModelJudged) -> Table:
    rows = tuple(
        tuple(map(Cell, (f"{system} / {other}", f"{both:.1f}", f"{published:.1f}")))
        for (system, other), (both, published) in relative_scores(found.scored).items()
    )
    notes = ("Sum of the scores over the sum of the other's, x100; published: the other one always stands first.",)
    columns = ("system / other", "both orders", "published order")
    return Table(title=f"{title}: relative scores", columns=columns, rows=rows, notes=notes)


def _runs(title: str, found: ModelJudged) -> Table:
    rows = []
    for system, runs in found.runs.items():
        if len(runs) < _RUNS:
            continue
        mean = sum(runs) / len(runs)
        spread = math.sqrt(sum((one - mean) ** 2 for one in runs) / len(runs))
        each = ", ".join(f"{SCALE * one:.1f}" for one in runs)
        rows.append(tuple(map(Cell, (system, f"{SCALE * mean:.1f}", f"{SCALE * spread:.1f}", each))))
    notes = ("x100; the spread is the standard deviation over the runs, as MM-Vet's script prints it.",)
    columns = ("system", "mean", "spread", "runs")
    return Table(title=f"{title}: grades by run", columns=columns, rows=tuple(rows), notes=notes)


def _extraction(title: str, found: ModelJudged) -> Table:
    rows = tuple(
        tuple(map(Cell, (system, f"{equal:,} of {of:,}", f"{SCALE * equal / of:.1f}")))
        for system, (equal, of) in found.extraction.items()
    )
    notes = ("How many answers the judge reads, under every rotation, as the option that the protocol's rules found.",)
    columns = ("system", "alike", "x100")
    return Table(title=f"{title}: extraction", columns=columns, rows=rows, notes=notes)
