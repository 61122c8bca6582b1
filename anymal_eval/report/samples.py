"""Several samples of a run's answers: the mean of a headline over them, with the interval that sampling alone gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anymal_eval.store import digests
from anymal_eval.store.folder import SAMPLES
from anymal_eval.store.results import FILE, Measurement, Results, read_results


@dataclass(frozen=True, kw_only=True)
class SampleMean:
    """A headline over K samples, in the metric's own unit.

    Attributes:
        values: of each sample, (K,).
        mean: of them.
        low, high: the 95 % t interval of the mean over K - 1 degrees of freedom. The examples are the same in every
            sample: it covers what sampling changes, not which examples there are.
    """

    values: tuple[float, ...]
    mean: float
    low: float
    high: float


def sample_folders(root: Path) -> list[Path]:
    """The further samples inside a run folder, in their order."""
    found = [folder for folder in (root / SAMPLES).glob("*") if folder.name.isdecimal() and (folder / FILE).is_file()]
    return sorted(found, key=lambda folder: int(folder.name))


def read_samples(root: Path) -> list[Results]:
    """The results of the further samples of a run.

    Raises:
        OtherRun: one of them was changed since it was written.
    """
    for folder in sample_folders(root):
        digests.verify_where_written(folder, FILE)
    return [read_results(folder) for folder in sample_folders(root)]


def over_samples(headline: Measurement, others: Sequence[Results]) -> SampleMean | None:
    """The mean of a headline over the run's own sample and others; None where no other has it."""
    place = (headline.task, headline.split, headline.data, headline.rule, headline.output, headline.group)
    values = [headline.value]
    for results in others:
        for item in results.measurements:
            if item.headline and (item.task, item.split, item.data, item.rule, item.output, item.group) == place:
                values.append(item.value)
    return sample_mean(values) if len(values) > 1 else None


def sample_mean(values: Sequence[float]) -> SampleMean:
    """The mean of K >= 2 values with its t interval.

    >>> one = sample_mean([0.5, 0.6, 0.7])
    >>> round(one.mean, 3), round(one.low, 3), round(one.high, 3)
    (0.6, 0.352, 0.848)
    """
    from scipy.special import stdtrit

    count = len(values)
    mean = math.fsum(values) / count
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1) / count)
    width = float(stdtrit(count - 1, 0.975)) * spread
    return SampleMean(values=tuple(values), mean=mean, low=mean - width, high=mean + width)
