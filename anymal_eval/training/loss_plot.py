"""The losses and scores of a training as a few lines of a terminal."""

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path

from anymal_eval.training.record import LOG

WIDTH = 48
BLOCKS = "▁▂▃▄▅▆▇█"


def plot(folder: Path, width: int = WIDTH) -> list[str]:
    """A line for each loss, and each evaluated headline, of ``log.jsonl``: its first value, its course, its last.

    Values in one column are averaged. A quantity with one value has no course and no line.
    """
    series: dict[str, list[float]] = {}
    for line in (folder / LOG).read_text(encoding="utf-8").splitlines():
        for name, value in json.loads(line).items():
            if name.startswith(("loss", "eval_")) and isinstance(value, int | float) and math.isfinite(value):
                series.setdefault(name.removeprefix("eval_"), []).append(float(value))
    shown = {name: values for name, values in series.items() if len(values) > 1}
    longest = max(map(len, shown), default=0)
    return [
        f"{name:<{longest}}  {values[0]:>8.4g} {course(values, width)} {values[-1]:.4g}"
        for name, values in sorted(shown.items())
    ]


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
