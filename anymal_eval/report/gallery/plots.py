"""What the plots of rows show: scores and changes by unit, and groups by dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anymal_eval.report.gallery.content import Report, Side, TaskPage
from anymal_eval.report.gallery.marks import mark_of, short_names
from anymal_eval.report.gallery.rows import Dot, Row, Rows, unlike
from anymal_eval.report.gallery.sentences import guessing, metric_name, signed, titles
from anymal_eval.report.run_screen import usual_name
from anymal_eval.report.run_table import SCALE, interval_text
from anymal_eval.store.results import Measurement

UNITS = {"fraction": "x100", "cider": "CIDEr x100"}
FEWEST = 20  # examples of a group that is drawn
SHOWN_GROUPS, MOST_GROUPS = 12, 100  # of a dimension: at once, and with those that are folded
Kind = tuple[str, str]  # unit and direction: what may share an axis


def scores(report: Report) -> list[Rows]:
    """Every run's headlines, an axis for each unit."""
    names = titles(report)
    found: dict[Kind, list[Row]] = {}
    for page in report.pages:
        if page.headline is None:
            continue
        guess = guessing(page, page.sides.index(next(side for side in page.sides if side.headline is page.headline)))
        row = Row(
            label=names[page.name],
            dots=_dots(report, page, [side.headline for side in page.sides]),
            remark=" · ".join(
                filter(None, [capital(usual_name(page.headline)), _guess_text(guess), _few(page.headline)])
            ),
            tip=page.headline.label,
            reference=None if guess is None else SCALE * guess,
            href=f"tasks/{page.name}.html#overview",
        )
        found.setdefault(_kind(page.headline), []).append(row)
    return [
        Rows(id=f"scores-{kind[0]}-{kind[1]}", title="Scores", what=_axis(kind), rows=rows,
             notes=_notes(rows, "Lines: 95 % intervals."))
        for kind, rows in found.items()
    ]  # fmt: skip


def changes(report: Report) -> list[Rows]:
    """Every run's difference to each baseline, over the examples of both: a plot for each baseline and unit.

    That over one example is not drawn.
    """
    names, short = titles(report), short_names(report.names)
    made = []
    for base in range(report.reported, len(report.runs)):
        found: dict[Kind, list[Row]] = {}
        for page in report.pages:
            pairs = [(pair, check) for pair, check in zip(report.pairs, page.checks, strict=True)
                     if pair.base == base and check is not None and check.comparison is not None
                     and check.comparison.n > 1]  # fmt: skip
            dots = []
            for pair, check in pairs:
                one = check.comparison
                assert one is not None  # noqa: S101  # filtered above
                low, high = (None, None) if one.low != one.low else (SCALE * one.low, SCALE * one.high)
                about = f"{report.names[pair.run]}: {check.word}, {SCALE * one.difference:+.2f} " + interval_text(
                    one.low, one.high, sign="+"
                )
                dots.append(
                    Dot(value=SCALE * one.difference, low=low, high=high, mark=mark_of(pair.run, report.reported),
                        name=short[pair.run] if report.reported > 1 else "", about=about)
                )  # fmt: skip
            if dots:
                check = pairs[0][1]
                kind = (check.unit, check.comparison.better if check.comparison is not None else "higher")
                row = Row(label=names[page.name], dots=dots, remark=capital(metric_name(check)), tip=check.metric,
                          href=f"tasks/{page.name}.html#overview")  # fmt: skip
                found.setdefault(kind, []).append(row)
        title = f"Change against {report.names[base]}"
        made += [
            Rows(id=f"change-{base}-{kind[0]}-{kind[1]}", title=title, what=_axis(kind),
                 rows=unlike(rows), signed=True, notes=["Over the examples of both runs, with 95 % intervals."])
            for kind, rows in found.items()
        ]  # fmt: skip
    return made


def measured(report: Report, page: TaskPage) -> list[Rows]:
    """All metrics of a task over all its examples, and the headline: an axis for each unit."""
    by_side = [_by_key(side) for side in page.sides]
    keys: dict[tuple[str, str], Measurement] = {}
    for own in by_side:
        for key, item in own.items():
            if item.group is None or item.headline:
                keys.setdefault(key, item)
    names = metric_names(list(keys.values()))
    found: dict[Kind, list[Row]] = {}
    for key, item in sorted(keys.items(), key=lambda each: not each[1].headline):
        guess = guessing(page) if item.headline else None
        row = Row(
            label=capital(names[key]),
            dots=_dots(report, page, [found.get(key) for found in by_side]),
            remark=" · ".join(filter(None, ["headline" if item.headline else "", _guess_text(guess), _few(item)])),
            tip=f"{item.label}: {item.signature}",
            reference=None if guess is None else SCALE * guess,
        )
        found.setdefault(_kind(item), []).append(row)
    return [
        Rows(id=f"{page.name}-{kind[0]}-{kind[1]}", title="Scores", what=_axis(kind), rows=unlike(rows),
             notes=_notes(rows, "Lines: 95 % intervals."))
        for kind, rows in found.items()
    ]  # fmt: skip


def groups(report: Report, page: TaskPage) -> list[Rows]:
    """The headline in the task's groups: a plot for each dimension, the largest fall first.

    Groups of few examples are folded, and those of all examples are left out: they repeat the headline.
    """
    if page.headline is None:
        return []
    found: dict[tuple[str, ...], dict[str, Measurement]] = {}
    for side in page.sides:
        whole = sum(side.counts.values())
        for item in side.groups:
            if item.group and item.requested < whole:
                found.setdefault(tuple(item.group), {}).setdefault(_group(item), item)
    # A dimension of one value is no comparison: these share a plot.
    lone = {key: items for key, items in found.items() if len(items) == 1}
    plots = [(", ".join(key).replace("_", " "), items) for key, items in found.items() if key not in lone]
    if lone:
        plots.append(("others", {text: item for items in lone.values() for text, item in items.items()}))
    return [_facet(report, page, title, items) for title, items in plots]


def capital(words: str) -> str:
    """The words with a capital letter."""
    return words[:1].upper() + words[1:]


def metric_names(items: Sequence[Measurement]) -> Mapping[tuple[str, str], str]:
    """The usual name of each metric; with its version, and its group, where two have the same."""
    usual = [usual_name(item) for item in items]
    versions = [item.rule.partition("@")[2] for item in items]
    named = [
        f"{name} {version}" if usual.count(name) > 1 and versions.count(version) < len(versions) and
        len({one for one, own in zip(versions, usual, strict=True) if own == name}) > 1 else name
        for name, version in zip(usual, versions, strict=True)
    ]  # fmt: skip
    with_group = [
        f"{name}, {_group(item) or 'all'}" if named.count(name) > 1 else name
        for name, item in zip(named, items, strict=True)
    ]
    return {
        (item.label, _group(item)): name if with_group.count(name) == 1 else f"{name} ({item.label})"
        for item, name in zip(items, with_group, strict=True)
    }


def is_drawn(item: Measurement) -> bool:
    """Whether a value is drawn: that of one example is no result."""
    return item.n > 1


def provisional(page: TaskPage, item: Measurement) -> str:
    """Why a value is drawn hollow: it is over another split than papers report; empty where it is a result."""
    return f"{item.split} split, papers report {page.reported}" if page.reported not in ("", item.split) else ""


def _dots(report: Report, page: TaskPage, items: Sequence[Measurement | None]) -> list[Dot]:
    """A dot for each run that has a value; ``items`` are in the order of the runs."""
    short = short_names(report.names)
    made = []
    for at, item in enumerate(items):
        if item is None or not is_drawn(item):
            continue
        low, high = (None if end is None else SCALE * end for end in (item.ci_low, item.ci_high))
        why = provisional(page, item)
        ends = interval_text(item.ci_low, item.ci_high)
        about = f"{report.names[at]}: {SCALE * item.value:.2f} {ends}, {item.n:,} examples"
        made.append(
            Dot(value=SCALE * item.value, low=low, high=high, mark=mark_of(at, report.reported), hollow=bool(why),
                name=short[at] if len(report.runs) > 1 else "", about="; ".join(filter(None, [about, why])))
        )  # fmt: skip
    return made


def _facet(report: Report, page: TaskPage, title: str, items: Mapping[str, Measurement]) -> Rows:
    base = page.base
    run = next((at for at, side in enumerate(page.sides[: report.reported]) if side.groups), 0)
    by_side = [_by_key(side) for side in page.sides]
    rows: list[tuple[float, Row, int]] = []
    for text, item in items.items():
        each = [found.get((item.label, text)) for found in by_side]
        own, other = each[run], each[base]
        change = None if not base or own is None or other is None else SCALE * (own.value - other.value)
        order = item.value if change is None else change
        row = Row(
            label=_value(item) if title != "others" else text,
            dots=_dots(report, page, each),
            remark=f"{item.n:,} examples" if item.n != 1 else "one example: no result",
            end="" if change is None or item.n < 2 else signed(change, 1),
        )
        rows.append((order if item.better == "higher" else -order, row, item.n))
    rows.sort(key=lambda each: each[0])
    drawn = [row for _, row, n in rows if n >= FEWEST]
    few = [row for _, row, n in rows if n < FEWEST]
    shown = unlike([*drawn, *few][:MOST_GROUPS])
    count = min(len(drawn), SHOWN_GROUPS)
    left = len(rows) - len(shown)
    headline = page.headline
    assert headline is not None  # noqa: S101  # there are no groups without one
    sorting = f"Sorted by the change from {report.names[base]} to {report.names[run]}" if base else "The lowest first"
    return Rows(
        id=f"{page.name}-by-{title}",
        title=f"{capital(usual_name(headline))} {f'by {title}' if title != 'others' else 'in other groups'}",
        what=_axis(_kind(headline)),
        rows=shown[:count],
        folded=shown[count:],
        notes=[
            f"{sorting}.",
            *([_folded(len(few))] if few else []),
            *([f"{left:,} more are in the table of measurements."] if left else []),
        ],
    )


def _folded(count: int) -> str:
    return f"{count} group{'s' * (count > 1)} of under {FEWEST} examples {'are' if count > 1 else 'is'} folded."


def _by_key(side: Side) -> dict[tuple[str, str], Measurement]:
    return {(item.label, _group(item)): item for item in side.measurements}


def _few(item: Measurement) -> str:
    return "" if is_drawn(item) else "one example: no result" if item.n else "no example"


def _notes(rows: Sequence[Row], *notes: str) -> list[str]:
    guess = ["Dashed: the best score of guessing."] if any(row.reference is not None for row in rows) else []
    hollow = ["Hollow: over another split than papers report."] if any(d.hollow for r in rows for d in r.dots) else []
    return [*notes, *guess, *hollow]


def _guess_text(guess: float | None) -> str:
    return "" if guess is None else f"guessing {SCALE * guess:.1f}"


def _kind(item: Measurement) -> Kind:
    return item.unit, item.better


def _axis(kind: Kind) -> str:
    return UNITS[kind[0]] + (", lower is better" if kind[1] == "lower" else "")


def _group(item: Measurement) -> str:
    return ", ".join(f"{name.replace('_', ' ')} = {value}" for name, value in (item.group or {}).items())


def _value(item: Measurement) -> str:
    return ", ".join((item.group or {}).values())
