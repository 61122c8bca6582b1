"""Figures as SVG files, one light and one dark, with reproducible bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1b1f24"
MUTED = "#59636e"
LINE = "#d1d9e0"
SIDES = ("#0b63ce", "#b45309", "#7c3aed", "#0f766e")
CHANCE = "#8c959f"
# Light colour -> dark colour.
DARK: Mapping[str, str] = {
    INK: "#e6edf3",
    MUTED: "#9da7b3",
    LINE: "#3a434d",
    SIDES[0]: "#6cb0ff",
    SIDES[1]: "#f0a052",
    SIDES[2]: "#b79bff",
    SIDES[3]: "#4fd1c0",
    CHANCE: "#7d8590",
}
STYLE: Mapping[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "anymal_eval",
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "Segoe UI", "Helvetica", "Arial", "DejaVu Sans", "sans-serif"],
    "font.size": 10.0,
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": LINE,
    "legend.frameon": False,
}


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure on disk. ``file`` and ``dark`` are relative to the report's folder; ``alt`` is its alternative text."""

    file: str
    dark: str
    alt: str
    caption: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Words:
    """A figure's caption, and its alternative text for readers who cannot see it."""

    alt: str
    caption: str


@contextmanager
def styled() -> Iterator[None]:
    """Apply the gallery's matplotlib style inside a ``with`` statement."""
    import logging
    import warnings

    import matplotlib

    # The fonts are the reader's, and need not be installed on this machine.
    fonts = logging.getLogger("matplotlib.font_manager")
    before = fonts.level
    fonts.setLevel(logging.ERROR)
    try:
        with matplotlib.rc_context(dict(STYLE)), warnings.catch_warnings():
            # Matplotlib measures texts in its own font and warns about characters that the font lacks.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            yield
    finally:
        fonts.setLevel(before)


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes, sizes in inches; without a window or global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes: Axes = figure.subplots()
    return figure, axes


def save(folder: Path, name: str, figure: Figure, words: Words) -> Plot:
    """Write ``plots/<name>.svg`` and ``plots/<name>-dark.svg``."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    light = stream.getvalue()
    dark = light
    for colour, dark_colour in DARK.items():
        dark = dark.replace(colour, dark_colour)
    (folder / "plots").mkdir(exist_ok=True)
    file, other = f"plots/{name}.svg", f"plots/{name}-dark.svg"
    (folder / file).write_text(light, encoding="utf-8")
    (folder / other).write_text(dark, encoding="utf-8")
    width, height = figure.get_size_inches() * 96
    return Plot(file=file, dark=other, alt=words.alt, caption=words.caption, width=round(width), height=round(height))
