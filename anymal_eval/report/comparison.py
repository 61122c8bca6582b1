"""Published numbers and measurements under the same columns, each with the footnotes that a reader needs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from anymal_eval.published import FLAGS, Column, Paper, PaperTable
from anymal_eval.report.comparable import MeasuredTask, RunConditions, refusal
from anymal_eval.report.run_table import SCALE, noted, size_label
from anymal_eval.store.results import Measurement, Results
from anymal_eval.store.stored import StoredRun

# Metric names of papers -> our outputs; "accuracy" is the task's headline.
OUTPUTS: Mapping[str, str] = {
    "CIDEr": "cider",
    "SPICE": "spice",
    "SPIDEr": "spider",
    "ROUGE-L": "rouge_l",
    "ROC AUC": "roc_auc",
}
NOT_STATED = ("", "not stated")
NO_FIRSTS: Mapping[str, "Measurement"] = {}


@dataclass(frozen=True, kw_only=True)
class Place:
    """One table cell: a number x100.

    Attributes:
        value: None where it could not be computed.
        interval: the 95 % interval of a measurement.
        comparable: whether it may be marked as the best of its column.
        is_demo: whether it is over demo data; it has no gain over a number on the benchmark.
        conditions: of a measurement, to compare it with another; None of a published number.
        missing: the text of a cell without a value.
        footnotes: sentences without a final period.
    """

    value: float | None
    interval: tuple[float, float] | None = None
    comparable: bool = True
    better: Literal["higher", "lower"] = "higher"
    is_demo: bool = False
    conditions: MeasuredTask | None = None
    missing: str = "not computed"
    footnotes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Line:
    """One table row before formatting."""

    label: str
    origin: str
    is_published: bool
    places: Mapping[str, Place] = field(default_factory=dict)


def header(column: Column) -> str:
    """The heading of a column: its key, with the metric where the key does not name it."""
    return column.key if column.metric in column.key else f"{column.key} {column.metric}"


def published_lines(paper: Paper, table: PaperTable) -> list[Line]:
    """The rows of a paper's table. A number with a flag is comparable only where its whole column has the flag."""
    shared = {column.key: _shared_flags(table, column.key) for column in table.columns}
    lines = []
    for row in table.rows:
        places = {}
        for column in table.columns:
            number = paper.number(table, row, column)
            if number is None:
                continue
            notes = (*(FLAGS[flag] for flag in number.flags), *([number.note] if number.note else []))
            comparable = set(number.flags) <= shared[column.key]
            places[column.key] = Place(value=number.value, comparable=comparable, footnotes=notes)
        lines.append(Line(label=row.model, origin=table.where, is_published=True, places=places))
    return lines


def measured_lines(
    runs: Sequence[Results],
    columns: Sequence[Column],
    firsts: Mapping[str, Measurement] = NO_FIRSTS,
    stored: Sequence[StoredRun | None] = (),
    names: Sequence[str] = (),
) -> list[Line]:
    """One line per run; the run's name is added to labels that would be equal.

    Args:
        runs: the results.
        columns: the columns of the table.
        firsts: by column key, the measurement that defines the column, where no published number does.
        stored: in the order of ``runs``; a manifest holds more of the conditions than results do. None for a run of
            which there are only results.
        names: in the order of ``runs``, in place of their models' names; an empty one leaves it.
    """
    known = [RunConditions(run, one) for run, one in zip(runs, stored or [None] * len(runs), strict=True)]
    references = {column.key: _reference(runs, known, column) for column in columns}
    labels = [own or run.run.label for run, own in zip(runs, [*names, *[""] * len(runs)], strict=False)]
    lines = []
    for run, conditions, label in zip(runs, known, labels, strict=True):
        shown = f"{label}, {run.run.name}" if labels.count(label) > 1 else label
        found = {
            column.key: _ranked(measured_place(run, column, firsts.get(column.key), conditions), references[column.key])
            for column in columns
        }
        protocols = sorted({item.protocol for item in run.measurements})
        lines.append(
            Line(
                label=f"{shown} (demo data)" if run.is_demo else shown,
                origin=", ".join(["measured", *protocols]),
                is_published=False,
                places={key: place for key, place in found.items() if place is not None},
            )
        )
    return lines


def measured_place(
    run: Results, column: Column, first: Measurement | None = None, conditions: RunConditions | None = None
) -> Place | None:
    """A run's cell under a column; None where it did not measure that task.

    A measurement on another split than a published column's does not fill the cell: its footnote holds the value.
    """
    found = find(run, column)
    if found is None:
        output = OUTPUTS.get(column.metric, column.metric)
        for missing in run.not_computed:
            if missing.task == column.our_task and missing.metric.partition("@")[0] == output:
                return Place(value=None, comparable=False, footnotes=(f"not computed: {missing.why}",))
        return None
    differs, footnotes = _differences(found, column, run)
    if _is_other_split(found, column):
        note = f"{column.our_task}: {SCALE * found.value:.1f} measured on {found.split}, the column is {column.split}"
        return Place(value=None, comparable=False, missing="other split", footnotes=(note,))
    interval = None if found.ci_low is None or found.ci_high is None else (SCALE * found.ci_low, SCALE * found.ci_high)
    if first is None:
        differs = differs or found.is_demo or bool(size_label(found, run.run.limit))
    is_result = not run.run.is_chance and run.run.ablate == "none"
    return Place(
        value=SCALE * found.value,
        interval=interval,
        comparable=is_result and not differs,
        better=found.better,
        is_demo=found.is_demo,
        conditions=(conditions or RunConditions(run)).of(found),
        footnotes=footnotes,
    )


def _reference(runs: Sequence[Results], known: Sequence[RunConditions], column: Column) -> MeasuredTask | None:
    """The first measurement of a column without errors, which the others are ranked with."""
    for run, conditions in zip(runs, known, strict=True):
        item = find(run, column)
        if item is not None and not _is_other_split(item, column) and not conditions.of(item).errors:
            return conditions.of(item)
    return None


def _ranked(place: Place | None, reference: MeasuredTask | None) -> Place | None:
    """The place, not comparable and with a footnote where it may not be compared with the column's first."""
    if place is None or place.conditions is None:
        return place
    if reference is None or place.conditions.errors:
        return replace(place, comparable=False)
    why = refusal(reference, place.conditions)
    if not why:
        return place
    # A model that reads nothing, or a run without media, is marked by its label and never ranked.
    notes = (
        (*place.footnotes, f"not ranked with the first of the column: {why}") if place.comparable else place.footnotes
    )
    return replace(place, comparable=False, footnotes=notes)


def _is_other_split(item: Measurement, column: Column) -> bool:
    return bool(column.same_splits) and column.split not in NOT_STATED and item.split not in column.same_splits


def find(run: Results, column: Column) -> Measurement | None:
    """The measurement for a column: by the paper's rule where the run has one, else the headline."""
    output = OUTPUTS.get(column.metric)
    candidates = [
        item
        for item in run.measurements
        if item.task == column.our_task
        and (item.headline or item.group is None)
        and ((item.output or item.metric) == output if output else item.headline or is_rule(item, column.rules))
    ]
    candidates.sort(key=lambda item: (not is_rule(item, column.rules), not item.headline))
    return candidates[0] if candidates else None


def is_rule(item: Measurement, rules: Iterable[str]) -> bool:
    """Whether a measurement's metric is among ``rules``, each ``name`` or ``name@version``."""
    return any(rule in (item.metric, item.rule) for rule in rules)


def first_of_each(runs: Sequence[Results]) -> Mapping[str, Measurement]:
    """The first headline of each task over all runs, by task name, sorted."""
    firsts: dict[str, Measurement] = {}
    for run in runs:
        for item in run.measurements:
            if item.headline:
                firsts.setdefault(item.task, item)
    return dict(sorted(firsts.items()))


def columns_of(firsts: Mapping[str, Measurement]) -> tuple[Column, ...]:
    """A column for each task; the first measurement defines its rule and split."""
    return tuple(
        Column(
            key=task,
            task=task,
            metric=item.label,
            split=item.split,
            same_splits=(item.split,),
            rules=(item.rule,),
        )
        for task, item in firsts.items()
    )


def _differences(item: Measurement, column: Column, run: Results) -> tuple[bool, tuple[str, ...]]:
    """Whether the rule or the split differs from the column's, and all footnotes."""
    size = size_label(item, run.run.limit)
    other_rule = bool(column.rules) and not is_rule(item, column.rules)
    other_split = item.split not in column.same_splits and column.split not in NOT_STATED
    notes = []
    if item.is_demo:
        notes.append("demo data, not the benchmark")
    elif item.data != "official":
        notes.append(f"data: {item.data}")
    if not column.rules:
        notes.append(f"measured by {item.rule}; the published rule is {column.rule_note or 'not stated'}")
    elif other_rule:
        notes.append(f"measured by {item.rule}, the column by {' or '.join(column.rules)}")
    if other_split:
        notes.append(f"measured on {item.split}, the column on {column.split}")
    elif item.split not in column.same_splits:
        notes.append(f"measured on {item.split}; the published split is not stated")
    if size:
        notes.append(f"{item.task}: {size}")
    errors = item.states.get("error", 0)
    if errors:
        notes.append(f"{item.task}: {errors:,} of {item.requested:,} are errors and left out")
    counts = [f"{name} {count:,}" for name, count in item.states.items() if name in ("empty", "unparsable") and count]
    if counts or noted(item):
        notes.append(f"{item.task}: of {item.requested:,} answers {', '.join([*counts, *noted(item)])}")
    return other_rule or other_split, tuple(notes)


def _shared_flags(table: PaperTable, key: str) -> frozenset[str]:
    """The flags that every number of a column has."""
    flags = [frozenset(row.flags.get(key, ())) for row in table.rows if key in row.values]
    return frozenset.intersection(*flags) if flags else frozenset()
