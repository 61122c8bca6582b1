"""Plots of rows: a value with its interval for each run, on one axis of one unit, with its label on the mark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from anymal_eval.report.frame import text_of, ticks
from anymal_eval.report.gallery.marks import mark_svg
from anymal_eval.report.gallery.sentences import signed
from anymal_eval.visible import visible_line

LINE = 32  # pixels of a run in a row
FIRST, LAST = 4.0, 96.0  # where an axis lies, in percent of the plot's width
TICKS = 4


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A run's value in a row, as shown (x100).

    Attributes:
        name: of the run, short; empty where there is only one run.
        mark: its shape and colour.
        low, high: the interval; None without one.
        hollow: the value is no result.
        about: what a pointer over it shows.
    """

    value: float
    mark: tuple[int, int]
    name: str = ""
    low: float | None = None
    high: float | None = None
    hollow: bool = False
    about: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row: its label, and a dot for each run that has a value.

    Attributes:
        remark: small, below the label.
        tip: what the label means in full.
        reference: a dashed line, such as guessing.
        end: at the right, such as a change.
        tone: of ``end``: ``better``, ``worse`` or nothing.
        href: where the label leads.
    """

    label: str
    dots: Sequence[Dot]
    remark: str = ""
    tip: str = ""
    reference: float | None = None
    end: str = ""
    tone: str = ""
    href: str = ""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A plot of rows on one axis; all labels differ.

    Attributes:
        id: unique on its page.
        what: of the axis, such as ``x100``.
        signed: whether the values are differences: the axis has a line at 0.
        folded: more rows, shown when they are wanted.
        notes: below the plot.
    """

    id: str
    title: str
    what: str
    rows: Sequence[Row]
    signed: bool = False
    folded: Sequence[Row] = ()
    notes: Sequence[str] = ()

    @property
    def domain(self) -> tuple[float, float]:
        """The ends of the axis, the same for all rows."""
        return axis_domain([*self.rows, *self.folded], signed=self.signed)


@dataclass(frozen=True)
class _Place:
    low: float
    high: float

    def at(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return FIRST + share * (LAST - FIRST)

    def __call__(self, value: float) -> str:
        return f"{self.at(value):.2f}%"


def axis_domain(rows: Sequence[Row], *, signed: bool) -> tuple[float, float]:
    """The ends of an axis that holds all values, intervals and references: from 0, or with 0 inside.

    >>> axis_domain([Row(label="a", dots=[Dot(value=61.0, low=52.0, high=70.0, mark=(0, 0))])], signed=False)
    (0.0, 70.0)
    """
    ends = [end for row in rows for dot in row.dots for end in (dot.value, dot.low, dot.high) if end is not None]
    ends += [row.reference for row in rows if row.reference is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    if high - low == 0:
        high = 1.0
    first, second, *_ = ticks(low, high, TICKS * 2)
    step = second - first
    return math.floor(low / step + 1e-9) * step + 0.0, math.ceil(high / step - 1e-9) * step


def unlike(rows: Sequence[Row]) -> list[Row]:
    """The same rows, with a number where a label is there already.

    >>> [row.label for row in unlike([Row(label="a", dots=()), Row(label="a", dots=())])]
    ['a', 'a (2)']
    """
    labels: set[str] = set()
    found = []
    for row in rows:
        label, number = row.label, 1
        while visible_line(label) in labels:
            number += 1
            label = f"{row.label} ({number})"
        labels.add(visible_line(label))
        found.append(replace(row, label=label))
    return found


def row_svg(plot: Rows, row: Row) -> Markup:
    """The marks of one row: a line of pixels for each run, the label above its mark."""
    height = max(1, len(row.dots)) * LINE + 6
    place = _Place(*plot.domain)
    parts = [f'<svg class="dots" width="100%" height="{height}" role="img" aria-label="{text_of(_spoken(row))}">']
    parts += [
        f'<line class="{"zero" if plot.signed and value == 0 else "grid"}" x1="{place(value)}" x2="{place(value)}" '
        f'y1="0" y2="{height}"/>'
        for value in ticks(*plot.domain, TICKS)
    ]
    if row.reference is not None:
        at = place(row.reference)
        parts.append(f'<line class="guess" x1="{at}" x2="{at}" y1="0" y2="{height}"/>')
    for number, dot in enumerate(row.dots):
        parts.append(_dot(dot, number * LINE + 23, plot))
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704  # every text in it is escaped


def axis_svg(plot: Rows) -> Markup:
    """The numbers below a plot."""
    place = _Place(*plot.domain)
    sign = "+" if plot.signed else ""
    found = ticks(*plot.domain, TICKS)
    texts = [
        f'<text x="{place(value)}" y="13" text-anchor="middle">{value:{sign if value else ""}g}</text>'
        for value in found
    ]
    return Markup(f'<svg class="dots axis" width="100%" height="18" aria-hidden="true">{"".join(texts)}</svg>')  # noqa: S704


def _dot(dot: Dot, y: int, plot: Rows) -> str:
    place = _Place(*plot.domain)
    at = place.at(dot.value)
    anchor = "start" if at < 28 else "end" if at > 72 else "middle"
    # A label that starts or ends at its mark stands flush with the mark's edge.
    x = f'x="{at:.2f}%" dx="{ {"start": -6, "middle": 0, "end": 6}[anchor] }"'
    value = signed(dot.value, 1) if plot.signed else f"{dot.value:.1f}"
    name = f' <tspan class="name">{text_of(dot.name)}</tspan>' if dot.name else ""
    parts = [f"<g><title>{text_of(dot.about)}</title>" if dot.about else "<g>"]
    if dot.low is not None and dot.high is not None:
        ends = f'x1="{place(dot.low)}" x2="{place(dot.high)}" y1="{y}" y2="{y}"'
        parts.append(f'<line class="interval c{dot.mark[1]}" {ends}/>')
    parts.append(mark_svg(dot.mark, f"{at:.2f}%", str(y), hollow=dot.hollow))
    parts.append(
        f'<text class="mark-label" {x} y="{y - 9}" text-anchor="{anchor}"><tspan class="value">{value}</tspan>'
    )
    return "".join([*parts, name, "</text></g>"])


def _spoken(row: Row) -> str:
    values = "; ".join(f"{dot.name} {dot.value:.1f}".strip() + _ends(dot) for dot in row.dots)
    return f"{row.label}: {values or 'no value'}"


def _ends(dot: Dot) -> str:
    return f", interval {dot.low:.1f} to {dot.high:.1f}" if dot.low is not None and dot.high is not None else ""
