"""What votes say of each pair of systems: wins, ties, losses, and the win rate with its interval.

A tie and two bad answers count half a win for each side, so that the two win rates of a pair add up to one. The items
are a sample and the annotators are not: several votes on one item are one cluster, and the interval says what other
items would have given by the same annotators.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anymal_eval.statistics.intervals import clustered_error, quantile, wilson
from anymal_eval.statistics.resample import cluster_codes

HALF = 0.5
DETECTING = 0.8  # the probability with which a study of the size that is named would find the difference


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One vote that compares: ``first`` against ``second`` on an item.

    Attributes:
        score: 1 where ``first`` is better, 0 where ``second`` is, 0.5 for a tie or two bad answers.
        both_bad: whether both were bad.
        first_left: whether ``first`` stood on the left.
        seconds: from when it was shown to the vote.
    """

    item: str
    annotator: str
    first: str
    second: str
    score: float
    both_bad: bool = False
    first_left: bool = True
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class WinRate:
    """The outcome of one pair, ``first`` against ``second``.

    Attributes:
        wins, ties, losses: votes; both_bad is the part of the ties in which both answers were bad.
        rate: (wins + ties / 2) / votes, with its 95 % interval clustered by item.
        items: how many items have a vote.
        p: two-sided, that the rate is a half; NaN with fewer than two items.
        more_items: about how many more items would decide it, were the rate the true one; 0 where it is decided, None
            where the rate is a half.
    """

    first: str
    second: str
    wins: int
    ties: int
    losses: int
    both_bad: int
    rate: float
    low: float
    high: float
    items: int
    p: float
    more_items: int | None


def win_rates(votes: Iterable[Comparison]) -> list[WinRate]:
    """The outcome of each pair, in the order of their first votes."""
    by: dict[tuple[str, str], list[Comparison]] = {}
    for vote in votes:
        by.setdefault((vote.first, vote.second), []).append(vote)
    return [_rate(pair, each) for pair, each in by.items()]


def share_interval(
    scores: NDArray[np.float64], items: Sequence[str], level: float = 0.95
) -> tuple[float, float, float, float]:
    """The mean of scores in [0, 1], its interval and its standard error, clustered by item.

    Args:
        scores: (N,).
        items: of each score.
        level: of the interval.

    Returns:
        Mean, low, high, standard error; the error is NaN with one item. Where all items agree the interval is
        Wilson's with one observation an item, a bound.
    """
    codes, count = cluster_codes(items)
    mean = float(scores.mean())
    error = clustered_error(scores, codes, count)
    if not error > 1e-12:
        low, high = wilson(mean, count, quantile(np.arange(max(count, 2)), level))
        return mean, low, high, error
    width = quantile(codes, level) * error
    return mean, max(0.0, mean - width), min(1.0, mean + width), error


def position_bias(votes: Sequence[Comparison]) -> tuple[float, float, float]:
    """The share of decided votes that took the left answer, with its interval clustered by item; 0.5 is no bias.

    NaN where no vote is decided.
    """
    decided = [vote for vote in votes if vote.score != HALF]
    if not decided:
        return math.nan, math.nan, math.nan
    left = np.array([float((vote.score == 1) == vote.first_left) for vote in decided])
    mean, low, high, _ = share_interval(left, [vote.item for vote in decided])
    return mean, low, high


def further_items(difference: float, error: float, items: int) -> int | None:
    """About how many more items would show a difference with probability 0.8; None where no number would.

    Args:
        difference: which is taken to be the true one.
        error: its standard error over ``items`` items, which falls with their root.

    >>> further_items(0.1, 0.05, 40)
    39
    """
    from scipy.special import ndtri

    if difference == 0 or not error > 1e-12:
        return None
    reach = float(ndtri(0.975) + ndtri(DETECTING))
    return max(1, math.ceil(items * (reach * error / abs(difference)) ** 2 - items))


def _rate(pair: tuple[str, str], votes: Sequence[Comparison]) -> WinRate:
    from scipy.special import stdtr

    scores = np.array([vote.score for vote in votes])
    items = [vote.item for vote in votes]
    count = len(set(items))
    rate, low, high, error = share_interval(scores, items)
    p = math.nan
    if count > 1:
        p = 2 * float(stdtr(count - 1, -abs(rate - HALF) / error)) if error > 1e-12 else 2.0 ** (1 - count)
        p = 1.0 if rate == HALF else p
    more = 0 if low > HALF or high < HALF else further_items(rate - HALF, error, count)
    return WinRate(
        first=pair[0],
        second=pair[1],
        wins=int((scores == 1).sum()),
        ties=int((scores == HALF).sum()),
        losses=int((scores == 0).sum()),
        both_bad=sum(vote.both_bad for vote in votes),
        rate=rate,
        low=low,
        high=high,
        items=count,
        p=p,
        more_items=more,
    )
