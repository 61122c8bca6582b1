"""The mark of each run, the same on every plot: a shape and a colour, which two runs never share.

Plots are SVG inside the page. Colours are classes of ``overview.css``, which knows light and dark; a position along a
row is a percentage, so that a plot is as wide as its place and its text keeps its size.
"""

from __future__ import annotations

from collections.abc import Sequence

from anymal_eval.visible import visible_line

# Around (0, 0), of about the same area.
SHAPES = (
    "M-5 0A5 5 0 1 0 5 0A5 5 0 1 0-5 0Z",  # circle
    "M-4.6-4.6H4.6V4.6H-4.6Z",  # square
    "M0-5.8L5.7 4.4H-5.7Z",  # triangle
    "M-1.9-5.6H1.9V-1.9H5.6V1.9H1.9V5.6H-1.9V1.9H-5.6V-1.9H-1.9Z",  # plus
    "M0 5.8L5.7-4.4H-5.7Z",  # triangle, upside down
    "M0-6L1.8-2.2 6-1.7 2.9 1.1 3.7 5.2 0 3.2-3.7 5.2-2.9 1.1-6-1.7-1.8-2.2Z",  # star
    "M0-6.2L6.2 0 0 6.2-6.2 0Z",  # diamond
    "M-2.9-5H2.9L5.8 0 2.9 5H-2.9L-5.8 0Z",  # hexagon
)
COLOURS = 8  # of overview.css
MOST = len(SHAPES) * COLOURS
_BASE = 6  # a grey diamond, of the first baseline
LONGEST_NAME = 16


def mark_of(run: int, reported: int) -> tuple[int, int]:
    """The numbers of a run's shape and colour.

    Args:
        run: its number in the report, which holds at most ``MOST`` runs.
        reported: how many of the report's runs are no baselines; the first after them is the grey diamond.

    >>> [mark_of(run, 2) for run in range(4)]
    [(0, 0), (1, 1), (6, 6), (2, 2)]
    """
    if run == reported:
        place = _BASE
    else:
        at = run - (run > reported)
        place = at + (at >= _BASE)
    return place % len(SHAPES), (place + place // len(SHAPES)) % COLOURS


def mark_svg(mark: tuple[int, int], x: str = "7", y: str = "7", *, hollow: bool = False) -> str:
    """A mark at a position, for use inside an ``svg``; ``hollow`` where a value is no result."""
    shape, colour = mark
    classes = f"mark-shape s{shape} c{colour}{' hollow' if hollow else ''}"
    return f'<svg x="{x}" y="{y}" class="at"><path class="{classes}" d="{SHAPES[shape]}"/></svg>'


def key_svg(mark: tuple[int, int]) -> str:
    """A mark alone, in a line of text."""
    return f'<svg class="key-mark" width="14" height="14" aria-hidden="true">{mark_svg(mark)}</svg>'


def short_names(names: Sequence[str], most: int = LONGEST_NAME) -> list[str]:
    """Names short enough for a plot, which differ where the names do.

    >>> short_names(["baseline", "a-very-long-name-of-a-run-1", "a-very-long-name-of-a-run-2"])
    ['baseline', 'a-very-…-run-1', 'a-very-…-run-2']
    >>> short_names(["x" * 20 + "1" + "y" * 20, "x" * 20 + "2" + "y" * 20])
    ['xxxxxxx…yyyyyy 1', 'xxxxxxx…yyyyyy 2']
    """
    short = [_elided(visible_line(name), most) for name in names]
    found = [
        f"{name} {[*short[: at + 1]].count(name)}" if short.count(name) > 1 else name for at, name in enumerate(short)
    ]
    # A number may make a name equal to another one: then every name is its number.
    return found if len(set(found)) == len(found) else [f"run {at + 1}" for at in range(len(names))]


def _elided(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2 - 2) :]}"
