"""The spread of a number over runs that differ only in batch size, order, workers, device or seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anymal_eval.metrics import Groups, Metric
from anymal_eval.statistics import resample

if TYPE_CHECKING:
    from anymal_eval.metrics import Floats


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Repeated runs of one model, one output of one metric, in the metric's own unit.

    Attributes:
        values: one per run, in the given order.
        spread: largest minus smallest; a policy uses it as its floor.
        deviation: the standard deviation over the runs (n - 1).
        changed: the share of examples, in [0, 1], whose statistics differ between runs.
    """

    values: tuple[float, ...]
    spread: float
    deviation: float
    changed: float


def noise(metric: Metric, runs: Sequence[Floats], groups: Groups) -> tuple[Noise, ...]:
    """The spread of repeated runs over the same examples.

    Args:
        metric: the metric of all runs.
        runs: the statistics of two or more runs, each (N, k); row i is example i in all of them.
        groups: (N,) labels by group name.

    Returns:
        One for each of ``metric.outputs``.

    Raises:
        ValueError: fewer than two runs, or runs with different numbers of rows.
    """
    if len(runs) < 2 or len({run.shape for run in runs}) > 1:
        raise ValueError("noise needs two or more runs over the same examples")
    stacked = np.stack(runs)
    if stacked.shape[1] == 0:
        changed = float("nan")
    else:
        # Sums of floats differ in their last digits between machines; that is no changed answer.
        same = np.isclose(stacked, stacked[0], rtol=0, atol=1e-9, equal_nan=True)
        changed = float(1 - same.all(axis=(0, 2)).mean())
    values = np.stack([resample.value(metric, run, groups) for run in runs])
    return tuple(
        Noise(
            values=tuple(column.tolist()),
            spread=float(np.ptp(column)),
            deviation=float(column.std(ddof=1)),
            changed=changed,
        )
        for column in values.T
    )
