"""The losses and scores of a training as a few lines of a terminal."""

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from anymal_eval.training.record import LOG, SCORE

WIDTH = 80
COLUMNS = (8, 48)  # of a course: the fewest and the most
BLOCKS = "▁▂▃▄▅▆▇█"


def plot(folder: Path, width: int = WIDTH) -> list[str]:
    """A line for each loss, and each evaluated headline, of ``log.jsonl``: its first value, its course, its last.

    Where names leave a course no room beside them, they have lines of their own. Values in one column are averaged. A
    quantity with one value has no course and no line; without a log, which a training of fewer steps than
    ``--log-every`` does not write, there are none.

    Args:
        folder: of the training.
        width: of the terminal; no line is longer.
    """
    series: dict[str, list[float]] = {}
    for row in _rows(folder / LOG):
        for name, value in row.items():
            if name.startswith(("loss", SCORE)) and isinstance(value, int | float) and math.isfinite(value):
                series.setdefault(name.removeprefix(SCORE), []).append(float(value))
    shown = {name: values for name, values in sorted(series.items()) if len(values) > 1}
    ends = {name: (f"{values[0]:.4g}", f"{values[-1]:.4g}") for name, values in shown.items()}
    name_width = max(map(len, shown), default=0)
    first_width, last_width = (max((len(pair[end]) for pair in ends.values()), default=0) for end in (0, 1))
    beside = width - name_width - first_width - last_width - 4  # columns that names leave in their line
    below = width - first_width - last_width - 2
    columns = min(beside if beside >= COLUMNS[0] else below, COLUMNS[1])
    lines = []
    for name, values in shown.items():
        first, last = ends[name]
        drawn = f"{course(values, columns)} " if columns > 0 else ""
        if beside >= COLUMNS[0]:
            lines.append(f"{name:<{name_width}}  {first:>{first_width}} {drawn}{last}")
        else:
            lines += [*_pieces(name, width), *_pieces(f"{first:>{first_width}} {drawn}{last}", width)]
    return lines


def _pieces(text: str, width: int) -> Iterator[str]:
    return (text[start : start + width] for start in range(0, len(text), width))


def course(values: Sequence[float], width: int) -> str:
    """Values as blocks, the smallest lowest.

    >>> course([3.0, 2.0, 1.0, 0.0], 8), course([8.0, 4.0, 2.0, 0.0], 2)
    ('█▆▃▁', '█▁')
    """
    count = min(width, len(values))
    edges = [len(values) * at // count for at in range(count + 1)]
    means = [sum(values[low:high]) / (high - low) for low, high in itertools.pairwise(edges)]
    lowest, highest = min(means), max(means)
    span = (highest - lowest) or 1.0
    return "".join(BLOCKS[round((len(BLOCKS) - 1) * (value - lowest) / span)] for value in means)


def _rows(log: Path) -> Iterator[dict[str, Any]]:
    """The lines that are whole: a plot is no reason to fail after a training."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row
