"""A curve as SVG: a panel for each series, its points, the line through them, and the band of their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anymal_eval.report.curve import Point, Series, labels
from anymal_eval.report.frame import Frame, padded, text_of

WIDTH, HEIGHT = 640, 240
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
    domain = step_domain(series)
    panels = []
    for at, (one, label) in enumerate(zip(series, labels(series), strict=True)):
        name = f'<text class="title" x="56" y="20">{text_of(label)}, x100</text>'
        panels.append(f'<g transform="translate(0,{at * HEIGHT})">{name}{panel(one, frame_of(one, domain))}</g>')
    height = HEIGHT * len(series)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
    body = "\n".join(panels)
    return f"{head}\n<title>{text_of(title)}</title>\n<style>{_STYLE}</style>\n{body}\n</svg>\n"


def step_domain(series: Sequence[Series]) -> tuple[float, float]:
    """The ends of the axis of steps, for all panels."""
    steps = [point.step for one in series for point in one.points]
    return padded(min(steps), max(steps))


def frame_of(one: Series, domain: tuple[float, float], values: Sequence[float] = (), **sizes: int) -> Frame:
    """The frame of a panel.

    Args:
        one: its series.
        domain: the ends of the axis of steps.
        values: more that it holds.
        sizes: fields of ``Frame`` other than those of the command's own file.
    """
    ends = [end for point in one.points for end in (point.value, point.low, point.high) if end is not None]
    extent = padded(min([*ends, *values]), max([*ends, *values]))
    known: Mapping[str, int] = {"width": WIDTH, "height": HEIGHT, **sizes}
    return Frame(x_domain=domain, y_domain=extent, **known)


def panel(one: Series, frame: Frame, marks: Sequence[str] = ()) -> str:
    """What lies inside a panel: axes, band, line, points.

    Args:
        one: the series.
        frame: where its values lie.
        marks: drawn in place of the points, one for each.
    """
    parts = frame.axes("step", whole=True)
    with_ends = [
        (point, point.low, point.high) for point in one.points if point.low is not None and point.high is not None
    ]
    if len(with_ends) > 1:
        around = [(float(point.step), high) for point, _, high in with_ends]
        around += [(float(point.step), low) for point, low, _ in reversed(with_ends)]
        parts.append(f'<polygon class="band" points="{frame.points(around)}"/>')
    parts += [
        f'<line class="ends" x1="{frame.x(point.step)}" x2="{frame.x(point.step)}" '
        f'y1="{frame.y(low)}" y2="{frame.y(high)}"/>'
        for point, low, high in with_ends
    ]
    line = frame.points([(point.step, point.value) for point in one.points])
    parts.append(f'<polyline class="line" points="{line}"/>')
    parts += marks or [
        f'<circle class="point" cx="{frame.x(point.step)}" cy="{frame.y(point.value)}" r="3.5">'
        f"<title>{text_of(about(point))}</title>"
        "</circle>"
        for point in one.points
    ]
    return "".join(parts)


def about(point: Point) -> str:
    """A point in words: its step, value and interval."""
    ends = f" [{point.low:.2f}, {point.high:.2f}]" if point.low is not None and point.high is not None else ""
    return f"step {point.step:,}: {point.value:.2f}{ends}"
