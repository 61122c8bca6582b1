"""The first sentence of a report, and of a task: what got worse, what got better, what is open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from anymal_eval.report.gallery.content import Report, TaskPage
from anymal_eval.report.regression import TaskCheck
from anymal_eval.report.run_screen import usual_name
from anymal_eval.report.run_table import SCALE
from anymal_eval.store.results import Measurement

MOST_NAMED = 3
COUNTED = {"same": "the same", "cannot tell": "undecided", "refused": "not comparable"}


def report_sentence(report: Report) -> str:
    """One sentence on the whole report, without a period."""
    if not report.runs:
        return logged_sentence(report)
    if not report.pairs:
        return run_sentence(report)
    if len(report.pairs) == 1:
        return pair_sentence(report, 0)
    return runs_sentence(report)


def logged_sentence(report: Report) -> str:
    """One sentence on trainings of whose checkpoints there are no runs: the last score of each series, and the best.

    CIDEr and other scores alike are x100; all headlines of tasks are better the higher they are.
    """
    parts = []
    for training in report.trainings:
        for one in training.series:
            last, best = one.points[-1], max(one.points, key=lambda point: point.value)
            at = f"{last.value:.1f} at step {last.step:,}"
            more = "" if best.value <= last.value else f" (highest {best.value:.1f} at step {best.step:,})"
            parts.append(f"{one.name} {at}{more}")
    left = len(parts) - MOST_NAMED
    return "; ".join([*parts[:MOST_NAMED], *([f"{left} more"] if left > 0 else [])])


def pair_sentence(report: Report, pair: int) -> str:
    """One sentence on a run against a baseline.

    Of the tasks that got worse or better the clearest three are named, in units of the difference's standard error.
    """
    compared = [(page, check) for page in report.pages if (check := page.checks[pair]) is not None]
    lone = len(report.pages) - len(compared)
    parts = [
        _listed(word, [(page, check) for page, check in compared if check.word == word]) for word in ("worse", "better")
    ]
    counts = {words: sum(check.word == word for _, check in compared) for word, words in COUNTED.items()}
    counts["in one run alone"] = lone
    left = [f"{count} {words}" for words, count in counts.items() if count]
    named = [part for part in parts if part]
    if not named and len(left) == 1:
        whys = {check.why for _, check in compared if check.word == "refused"}
        why = f": {next(iter(whys))}" if len(whys) == 1 else ""
        return _all_alike(report, left[0].partition(" ")[2]) + why
    text = "; ".join([*named, *left]) if named else f"No task is worse or better: {'; '.join(left)}"
    return text[0].upper() + text[1:]


def runs_sentence(report: Report) -> str:
    """One sentence on several runs, or several baselines: which of them are worse somewhere."""
    base = report.reported
    words = {
        report.names[pair.run]: {check.word for page in report.pages if (check := page.checks[at]) is not None}
        for at, pair in enumerate(report.pairs)
        if pair.base == base
    }
    worse = [name for name, found in words.items() if "worse" in found]
    better = [name for name, found in words.items() if "worse" not in found and "better" in found]
    rest = [name for name in words if name not in worse and name not in better]
    against = report.names[base]
    parts = [f"Worse than {against} on some task: {_names(worse)}" if worse else f"No run is worse than {against}"]
    parts += [f"better and nowhere worse: {_names(better)}"] if better else []
    parts += [f"no difference found: {_names(rest)}"] if rest else []
    return "; ".join(parts)


def run_sentence(report: Report) -> str:
    """One sentence on a run without a baseline: how it compares with guessing, and what failed."""
    sides = [page.sides[0] for page in report.pages]
    requested = sum(sum(side.counts.values()) for side in sides)
    errors = sum(side.counts.get("error", 0) for side in sides)
    left = [f"{errors:,} of {requested:,} answers are errors"] if errors else []
    if report.runs[0].model.endswith("(chance)"):
        return "; ".join(["This model answers without reading its input: its scores are a floor and no result", *left])
    known = [(page, guess) for page in report.pages
             if page.headline is not None and (guess := guessing(page)) is not None]  # fmt: skip
    above = [page for page, guess in known if page.headline is not None and is_above(page.headline, guess)]
    if not known:
        return "; ".join(left) or f"{requested:,} answers to {len(report.pages)} tasks, none of them an error"
    others = [title for title in titles(report).values() if title not in {titles(report)[page.name] for page in above}]
    text = f"Better than guessing on {len(above)} of {len(report.pages)} tasks"
    if len(report.pages) == 1:
        text = "Better than guessing" if above else "Not shown to be better than guessing"
    elif others and above:
        text += f" (not on {_names(others)})"
    return "; ".join([text, *left])


def check_sentence(check: TaskCheck, base: str) -> str:
    """One sentence on one task, such as ``Worse than baseline: -334 CIDEr [-393, -275]``."""
    words = {"worse": f"Worse than {base}", "better": f"Better than {base}", "same": f"The same as {base}",
             "cannot tell": f"Undecided against {base}"}  # fmt: skip
    if check.word not in words:
        return f"Not comparable with {base}: {check.why}"
    return f"{words[check.word]}: {amount(check)}" if check.comparison is not None else words[check.word]


def amount(check: TaskCheck) -> str:
    """A difference with its metric and its interval, x100: ``-334 CIDEr [-393, -275]``."""
    found = check.comparison
    if found is None:
        return ""
    numbers = [SCALE * each for each in (found.difference, found.low, found.high)]
    digits = digits_for(numbers)
    difference, low, high = (signed(number, digits) for number in numbers)
    ends = f" [{low}, {high}]" if all(map(math.isfinite, numbers[1:])) else ""
    return f"{difference} {metric_name(check)}{ends}"


def digits_for(numbers: Sequence[float]) -> int:
    """The fewest digits, one or more below 100, that do not show the first number as 0 or different ones as equal.

    >>> digits_for([-334.2, -393.0, -275.4]), digits_for([-5.13, -8.0, -2.26]), digits_for([-0.02, -0.04, -0.01])
    (0, 1, 2)
    """
    known = [number for number in numbers if math.isfinite(number)]
    for digits in range(0 if max(map(abs, known), default=0.0) >= SCALE else 1, 5):
        shown = [round(number, digits) for number in known]
        if len(set(shown)) == len(set(known)) and (shown[0] or not known[0]):
            return digits
    return 5


def signed(number: float, digits: int) -> str:
    """A number with its sign, which zero does not have.

    >>> signed(-3.26, 1), signed(-0.01, 1)
    ('-3.3', '0.0')
    """
    text = f"{number:+.{digits}f}"
    return text[1:] if math.isfinite(number) and float(text) == 0 else text


def metric_name(check: TaskCheck) -> str:
    """The usual name of a check's metric, such as ``CIDEr``."""
    return usual_name(_Named(check.metric))


def guessing(page: TaskPage, side: int = 0) -> float | None:
    """The best score of guessing under a run's headline; None where it is not known."""
    own = page.sides[side]
    if own.headline is None:
        return None
    found = [item.value for item in own.chance if item.metric == own.headline.rule]
    return (max if own.headline.better == "higher" else min)(found, default=None)


def is_above(item: Measurement, guess: float) -> bool:
    """Whether the whole interval is better than guessing."""
    if item.ci_low is None or item.ci_high is None:
        return False
    return item.ci_low > guess if item.better == "higher" else item.ci_high < guess


def titles(report: Report) -> dict[str, str]:
    """The benchmark's own name of each task; with the task's name where two have the same."""
    found = {page.name: page.title or page.name for page in report.pages}
    shown = list(found.values())
    return {name: f"{title} ({name})" if shown.count(title) > 1 else title for name, title in found.items()}


@dataclass(frozen=True)
class _Named:
    """A check's metric, by its label ``metric@version`` or ``metric@version output``."""

    label: str

    @property
    def rule(self) -> str:
        return self.label.partition(" ")[0]

    @property
    def output(self) -> str:
        return self.label.partition(" ")[2] or self.label.partition("@")[0]


def _listed(word: str, found: Sequence[tuple[TaskPage, TaskCheck]]) -> str:
    if not found:
        return ""
    clearest = sorted(found, key=lambda each: -_clearness(each[1]))
    named = [f"{page.title or page.name} ({amount(check)})" for page, check in clearest[:MOST_NAMED]]
    more = len(found) - len(named)
    return f"{word} on {_joined(named, more)}"


def _clearness(check: TaskCheck) -> float:
    found = check.comparison
    if found is None or not found.error > 0:
        return math.inf
    return abs(found.difference) / found.error


def _joined(named: Sequence[str], more: int) -> str:
    parts = [*named, *([f"{more} more"] if more else [])]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _names(names: Sequence[str]) -> str:
    return _joined(names[:MOST_NAMED], len(names) - len(names[:MOST_NAMED]))


def _all_alike(report: Report, words: str) -> str:
    first = words[0].upper() + words[1:]
    if len(report.pages) == 1:
        return f"{first} on {report.pages[0].title or report.pages[0].name}"
    return f"{first} on all {len(report.pages)} tasks"
