"""The table that ``run`` prints and writes: every number with its interval, its n and its signature."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from anymal_eval.report.rendering import SUFFIXES, Cell, Format, PaperLayout, Table, render
from anymal_eval.report.samples import over_samples, read_samples
from anymal_eval.report.tidy_rows import tidy_rows
from anymal_eval.store import digests
from anymal_eval.store.atomic import write_atomic
from anymal_eval.store.folder import BLIND
from anymal_eval.store.results import FILE, Chance, Measurement, NotComputed, Results, read_results

COLUMNS = ("task", "metric", "value x100", "95 % interval", "method", "n of N", "states", "notes", "signature")
# Of these columns in a paper; the method and the signature are in the other formats.
PAPER_HEADS = (
    ("task",), ("metric",), ("value", "x100"), ("95 %", "interval"), (), ("n of N",), ("states",), ("notes",), (),
)  # fmt: skip
SCALE = 100.0
MOST_DIGITS = 6  # of an interval whose two ends have equal digits
DRAWN_EVENLY = frozenset({"choice_accuracy", "mean_type_accuracy", "roc_auc", "yes_no_accuracy"})
SCREEN_GROUPS = 8  # a group of more values than this is in the files and not on the screen
SCREEN_NOTE = 48  # characters of a note in a row on the screen
WRITTEN: tuple[Format, ...] = ("md", "csv", "latex")


def run_table(results: Results, blind: Results | None = None, samples: Sequence[Results] = ()) -> Table:
    """Headline rows first, in the order of the run; below them the other metrics and the groups of each task.

    Args:
        results: the results of the run.
        blind: the results of the same run without media, if there is one; its headlines follow those of ``results``.
        samples: the results of further samples of the same run.
    """
    first = [item for item in results.measurements if item.headline]
    rest = sorted(
        (item for item in results.measurements if not item.headline),
        key=lambda item: (_position(results, item.task), item.group is not None),
    )
    rows = [
        row
        for item in first
        for row in (
            _row(item, results), *_sampled(item, samples), *_blind(item, blind), *_chance(item, results)
        )
    ]  # fmt: skip
    rows += [_row(item, results) for item in rest]
    rows += [_not_computed(item, results) for item in results.not_computed]
    notes = _notes(results, blind)
    # A paper has no room for groups: they are those of the rows of ``rest`` that have one.
    grouped = {len(rows) - len(results.not_computed) - len(rest) + at for at, item in enumerate(rest) if item.group}
    layout = PaperLayout(
        caption=_caption(results),
        label=results.run.name,
        heads=PAPER_HEADS,
        rows=tuple(at for at in range(len(rows)) if at not in grouped),
        remarks=notes,
    )
    return Table(
        title=_title(results),
        columns=COLUMNS,
        rows=tuple(rows),
        notes=notes,
        tidy=tuple(tidy_rows(results, blind, samples)),
        paper=layout,
    )


def screen_table(results: Results, blind: Results | None = None, samples: Sequence[Results] = ()) -> Table:
    """The same table for a terminal.

    Of the groups it holds the headline's, where they are few; signatures are numbered and listed below it, long notes
    are cut.
    """
    headlines = {(row.task, row.rule, row.output) for row in results.measurements if row.headline}
    sizes = Counter((row.task, row.rule, row.output, name) for row in results.measurements for name in row.group or {})

    def is_shown(row: Measurement) -> bool:
        measure = (row.task, row.rule, row.output)
        few = all(sizes[(*measure, name)] <= SCREEN_GROUPS for name in row.group or {})
        return row.headline or row.group is None or (measure in headlines and few)

    table = run_table(replace(results, measurements=tuple(filter(is_shown, results.measurements))), blind, samples)
    numbers: dict[str, int] = {}
    rows = []
    for row in table.rows:
        *cells, signature = row
        number = numbers.setdefault(signature.text, len(numbers) + 1) if signature.text else 0
        at = COLUMNS.index("notes")
        note = cells[at].text
        if len(note) > SCREEN_NOTE and not note.startswith("not computed"):
            cells[at] = replace(cells[at], text=note[: SCREEN_NOTE - 3] + "...")
        rows.append((*cells, replace(signature, text=f"[{number}]" if number else "")))
    below = tuple(f"[{number}] {text}" for text, number in numbers.items())
    return replace(table, rows=tuple(rows), notes=(*table.notes, *below))


def files_of(results: Results, blind: Results | None = None, samples: Sequence[Results] = ()) -> Mapping[str, str]:
    """File name -> text of the tables in a run folder; the arguments are those of ``run_table``."""
    table = run_table(results, blind, samples)
    return {f"table{SUFFIXES[format]}": render(table, format) for format in WRITTEN}


def write_tables(root: Path) -> str:
    """Write the tables of a scored run in all formats, its run without media beside it where there is one.

    Returns:
        The short table, in Markdown.
    """
    results = read_results(root)
    blind = read_results(root / BLIND) if (root / BLIND / FILE).is_file() else None
    if blind is not None:
        digests.verify_where_written(root / BLIND, FILE)
    samples = read_samples(root)
    for name, text in files_of(results, blind, samples).items():
        write_atomic(root / name, text)
    return render(screen_table(results, blind, samples), "md")


def noted(item: Measurement) -> list[str]:
    """``cut 16``, ``thinking 3``, ``template 1``: the counts that are not zero."""
    return [f"{what} {count:,}" for what in ("cut", "thinking", "template") if (count := getattr(item, what))]


def size_label(measurement: Measurement, limit: int | None) -> str:
    """``limit n of M`` or ``subset n/N`` where the run does not cover the whole split; empty otherwise.

    Args:
        measurement: over n examples of a split that officially has N.
        limit: the limit of the run, if any.
    """
    expected, requested = measurement.n_expected, measurement.requested
    if measurement.group:
        return ""
    if limit is not None:
        return f"limit {requested:,} of {expected:,}" if expected is not None else f"limit {requested:,}"
    if expected is not None and requested < expected:
        return f"subset {requested:,}/{expected:,}"
    return ""


def interval_text(low: float | None, high: float | None, digits: int = 2, sign: str = "") -> str:
    """An interval x100, with more digits where its ends would look equal; ``not estimable`` where they are equal.

    >>> interval_text(0.5, 0.61), interval_text(0.9999812, 1.0), interval_text(0.0, 0.0), interval_text(None, None)
    ('[50.00, 61.00]', '[99.998, 100.000]', 'not estimable', '')
    >>> interval_text(-0.01, 0.02, 1, "+")
    '[-1.0, +2.0]'
    """
    if low is None or high is None or low != low or high != high:
        return ""
    if SCALE * (high - low) < 10.0**-MOST_DIGITS:
        return "not estimable"
    for more in range(digits, MOST_DIGITS + 1):
        ends = [_signless_zero(f"{SCALE * end:{sign}.{more}f}") for end in (low, high)]
        if ends[0] != ends[1]:
            break
    return f"[{ends[0]}, {ends[1]}]"


def _signless_zero(text: str) -> str:
    return text[1:] if text[0] in "+-" and float(text) == 0 else text


def _position(results: Results, task: str) -> int:
    return next(at for at, item in enumerate(results.measurements) if item.task == task)


def _title(results: Results) -> str:
    demo = ", demo data" if results.is_demo else ""
    return f"{results.run.name}: {results.run.label}{demo}"


def _caption(results: Results) -> str:
    protocols = sorted({item.protocol for item in results.measurements})
    protocol = f" Protocol: {', '.join(protocols)}." if protocols else ""
    return f"{_title(results)}.{protocol}"


def _notes(results: Results, blind: Results | None) -> tuple[str, ...]:
    notes = ["Values and intervals are the metric's x100. n of N: n of the N requested examples are scored."]
    if results.run.is_chance:
        notes.append("chance: this model answers without reading its input; its scores are a floor and no result.")
    if results.is_demo:
        notes.append("demo: synthetic data; not comparable with any number on the benchmark.")
    if blind is not None:
        notes.append("no media: the same prompts without their media.")
    notes += [f"{note.task}: {note.sentence}." for note in results.data_notes]
    notes += [f"{problem.task}: {problem.sentence}." for problem in results.problems]
    if any(item.states.get("error", 0) for item in results.measurements):
        notes.append("Errors are left out of the value.")
    return tuple(notes)


def _row(item: Measurement, results: Results) -> tuple[Cell, ...]:
    states = ", ".join(f"{state} {count:,}" for state, count in item.states.items() if count)
    marks = ("chance" if results.run.is_chance else "", size_label(item, results.run.limit), *noted(item))
    texts = (
        _task(item),
        item.label,
        _x100(item.value),
        interval_text(item.ci_low, item.ci_high),
        item.ci_method,
        f"{item.n:,} of {item.requested:,}",
        states,
        "; ".join(mark for mark in marks if mark),
        item.signature,
    )
    return tuple(Cell(text, bold=item.headline and at < 3) for at, text in enumerate(texts))


def _blind(headline: Measurement, blind: Results | None) -> list[tuple[Cell, ...]]:
    """The headline of the run without media, for the row below the run's own."""
    for item in blind.measurements if blind is not None else ():
        same = (item.task, item.split, item.data, item.rule, item.output, item.group)
        if blind and item.headline and same == (
            headline.task, headline.split, headline.data, headline.rule, headline.output, headline.group,
        ):  # fmt: skip
            texts = [cell.text for cell in _row(item, blind)]
            texts[COLUMNS.index("metric")] = "no media"
            return [tuple(Cell(text, italic=at < 3) for at, text in enumerate(texts))]
    return []


def _sampled(headline: Measurement, samples: Sequence[Results]) -> list[tuple[Cell, ...]]:
    """The mean of a headline over several samples, for the row below the first one's."""
    found = over_samples(headline, samples)
    if found is None:
        return []
    texts = [""] * len(COLUMNS)
    count = len(found.values)
    texts[:5] = [
        _task(headline), f"mean of {count} samples", _x100(found.mean), interval_text(found.low, found.high),
        "t over samples",
    ]  # fmt: skip
    texts[COLUMNS.index("notes")] = " ".join(map(_x100, found.values))
    return [tuple(Cell(text, italic=at < 3) for at, text in enumerate(texts))]


def _chance(headline: Measurement, results: Results) -> list[tuple[Cell, ...]]:
    """The chance levels of a headline, for the rows below it."""
    rows = []
    for item in results.chance:
        if (item.task, item.metric, item.output) == (headline.task, headline.rule, headline.output):
            texts = [""] * len(COLUMNS)
            texts[:3] = [_task(headline), f"chance, {item.how}", _x100(item.value)]
            texts[COLUMNS.index("notes")] = _guess(item)
            rows.append(tuple(Cell(text, italic=True) for text in texts))
    return rows


def _guess(item: Chance) -> str:
    if item.how == "majority":
        return f"always {item.says!r}"
    return "drawn evenly" if item.metric.partition("@")[0] in DRAWN_EVENLY else "another cluster's answer"


def _not_computed(item: NotComputed, results: Results) -> tuple[Cell, ...]:
    demo = any(known.is_demo for known in results.measurements if known.task == item.task)
    texts = [f"{item.task} (demo)" if demo else item.task, item.metric, "not computed", *[""] * (len(COLUMNS) - 3)]
    texts[COLUMNS.index("notes")] = f"not computed: {item.why}"
    return tuple(Cell(text) for text in texts)


def _task(item: Measurement) -> str:
    split = f"{item.task} {item.split}"
    group = "".join(f", {name}={value}" for name, value in (item.group or {}).items())
    return f"{split}{group} (demo)" if item.is_demo else f"{split}{group}"


def _x100(value: float) -> str:
    return f"{SCALE * value:.2f}"
