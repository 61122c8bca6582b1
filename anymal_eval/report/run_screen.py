"""A run on a terminal: a row a task, and with details a row a measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from anymal_eval import metrics
from anymal_eval.errors import NotInCatalog
from anymal_eval.report.rendering import Cell, Table, Tone
from anymal_eval.report.run_table import SCALE, interval_text, screen_table, size_label
from anymal_eval.report.samples import over_samples, read_samples
from anymal_eval.report.terminal import screen
from anymal_eval.store import digests
from anymal_eval.store.folder import BLIND
from anymal_eval.store.results import FILE, Measurement, Results, read_results

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDEST = 80
DETAILS = ("metric", "value", "interval", "method", "n")
BELOW = "Values and intervals x100. bootstrap: cluster bootstrap of 2,000 draws."


class MetricName(Protocol):
    """What names a metric: a measurement, or what a check keeps of one."""

    @property
    def rule(self) -> str:
        """``metric@version``."""
        ...

    @property
    def output(self) -> str:
        """The metric's output."""
        ...

    @property
    def label(self) -> str:
        """``metric@version``, and the output where the metric has several."""
        ...


def run_screen(root: Path, width: int, *, details: bool = False) -> RenderableType:
    """What a terminal shows of a scored run, at most 80 columns wide.

    Args:
        root: the run folder.
        width: the columns of the terminal.
        details: every measurement with its method and its signature, in place of the headlines.
    """
    results = read_results(root)
    blind = read_results(root / BLIND) if (root / BLIND / FILE).is_file() else None
    if blind is not None:
        digests.verify_where_written(root / BLIND, FILE)
    samples = read_samples(root)
    width = min(width, WIDEST)
    if not details:
        return screen(summaries(results, blind, samples), width)
    from rich.console import Group
    from rich.text import Text

    return Group(
        *(
            part
            for table in _detailed(screen_table(results, blind, samples))
            for part in (screen([table], width), Text())
        )
    )


def summaries(results: Results, blind: Results | None = None, samples: Sequence[Results] = ()) -> tuple[Table, ...]:
    """A row a task: the headline with its interval, without media, guessing, n, and states that are not all ok.

    The forms differ in width: the intervals of both, of the score alone, with one digit.

    Args:
        results: of the run.
        blind: of the same run without media.
        samples: of further samples of the run.
    """
    return tuple(
        _summary(results, blind, samples, (digits, both)) for digits, both in ((2, True), (2, False), (1, False))
    )


def usual_name(item: MetricName) -> str:
    """The metric as people call it: ``VQA accuracy``, ``CIDEr``."""
    try:
        outputs = metrics.get(item.rule).outputs
    except NotInCatalog:  # of a plug-in that is not here now
        outputs = ()
    return next((each.usual_name for each in outputs if each.name == item.output), item.label.replace("_", " "))


def _summary(results: Results, blind: Results | None, samples: Sequence[Results], form: tuple[int, bool]) -> Table:
    digits, both = form
    names = dict.fromkeys([item.task for item in results.measurements] + [item.task for item in results.not_computed])
    rows: list[dict[str, Cell]] = []
    notes: list[str] = []
    for name in names:
        item = results.headline(name)
        if item is None:
            why = next((each.why for each in results.not_computed if each.task == name), "")
            rows.append({"task": Cell(name), "metric": Cell(""), "score": Cell("none")})
            notes.append(f"{name}: no score: {why}.")
            continue
        rows.append(_row(item, results, blind, (digits, both)))
        mean = over_samples(item, samples)
        if mean is not None:
            ends = interval_text(mean.low, mean.high)
            notes.append(f"{name}: {SCALE * mean.mean:.2f} {ends} is the mean of {len(mean.values)} samples.")
    headings = _HEADINGS if digits > 1 else {**_HEADINGS, "blind": "no media"}
    columns = [key for key in headings if any(row.get(key, Cell("")).text for row in rows)]
    cells = tuple(tuple(row.get(key, Cell("")) for key in columns) for row in rows)
    demo = ", demo data" if results.is_demo else ""
    return Table(
        title=f"{results.run.label}{demo}",
        columns=tuple(headings[key] for key in columns),
        rows=cells,
        notes=("Scores x100, with 95 % intervals.", *notes, *_notes(results)),
    )


_HEADINGS = {
    "task": "task", "metric": "metric", "score": "score", "blind": "without media", "chance": "chance", "n": "n",
    "states": "answers", "size": "data",
}  # fmt: skip


def _row(item: Measurement, results: Results, blind: Results | None, form: tuple[int, bool]) -> dict[str, Cell]:
    digits, both = form
    guesses = [each.value for each in results.chance
               if (each.task, each.metric, each.output) == (item.task, item.rule, item.output)]  # fmt: skip
    best = (max if item.better == "higher" else min)(guesses, default=None)
    unseen = blind.headline(item.task) if blind is not None else None
    odd = {state: count for state, count in item.states.items() if count and state != "ok"}
    return {
        "task": Cell(item.task),
        "metric": Cell(usual_name(item)),
        "score": Cell(_with_interval(item, digits), tone=_tone(item, best), bold=True),
        "blind": Cell(
            "" if unseen is None else _with_interval(unseen, digits) if both else _x100(unseen.value, digits)
        ),
        "chance": Cell("" if best is None else _x100(best, digits)),
        "n": Cell(f"{item.n:,}"),
        "states": Cell(", ".join(f"{count:,} {state}" for state, count in odd.items()), tone="unsure"),
        "size": Cell(size_label(item, results.run.limit)),
    }


def _notes(results: Results) -> list[str]:
    notes = []
    if results.run.is_chance:
        notes.append("This model answers without reading its input: its scores are a floor and no result.")
    if results.is_demo:
        notes.append("Demo data are synthetic: not comparable with any number on the benchmark.")
    if any(item.states.get("error", 0) for item in results.measurements):
        notes.append("Errors are left out of the score.")
    notes += [f"{note.task}: {note.sentence}." for note in results.data_notes]
    return notes + [f"{problem.task}: {problem.sentence}." for problem in results.problems]


def _tone(item: Measurement, guess: float | None) -> Tone:
    """Green where the whole interval is better than guessing, red where it is worse."""
    if guess is None or item.ci_low is None or item.ci_high is None:
        return ""
    low, high = (item.ci_low, item.ci_high) if item.better == "higher" else (-item.ci_high, -item.ci_low)
    guess = guess if item.better == "higher" else -guess
    return "better" if low > guess else "worse" if high < guess else "unsure"


def _with_interval(item: Measurement, digits: int) -> str:
    ends = interval_text(item.ci_low, item.ci_high, digits)
    return f"{_x100(item.value, digits)} {ends}".strip()


def _x100(value: float, digits: int) -> str:
    return f"{SCALE * value:.{digits}f}"


def _detailed(table: Table) -> list[Table]:
    """The table of a terminal's Markdown, a part for each task; the notes stand below the last one."""
    parts: dict[str, list[tuple[str, ...]]] = {}
    for row in table.rows:
        texts = tuple(cell.text for cell in row)
        parts.setdefault(texts[0].partition(" ")[0], []).append(texts)
    made = [_part(rows) for rows in parts.values()]
    notes = [note for note in table.notes if not note.startswith("Values")]
    made[-1] = replace(made[-1], notes=(*made[-1].notes, BELOW, *notes))
    return [replace(made[0], title=f"{table.title}; {made[0].title}"), *made[1:]]


def _part(rows: Sequence[tuple[str, ...]]) -> Table:
    title = rows[0][0].removesuffix(" (demo)")
    notes = []
    cells = []
    for task, metric, value, ends, method, n, states, note, signature in rows:
        group = task.removesuffix(" (demo)").partition(", ")[2]
        label = f"  {group}" if group else metric
        whole, _, requested = n.partition(" of ")
        texts = (f"{label} {signature}".rstrip(), value, ends, _method(method), n if whole != requested else whole)
        cells.append(tuple(Cell(text, bold=not group and at == 0) for at, text in enumerate(texts)))
        odd = "" if states.startswith("ok") and "," not in states else states
        if remark := "; ".join(filter(None, (odd, note.removeprefix("not computed: ")))):
            notes.append(f"{label.strip()}: {remark}.")
    return Table(title=title, columns=DETAILS, rows=tuple(cells), notes=tuple(notes))


def _method(method: str) -> str:
    return "bootstrap" if method.startswith("cluster bootstrap") else method
