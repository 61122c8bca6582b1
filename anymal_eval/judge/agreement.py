"""Whether annotators agree with each other, and each with itself."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from anymal_eval.errors import NeedsExtra

Level = Literal["nominal", "ordinal", "interval", "ratio"]


@dataclass(frozen=True, kw_only=True)
class Label:
    """What an annotator gave to a unit: an item with a pair of systems, or with one system and a scale."""

    unit: str
    annotator: str
    value: float


def alpha(labels: Iterable[Label], level: Level = "nominal") -> float:
    """Krippendorff's alpha: 1 is agreement, 0 is chance. Units that one annotator judged alone do not count.

    NaN where there is nothing to compare, or all labels are equal.

    Raises:
        NeedsExtra: the package krippendorff is not installed.

    Source:
        Krippendorff 2011, Computing Krippendorff's Alpha-Reliability; computed by the package krippendorff.
    """
    try:
        import krippendorff
    except ImportError:
        raise NeedsExtra("krippendorff is not installed: pip install 'anymal_eval[judge]'") from None

    by_unit: dict[str, dict[str, float]] = {}
    for label in labels:
        by_unit.setdefault(label.unit, {})[label.annotator] = label.value
    shared = [unit for unit in by_unit.values() if len(unit) > 1]
    values = sorted({value for unit in shared for value in unit.values()})
    if len(values) < 2:
        return float("nan")
    annotators = sorted({name for unit in shared for name in unit})
    data = np.array([[unit.get(name, np.nan) for unit in shared] for name in annotators])
    return float(krippendorff.alpha(reliability_data=data, level_of_measurement=level, value_domain=values))


def consistency(pairs: Sequence[tuple[str, float, float]]) -> Mapping[str, tuple[int, int]]:
    """How often each annotator judged a repeated trial as before.

    Args:
        pairs: annotator, the value the first time, the value when it was repeated.

    Returns:
        By annotator: the number of equal ones, and of all.
    """
    all_ones = Counter(name for name, _, _ in pairs)
    equal = Counter(name for name, before, after in pairs if before == after)
    return {name: (equal[name], count) for name, count in sorted(all_ones.items())}
