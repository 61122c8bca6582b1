"""The overview of a report: its runs, the matrix of tasks and runs with verdicts, and what is not the same and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from anymal_eval.report.gallery.content import Report, Side, TaskPage
from anymal_eval.report.gallery.marks import key_svg, mark_of, short_names
from anymal_eval.report.gallery.plots import capital, is_drawn, provisional
from anymal_eval.report.gallery.sentences import amount, digits_for, guessing, signed, titles
from anymal_eval.report.regression import TaskCheck
from anymal_eval.report.run_screen import usual_name
from anymal_eval.report.run_table import SCALE, interval_text
from anymal_eval.store.results import Measurement

WORDS = {"better": "better", "worse": "worse", "same": "the same", "cannot tell": "undecided",
         "refused": "not comparable", "not compared": "in one run alone"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RunKey:
    """A run as the pages name it: its mark, its name, the same shortened, and its model."""

    name: str
    short: str
    model: str
    mark: Markup
    is_base: bool


@dataclass(frozen=True, kw_only=True)
class MatrixCell:
    """One run on one task.

    Attributes:
        value: x100 with one digit; empty without one.
        ends: its interval.
        verdict: the word of the check, against the first baseline; empty without one.
        word: the same for people.
        change: to the first baseline.
        tip: lines that a pointer or the keyboard brings up.
        hollow: the value is no result.
    """

    run: RunKey
    value: str
    ends: str = ""
    verdict: str = ""
    word: str = ""
    change: str = ""
    tip: Sequence[tuple[str, str]] = ()
    hollow: bool = False


@dataclass(frozen=True, kw_only=True)
class MatrixRow:
    """One task; ``rule`` is the metric with its version."""

    name: str
    title: str
    metric: str
    rule: str
    guess: str
    examples: str
    cells: Sequence[MatrixCell]


def run_keys(report: Report) -> list[RunKey]:
    """The runs in their order."""
    short = short_names(report.names)
    return [
        RunKey(name=run.name, short=short[at], model=run.model, is_base=at >= report.reported,
               mark=Markup(key_svg(mark_of(at, report.reported))))  # noqa: S704  # numbers alone
        for at, run in enumerate(report.runs)
    ]  # fmt: skip


def matrix(report: Report) -> list[MatrixRow]:
    """A row for each task; the baselines are the first columns."""
    keys, names = run_keys(report), titles(report)
    order = columns(report)
    rows = []
    for page in report.pages:
        item = page.headline
        guess = guessing(page, next((at for at, side in enumerate(page.sides) if side.headline is item), 0))
        rows.append(
            MatrixRow(
                name=page.name,
                title=names[page.name],
                metric="" if item is None else capital(usual_name(item)),
                rule="" if item is None else item.label,
                guess="" if guess is None else f"{SCALE * guess:.1f}",
                examples=f"{page.total:,}",
                cells=[_cell(report, page, at, keys[at]) for at in order],
            )
        )
    return rows


def columns(report: Report) -> list[int]:
    """The numbers of the runs, baselines first."""
    return [*range(report.reported, len(report.runs)), *range(report.reported)]


def open_verdicts(report: Report) -> list[tuple[str, str, str]]:
    """(tasks, run against baseline, why) of verdicts that are open or refused; tasks of one reason stand together."""
    names = titles(report)
    found: dict[tuple[str, str], list[str]] = {}
    for at, pair in enumerate(report.pairs):
        against = f"{report.names[pair.run]} against {report.names[pair.base]}"
        for page in report.pages:
            check = page.checks[at]
            if check is not None and check.word in ("cannot tell", "refused"):
                found.setdefault((against, check.why), []).append(names[page.name])
        for item in pair.check.tasks:
            if item.word == "not compared":
                found.setdefault((against, item.why), []).append(names.get(item.task, item.task))
    return [(", ".join(tasks), against, why) for (against, why), tasks in found.items()]


def _cell(report: Report, page: TaskPage, at: int, key: RunKey) -> MatrixCell:
    side = page.sides[at]
    item = side.headline
    checks = [(pair.base, check) for pair, check in zip(report.pairs, page.checks, strict=True)
              if pair.run == at and check is not None]  # fmt: skip
    first = next((check for _, check in checks), None)
    tip = [] if item is None else _about(page, item, guessing(page, at))
    for base, check in checks:
        tip += _compared(report.names[base], check)
    drawn = item is not None and is_drawn(item)
    missing = "" if drawn else _missing(side)
    if missing:
        tip = [("", missing), *tip]
    return MatrixCell(
        run=key,
        value=f"{SCALE * item.value:.1f}" if item is not None and drawn else "",
        ends=_short_ends(item) if item is not None and drawn else "",
        verdict="" if first is None else first.word,
        word=missing if first is None else WORDS[first.word],
        change="" if first is None or first.comparison is None else _change(first),
        tip=tip,
        hollow=item is not None and bool(provisional(page, item)),
    )


def _missing(side: Side) -> str:
    """Why a run has no value for a task."""
    if side.headline is not None:
        return "one example is no result"
    if not side.counts:
        return "this run does not have the task"
    return f"not computed: {next((each.why for each in side.not_computed), '')}"


def _about(page: TaskPage, item: Measurement, guess: float | None) -> list[tuple[str, str]]:
    ends = interval_text(item.ci_low, item.ci_high)
    counted = f"{item.n:,} of {item.requested:,} examples" if item.n != item.requested else f"{item.n:,} examples"
    found = [(item.label, f"{SCALE * item.value:.2f} {ends}".strip()), ("over", f"{counted}, {item.split}")]
    found += [("guessing", f"{SCALE * guess:.2f}")] if guess is not None else []
    why = provisional(page, item)
    return [*found, ("no result", why)] if why else found


def _compared(base: str, check: TaskCheck) -> list[tuple[str, str]]:
    found = [(f"against {base}", f"{WORDS[check.word]}: {check.why}")]
    one = check.comparison
    if one is not None:
        found.insert(0, ("change", amount(check)))
        found.append(("examples", f"{one.risen:,} rose, {one.fallen:,} fell of {one.n:,}"))
        found.append(("p after Holm", f"{check.p:.2g}" if check.p == check.p else "not tested"))
    return found


def _change(check: TaskCheck) -> str:
    one = check.comparison
    if one is None or one.n == 1:
        return ""
    number = SCALE * one.difference
    return signed(number, digits_for([number]))


def _short_ends(item: Measurement) -> str:
    if item.ci_low is None or item.ci_high is None:
        return ""
    return interval_text(item.ci_low, item.ci_high, 1)
