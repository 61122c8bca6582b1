"""A curve as SVG: a panel for each series, its points, the line through them, and the band of their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from anymal_eval.report.curve import Point, Series, labels
from anymal_eval.visible import visible_line

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 34, 40
TICKS = 5
_STYLE = (
    "text{font:12px sans-serif;fill:#333}.title{font-weight:bold}.grid{stroke:#ddd}.axis{stroke:#666}"
    ".band{fill:#4477aa;opacity:.2}.line{fill:none;stroke:#4477aa;stroke-width:2}.point{fill:#4477aa}"
    ".ends{stroke:#4477aa}"
)


def curve_svg(series: Sequence[Series], title: str) -> str:
    """The panels below one another; both axes are linear, and every panel has the same steps.

    Args:
        series: at least one, each with at least one point.
        title: of the picture, for readers that show it.
    """
    steps = [point.step for one in series for point in one.points]
    domain = _padded(min(steps), max(steps))
    panels = [
        f'<g transform="translate(0,{at * HEIGHT})">{_panel(one, label, domain)}</g>'
        for at, (one, label) in enumerate(zip(series, labels(series), strict=True))
    ]
    height = HEIGHT * len(series)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
    body = "\n".join(panels)
    return f"{head}\n<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n{body}\n</svg>\n"


def _panel(one: Series, label: str, domain: tuple[float, float]) -> str:
    ends = [end for point in one.points for end in (point.value, point.low, point.high) if end is not None]
    extent = _padded(min(ends), max(ends))

    def x(step: float) -> str:
        return f"{LEFT + (step - domain[0]) / (domain[1] - domain[0]) * (WIDTH - LEFT - RIGHT):.1f}"

    def y(value: float) -> str:
        return f"{HEIGHT - BOTTOM - (value - extent[0]) / (extent[1] - extent[0]) * (HEIGHT - TOP - BOTTOM):.1f}"

    parts = [f'<text class="title" x="{LEFT}" y="20">{_text(label)}, x100</text>']
    for value in _ticks(*extent):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value)}" y2="{y(value)}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value)}" dy="4" text-anchor="end">{value:g}</text>')
    for value in _ticks(*domain):
        if value == int(value):
            parts.append(f'<text x="{x(value)}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{int(value):,}</text>')
    axis = f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>'
    parts += [axis, f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">step</text>']
    with_ends = [
        (point, point.low, point.high) for point in one.points if point.low is not None and point.high is not None
    ]
    if len(with_ends) > 1:
        around = [f"{x(point.step)},{y(high)}" for point, _, high in with_ends]
        around += [f"{x(point.step)},{y(low)}" for point, low, _ in reversed(with_ends)]
        parts.append(f'<polygon class="band" points="{" ".join(around)}"/>')
    parts += [
        f'<line class="ends" x1="{x(point.step)}" x2="{x(point.step)}" y1="{y(low)}" y2="{y(high)}"/>'
        for point, low, high in with_ends
    ]
    line = " ".join(f"{x(point.step)},{y(point.value)}" for point in one.points)
    parts.append(f'<polyline class="line" points="{line}"/>')
    parts += [
        f'<circle class="point" cx="{x(point.step)}" cy="{y(point.value)}" r="3.5">'
        f"<title>{_text(_about(point))}</title>"
        "</circle>"
        for point in one.points
    ]
    return "".join(parts)


def _about(point: Point) -> str:
    ends = f" [{point.low:.2f}, {point.high:.2f}]" if point.low is not None and point.high is not None else ""
    return f"step {point.step:,}: {point.value:.2f}{ends}"


def _padded(low: float, high: float) -> tuple[float, float]:
    room = (high - low) * 0.05 or 1.0
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    """Round values inside an extent.

    >>> _ticks(-0.5, 10.5)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    width = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.8)
    first, last = math.ceil(low / width), math.floor(high / width)
    return [round(number * width, 10) for number in range(first, last + 1)]


def _text(text: str) -> str:
    return escape(visible_line(text), quote=True)
