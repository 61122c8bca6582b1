"""Holm's correction over the tasks of one check."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """The adjusted p-values, in the order given: below alpha, the chance of any false alarm is at most alpha.

    NaN (a task that could not be tested) stays NaN and is not counted.

    Source: Holm 1979, Scandinavian Journal of Statistics 6, 65-70, through statsmodels.

    >>> holm([0.01, 0.04, 0.03, float("nan"), 0.005])
    [0.03, 0.06, 0.06, nan, 0.02]
    """
    from statsmodels.stats.multitest import multipletests

    tested = [p for p in p_values if p == p]
    adjusted = iter(multipletests(tested, method="holm")[1].tolist() if tested else [])
    return [next(adjusted) if p == p else p for p in p_values]
