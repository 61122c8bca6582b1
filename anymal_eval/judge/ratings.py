"""What ratings say of each system on each scale, and of the difference of two systems on the same items."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from anymal_eval.judge.outcomes import further_items, share_interval
from anymal_eval.statistics.intervals import quantile


@dataclass(frozen=True, kw_only=True)
class Rating:
    """One level, in [0, 1]; ``seconds`` from when the answer was shown to the vote, on all of its scales."""

    item: str
    annotator: str
    system: str
    scale: str
    value: float
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class MeanRating:
    """Of a system on a scale, with its 95 % interval clustered by item."""

    system: str
    scale: str
    value: float
    low: float
    high: float
    ratings: int
    items: int


@dataclass(frozen=True, kw_only=True)
class RatingChange:
    """``first`` less ``second`` on a scale, over the items that both have; p is two-sided, NaN with fewer than two.

    ``more_items`` is about how many more items would decide it, were the difference the true one; 0 where the interval
    leaves out 0, None where no number would.
    """

    first: str
    second: str
    scale: str
    difference: float
    low: float
    high: float
    items: int
    p: float
    more_items: int | None = None


def means(ratings: Sequence[Rating]) -> list[MeanRating]:
    """The mean of each system on each scale, in the order of the ratings."""
    by: dict[tuple[str, str], list[Rating]] = {}
    for one in ratings:
        by.setdefault((one.system, one.scale), []).append(one)
    found = []
    for (system, scale), each in by.items():
        items = [one.item for one in each]
        value, low, high, _ = share_interval(np.array([one.value for one in each]), items)
        found.append(
            MeanRating(
                system=system, scale=scale, value=value, low=low, high=high, ratings=len(each), items=len(set(items))
            )
        )
    return found


def changes(ratings: Sequence[Rating]) -> list[RatingChange]:
    """The difference of each two systems on each scale: a paired t test over the means of the items."""
    sums: dict[tuple[str, str], dict[str, list[float]]] = {}
    for one in ratings:
        sums.setdefault((one.system, one.scale), {}).setdefault(one.item, []).append(one.value)
    systems = list(dict.fromkeys(one.system for one in ratings))
    scales = list(dict.fromkeys(one.scale for one in ratings))
    found = []
    for first, second in combinations(systems, 2):
        for scale in scales:
            before, after = sums.get((first, scale), {}), sums.get((second, scale), {})
            shared = [item for item in before if item in after]
            if shared:
                apart = np.array([np.mean(before[item]) - np.mean(after[item]) for item in shared])
                found.append(_change(first, second, scale, apart))
    return found


def _change(first: str, second: str, scale: str, apart: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> RatingChange:
    from scipy.special import stdtr

    count, mean = len(apart), float(apart.mean())
    error = float(apart.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    width = quantile(np.arange(count), 0.95) * error if count > 1 else math.nan
    p = 2 * float(stdtr(count - 1, -abs(mean) / error)) if error > 0 else (1.0 if mean == 0 else math.nan)
    return RatingChange(
        first=first,
        second=second,
        scale=scale,
        difference=mean,
        low=mean - width,
        high=mean + width,
        items=count,
        p=p if count > 1 else math.nan,
        more_items=0 if abs(mean) > width else further_items(mean, error, count),
    )
