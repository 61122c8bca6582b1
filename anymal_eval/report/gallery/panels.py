"""Small plots of single answers: ROC, reliability, distributions; and the curve over checkpoints."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from anymal_eval.report.curve import Series
from anymal_eval.report.curve_drawing import about, frame_of, panel
from anymal_eval.report.frame import Frame, text_of, ticks
from anymal_eval.report.gallery.marks import mark_svg

WIDTH, HEIGHT = 300, 250
BINS = 10
FEWEST = 20  # answers in a bin of a reliability plot: with fewer its point is hollow
BARS = 30  # at most, of a distribution


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One small plot.

    Attributes:
        mark: of its run, where it shows one.
        keys: of several runs, each with its mark, its name and a number.
    """

    title: str
    svg: Markup
    mark: tuple[int, int] | None = None
    remark: str = ""
    keys: Sequence[tuple[tuple[int, int], str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class Panels:
    """Small plots of one kind, with what they show in one sentence."""

    id: str
    title: str
    about: str
    panels: Sequence[Panel]
    wide: bool = True


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Values of one run: its name, its mark, and pairs of a probability and whether it came true."""

    name: str
    mark: tuple[int, int]
    truth: Sequence[int]
    p: Sequence[float]


def svg(frame: Frame, spoken: str, parts: Sequence[str]) -> Markup:
    """A plot of fixed size, in the colours of the page."""
    size = f'width="{frame.width}" height="{frame.height}" viewBox="0 0 {frame.width} {frame.height}"'
    return Markup(f'<svg class="plot-panel" {size} role="img" aria-label="{text_of(spoken)}">{"".join(parts)}</svg>')  # noqa: S704  # every text in it is escaped


def roc(runs: Sequence[Answers]) -> Panel:
    """All runs' ROC curves; the mark of a run is where it says yes from a probability of 0.5 on."""
    frame = Frame(width=WIDTH, height=HEIGHT + 20, x_domain=(0, 1), y_domain=(0, 1), left=36, top=22, right=10)
    parts = [*frame.axes("false alarms"), _diagonal(frame), f'<text x="{frame.left}" y="12">hits</text>']
    keys = []
    for run in runs:
        curve = roc_curve(run.truth, run.p)
        area = sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in itertools.pairwise(curve))
        parts.append(f'<polyline class="trace c{run.mark[1]}" points="{frame.points(thinned(curve))}"/>')
        yes, no = sum(run.truth), len(run.truth) - sum(run.truth)
        hits = sum(label for label, p in zip(run.truth, run.p, strict=True) if p >= 0.5)
        alarms = sum(1 - label for label, p in zip(run.truth, run.p, strict=True) if p >= 0.5)
        parts.append(mark_svg(run.mark, frame.x(alarms / no), frame.y(hits / yes)))
        keys.append((run.mark, run.name, f"{100 * area:.1f}"))
    spoken = "; ".join(f"{name} {area}" for _, name, area in keys)
    return Panel(title="", svg=svg(frame, f"ROC, area: {spoken}", parts), keys=keys)


def roc_curve(truth: Sequence[int], p: Sequence[float]) -> list[tuple[float, float]]:
    """(false alarms, hits) for each threshold; answers of one probability are one step: they have no order.

    >>> roc_curve([1, 0, 1, 0], [0.9, 0.5, 0.5, 0.1])
    [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0)]
    """
    yes = sum(truth)
    no = len(truth) - yes
    counts: dict[float, list[int]] = {}
    for label, value in zip(truth, p, strict=True):
        counts.setdefault(value, [0, 0])[label] += 1
    hits = alarms = 0
    found = [(0.0, 0.0)]
    for value in sorted(counts, reverse=True):
        alarms, hits = alarms + counts[value][0], hits + counts[value][1]
        found.append((alarms / no, hits / yes))
    return found


def thinned(curve: Sequence[tuple[float, float]], least: float = 1 / 400) -> list[tuple[float, float]]:
    """A rising curve without points nearer to the last one than eyes can tell; its two ends stay.

    >>> len(thinned([(at / 100_000, at / 100_000) for at in range(100_001)])) < 1_000
    True
    >>> thinned([(0.0, 0.0), (0.0, 0.001), (0.0, 1.0), (1.0, 1.0)])
    [(0.0, 0.0), (0.0, 0.001), (0.0, 1.0), (1.0, 1.0)]
    """
    found = [curve[0]]
    for before, point in itertools.pairwise(curve):
        if max(point[0] - found[-1][0], point[1] - found[-1][1]) >= least:
            # The corner of a long step stays where it is.
            if before != found[-1]:
                found.append(before)
            found.append(point)
    return found if found[-1] == curve[-1] else [*found, curve[-1]]


def reliability(run: Answers, x_name: str, y_name: str) -> Panel:
    """How often what a run gives a probability comes true, in ten bins; a hollow mark has few answers."""
    frame = Frame(width=WIDTH, height=HEIGHT + 20, x_domain=(0, 1), y_domain=(0, 1), left=36, top=22, right=10)
    bins = reliability_bins(run.truth, run.p)
    total = sum(n for _, _, n in bins)
    gap = sum(n * abs(mean - share) for mean, share, n in bins) / total
    parts = [*frame.axes(x_name), _diagonal(frame)]
    parts.append(f'<text x="{frame.left}" y="12">{text_of(y_name)}</text>')
    parts.append(f'<polyline class="trace c{run.mark[1]}" points="{frame.points([(x, y) for x, y, _ in bins])}"/>')
    for mean, share, n in bins:
        few = n < FEWEST
        low, high = wilson(share, n)
        ends = f'x1="{frame.x(mean)}" x2="{frame.x(mean)}" y1="{frame.y(low)}" y2="{frame.y(high)}"'
        parts.append(f"<g><title>{100 * mean:.0f} % given, {100 * share:.0f} % true, {n:,} answers</title>")
        parts.append(f'<line class="interval thin c{run.mark[1]}" {ends}/>')
        parts.append(f"{mark_svg(run.mark, frame.x(mean), frame.y(share), hollow=few)}</g>")
    spoken = f"Reliability of {run.name}: mean gap {100 * gap:.1f} points over {total:,} answers"
    return Panel(
        title=run.name, mark=run.mark, remark=f"mean gap {100 * gap:.1f} points", svg=svg(frame, spoken, parts)
    )


def reliability_bins(truth: Sequence[int], p: Sequence[float]) -> list[tuple[float, float, int]]:
    """(mean probability, share that came true, answers) of each tenth that holds an answer.

    >>> reliability_bins([1, 0, 1], [0.1, 0.15, 1.0])
    [(0.125, 0.5, 2), (1.0, 1.0, 1)]
    """
    bins: dict[int, list[tuple[int, float]]] = {}
    for label, value in zip(truth, p, strict=True):
        bins.setdefault(min(int(value * BINS), BINS - 1), []).append((label, value))
    return [
        (sum(value for _, value in each) / len(each), sum(label for label, _ in each) / len(each), len(each))
        for _, each in sorted(bins.items())
    ]


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share.

    >>> [round(end, 3) for end in wilson(0.5, 20)]
    [0.299, 0.701]
    """
    z = 1.959964
    middle, width = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - width) / (1 + z * z / n), (middle + width) / (1 + z * z / n)


def distribution(
    name: str, mark: tuple[int, int] | None, values: Sequence[float], domain: tuple[float, float, float], what: str
) -> Panel:
    """The shares of values in bars, with their median.

    Args:
        name, mark: of the run; no mark for references.
        values: at least one.
        domain: the lowest bar's edge, the highest's, and the highest share of all panels in percent.
        what: the values are.
    """
    low, high, top = domain
    frame = Frame(
        width=WIDTH, height=150, x_domain=(low, high), y_domain=(0, top * 1.05), left=40, top=8, right=10, count=3
    )
    shares = bar_shares(values, low, high)
    middle = sorted(values)[len(values) // 2]
    colour = f"c{mark[1]}" if mark is not None else "quiet"
    parts = frame.axes(what)
    width = (high - low) / len(shares)
    for at, share in enumerate(shares):
        if share:
            x, y = float(frame.x(low + at * width)), float(frame.y(share))
            size = float(frame.x(low + (at + 1) * width)) - x
            parts.append(f'<rect class="column {colour}" x="{x:.1f}" y="{y:.1f}" width="{max(size - 1, 0.6):.1f}" '
                         f'height="{frame.height - frame.bottom - y:.1f}"/>')  # fmt: skip
    at_x = frame.x(min(max(middle, low), high))
    parts.append(f'<line class="median" x1="{at_x}" x2="{at_x}" y1="{frame.top}" y2="{frame.height - frame.bottom}"/>')
    remark = f"median {middle:.3g}, mean {sum(values) / len(values):.1f}"
    return Panel(title=name, mark=mark, remark=remark, svg=svg(frame, f"{what} of {name}: {remark}", parts))


def bar_shares(values: Sequence[float], low: float, high: float) -> list[float]:
    """Percent of the values in bars of equal width; what lies beyond an end is in the bar there.

    >>> bar_shares([0, 1, 1, 9], 0, 4)
    [25.0, 50.0, 0.0, 25.0]
    """
    count = int(high - low) if high - low <= BARS + 1 else BARS
    found = [0] * count
    for value in values:
        found[min(max(int((value - low) / (high - low) * count), 0), count - 1)] += 1
    return [100 * number / len(values) for number in found]


def distribution_domain(series: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """The domain of several distributions: to nearly the highest value, on a round number."""
    everything = sorted(value for values in series for value in values)
    top = max(everything[min(int(len(everything) * 0.995), len(everything) - 1)] + 1, 2.0)
    first, second, *_ = ticks(0, top)
    high = math.ceil(top / (second - first)) * (second - first)
    # Whole numbers stand in the middle of their bars.
    edge = 0.5 if all(value == int(value) for value in everything) and high <= BARS else 0.0
    low, high = -edge, high + edge
    return low, high, max(max(bar_shares(values, low, high)) for values in series)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A score against training steps.

    Attributes:
        marks: of each point's run, and whether its value is no result; none where no runs stand behind the points.
        level: of a baseline without a step.
        scale: values that its axis holds too.
    """

    series: Series
    marks: Sequence[tuple[tuple[int, int], bool]]
    level: float | None
    scale: Sequence[float]


def checkpoints(curve: Curve, domain: tuple[float, float]) -> Panel:
    """A curve with a mark for each run; a baseline without a step is a dashed line."""
    one, base = curve.series, curve.level
    frame = frame_of(one, domain, curve.scale, width=WIDTH, height=HEIGHT - 40, left=44, top=12)
    drawn = [
        f"<g><title>{text_of(about(point))}</title>"
        f"{mark_svg(mark, frame.x(point.step), frame.y(point.value), hollow=hollow)}</g>"
        for point, (mark, hollow) in zip(one.points, curve.marks, strict=bool(curve.marks))
    ]
    across = f'x1="{frame.left}" x2="{frame.width - frame.right}"'
    parts = [] if base is None else [f'<line class="guess" {across} y1="{frame.y(base)}" y2="{frame.y(base)}"/>']
    spoken = f"{one.name}: {'; '.join(about(point) for point in one.points)}"
    return Panel(title=one.name, svg=svg(frame, spoken, [*parts, panel(one, frame, drawn)]))


def _diagonal(frame: Frame) -> str:
    return f'<line class="guess" x1="{frame.x(0)}" x2="{frame.x(1)}" y1="{frame.y(0)}" y2="{frame.y(1)}"/>'
