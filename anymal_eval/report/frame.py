"""The frame of a drawing in SVG: two linear axes with round numbers, and places for values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from anymal_eval.visible import visible_line


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A rectangle with axes, sizes in pixels.

    Attributes:
        width, height: of all of it.
        x_domain, y_domain: the values at the ends of the axes.
        left, right, top, bottom: the room around the rectangle in which values lie.
        count: about how many numbers an axis has.
    """

    width: int
    height: int
    x_domain: tuple[float, float]
    y_domain: tuple[float, float]
    left: int = 56
    right: int = 16
    top: int = 34
    bottom: int = 40
    count: int = 5

    def x(self, value: float) -> str:
        """The place of a value on the x axis."""
        low, high = self.x_domain
        return f"{self.left + (value - low) / (high - low) * (self.width - self.left - self.right):.1f}"

    def y(self, value: float) -> str:
        """The place of a value on the y axis."""
        low, high = self.y_domain
        room = self.height - self.top - self.bottom
        return f"{self.height - self.bottom - (value - low) / (high - low) * room:.1f}"

    def axes(self, x_name: str, *, whole: bool = False) -> list[str]:
        """Lines and numbers of both axes, and the name of the x axis.

        Args:
            x_name: the name.
            whole: only whole numbers on the x axis.
        """
        parts = []
        for value in ticks(*self.y_domain, self.count):
            at = self.y(value)
            parts.append(f'<line class="grid" x1="{self.left}" x2="{self.width - self.right}" y1="{at}" y2="{at}"/>')
            parts.append(f'<text x="{self.left - 6}" y="{at}" dy="4" text-anchor="end">{value:g}</text>')
        for value in ticks(*self.x_domain, self.count):
            if not whole or value == int(value):
                text = f"{int(value):,}" if whole else f"{value:g}"
                at = self.x(value)
                parts.append(f'<text x="{at}" y="{self.height - self.bottom + 16}" text-anchor="middle">{text}</text>')
        below = self.height - self.bottom
        parts.append(f'<line class="axis" x1="{self.left}" x2="{self.width - self.right}" y1="{below}" y2="{below}"/>')
        parts.append(
            f'<text x="{self.width - self.right}" y="{self.height - 8}" text-anchor="end">{text_of(x_name)}</text>'
        )
        return parts

    def points(self, values: Sequence[tuple[float, float]]) -> str:
        """The ``points`` of a line or an area."""
        return " ".join(f"{self.x(x)},{self.y(y)}" for x, y in values)


def padded(low: float, high: float) -> tuple[float, float]:
    """An extent with some room at both ends."""
    room = (high - low) * 0.05 or 1.0
    return low - room, high + room


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values inside an extent, about so many.

    >>> ticks(-0.5, 10.5)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    width = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.8)
    first, last = math.ceil(low / width - 1e-9), math.floor(high / width + 1e-9)
    return [round(number * width, 10) for number in range(first, last + 1)]


def text_of(words: str) -> str:
    """Any text inside SVG."""
    return escape(visible_line(words), quote=True)
