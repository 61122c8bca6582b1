"""Strengths of three systems or more from pairwise votes: Bradley and Terry's model, by the MM algorithm.

P(i beats j) = exp(s_i) / (exp(s_i) + exp(s_j)); a tie is half a win for each. Strengths exist where every system, in
whatever way they are split in two groups, has lost to one of the other group (Ford 1957); else some are infinite, and
the reason stands in place of a number. Intervals are t intervals with the standard error of a bootstrap over items: the
estimate lies further from 0 than the truth, and quantiles of the draws further still.

Source: Hunter 2004, doi:10.1214/aos/1079120141, section 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anymal_eval.errors import CannotTell
from anymal_eval.judge.outcomes import Comparison
from anymal_eval.statistics.intervals import quantile

DRAWS, SEED = 1000, 0
STEPS, CLOSE = 10_000, 1e-12
MOST_INFINITE = 0.05  # the share of draws without finite strengths from which on there is no interval


@dataclass(frozen=True, kw_only=True)
class Strength:
    """A system's strength, on the scale of log-odds; all strengths add up to 0.

    Attributes:
        low, high: the 95 % interval; NaN where too many draws have no finite strengths.
        elo: the strength in points of Elo, 400 / ln(10) a unit.
    """

    system: str
    strength: float
    low: float
    high: float

    @property
    def elo(self) -> float:
        """In points."""
        return self.strength * 400 / float(np.log(10))


def strengths(votes: Sequence[Comparison]) -> list[Strength]:
    """The strengths, the strongest first.

    Raises:
        CannotTell: the votes connect not all systems, or leave a strength infinite.
    """
    systems = sorted({name for vote in votes for name in (vote.first, vote.second)})
    number = {name: at for at, name in enumerate(systems)}
    items = sorted({vote.item for vote in votes})
    place = {item: at for at, item in enumerate(items)}
    won = np.zeros((len(items), len(systems), len(systems)))
    for vote in votes:
        first, second = number[vote.first], number[vote.second]
        won[place[vote.item], first, second] += vote.score
        won[place[vote.item], second, first] += 1 - vote.score
    whole = won.sum(axis=0)
    _require_finite(whole, systems)
    fitted = fit(whole)
    drawn = _bootstrap(won)
    width = np.full(len(systems), np.nan)
    if len(drawn) >= (1 - MOST_INFINITE) * DRAWS and len(items) > 1:
        width = quantile(np.arange(len(items)), 0.95) * drawn.std(axis=0, ddof=1)
    made = [
        Strength(
            system=name,
            strength=float(fitted[at]),
            low=float(fitted[at] - width[at]),
            high=float(fitted[at] + width[at]),
        )
        for name, at in number.items()
    ]
    return sorted(made, key=lambda one: -one.strength)


def fit(won: NDArray[np.float64]) -> NDArray[np.float64]:
    """The maximum of the likelihood, of one table of wins or of many at once.

    Args:
        won: (..., S, S), how often the row won over the column; finite strengths exist.

    Returns:
        (..., S), each with mean 0.
    """
    played = won + np.swapaxes(won, -1, -2)
    wins = won.sum(axis=-1)
    worth = np.ones(wins.shape)
    for _ in range(STEPS):
        new = wins / (played / (worth[..., :, None] + worth[..., None, :])).sum(axis=-1)
        new /= np.exp(np.log(new).mean(axis=-1, keepdims=True))
        apart = np.abs(new / worth - 1).max()
        worth = new
        if apart < CLOSE:
            break
    return np.asarray(np.log(worth))


def groups(won: NDArray[np.float64]) -> list[set[int]]:
    """The systems in groups within which each has, by a chain of wins, won over every other."""
    from scipy.sparse.csgraph import connected_components

    _, labels = connected_components(won > 0, directed=True, connection="strong")
    return [set(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)]


def _require_finite(won: NDArray[np.float64], systems: Sequence[str]) -> None:
    from scipy.sparse.csgraph import connected_components

    count, labels = connected_components(won + won.T > 0, directed=False)
    if count > 1:
        parts = [", ".join(np.array(systems)[labels == label]) for label in range(count)]
        raise CannotTell(f"no vote connects {' with '.join(parts)}: strengths would be of separate scales")
    found = groups(won)
    if len(found) > 1:
        top = next(one for one in found if not won[np.ix_(sorted(set(range(len(won))) - one), sorted(one))].any())
        names = ", ".join(systems[at] for at in sorted(top))
        raise CannotTell(f"{names} never lost to any other: the strength would be infinite")


def _bootstrap(won: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D, S): strengths over items drawn with replacement; draws without finite ones are left out."""
    drawing = np.random.default_rng(SEED)
    counts = np.array(
        [np.bincount(drawing.integers(len(won), size=len(won)), minlength=len(won)) for _ in range(DRAWS)]
    )
    drawn = np.tensordot(counts, won, axes=1)
    # Where each won over each other the search for groups, which is slow, has one answer.
    others = ~np.eye(won.shape[1], dtype=np.bool_)
    each_won: NDArray[np.bool_] = np.all(drawn[:, others] > 0, axis=1)
    finite = [at for at in range(DRAWS) if each_won[at] or len(groups(drawn[at])) == 1]
    return fit(drawn[finite]) if finite else np.empty((0, won.shape[1]))
