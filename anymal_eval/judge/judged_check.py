"""A judged study as a metric of ``check``: two runs on the same items, paired.

Where the study compares the two runs with each other, the values are their shares of the wins on each item, a tie as
half, which add up to 1. Where both are compared with a third, it is the share of wins over that one; where they are
rated, the mean of each scale. Several judgements of one item are one value. People and each model are tested apart.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from anymal_eval.errors import OtherRun
from anymal_eval.judge import study as studies
from anymal_eval.judge.judged_results import WIN_RATE, Judgements, judgements, system_of
from anymal_eval.judge.study import Study
from anymal_eval.metrics import Floats, Metric, Output, weighted_mean
from anymal_eval.records import Answer, Example
from anymal_eval.report.regression import Further
from anymal_eval.statistics.paired import compare
from anymal_eval.store.stored import StoredRun

Values = Mapping[str, float]  # item -> value


def judged_check(run: StoredRun, bases: Mapping[str, StoredRun], folder: Path) -> list[Further]:
    """The comparisons of a study, for ``check``.

    Args:
        run: the new one.
        bases: the baseline of each task.
        folder: of the study.

    Raises:
        OtherRun: the study holds no answers of the run, or of its baseline.
    """
    study = studies.read(folder)
    found = {task: bases[task] for task in study.tasks if task in bases}
    roots = {base.root for base in found.values()}
    if len(roots) != 1:
        raise OtherRun(f"{folder}: its tasks ({', '.join(study.tasks)}) have {len(roots)} baselines, and it needs one")
    base = next(iter(found.values()))
    before, after = (_named(study, each, folder) for each in (base, run))
    if before == after:
        raise OtherRun(f"{folder}: the run and its baseline are one system of the study, {after}")
    made = [one for each in judgements(folder) for one in _tests(study, each, (before, after), str(base.root))]
    if made:
        return made
    return [Further(task=study.name, base=str(base.root), metric=study.mode, why="no item was judged of both")]


def _named(study: Study, run: StoredRun, folder: Path) -> str:
    found = system_of(study, run.results)
    if found is None:
        known = ", ".join(system.run for system in study.systems if system.run)
        raise OtherRun(f"{folder} holds no answers of {run.root}, as it is now: it judges the runs {known}")
    return found


def _tests(study: Study, given: Judgements, systems: tuple[str, str], base: str) -> list[Further]:
    made = []
    for what, (before, after) in paired_values(given, *systems).items():
        shared = [item for item in before if item in after]
        if not shared:
            continue
        clusters = [study.cluster_of(item) for item in shared]
        stats = tuple(np.array([[each[item]] for item in shared]) for each in (before, after))
        (comparison,) = compare(MEAN, (stats[0], stats[1]), clusters, {})
        made.append(
            Further(
                task=f"{study.name}: {what} by {given.by}", base=base, metric=what, signature=given.signature,
                comparison=comparison,
            )
        )  # fmt: skip
    return made


def paired_values(given: Judgements, before: str, after: str) -> dict[str, tuple[Values, Values]]:
    """What -> the values of two systems by item, as the first lines of this file say."""
    scores = [(one.item, one.first, one.second, one.score) for one in given.comparisons]
    scores += [(item, second, first, 1 - score) for item, first, second, score in scores]

    def wins(one: str, other: str) -> Values:
        return _means([(item, score) for item, first, second, score in scores if (first, second) == (one, other)])

    def rated(system: str, scale: str) -> Values:
        return _means([(one.item, one.value) for one in given.ratings if (one.system, one.scale) == (system, scale)])

    found: dict[str, tuple[Values, Values]] = {}
    if direct := wins(after, before):
        found[WIN_RATE] = ({item: 1 - value for item, value in direct.items()}, direct)
    others = dict.fromkeys(second for _, first, second, _ in scores if first == after and second != before)
    for other in () if direct else others:
        found[f"{WIN_RATE} over {other}"] = (wins(before, other), wins(after, other))
    for scale in dict.fromkeys(one.scale for one in given.ratings):
        found[scale] = (rated(before, scale), rated(after, scale))
    return found


def _means(pairs: Sequence[tuple[str, float]]) -> Values:
    by: dict[str, list[float]] = {}
    for item, value in pairs:
        by.setdefault(item, []).append(value)
    return {item: float(np.mean(values)) for item, values in by.items()}


def _of_no_answer(examples: Sequence[Example], answers: Sequence[Answer]) -> Floats:
    raise TypeError(f"judgements are no function of {len(answers)} answers to {len(examples)} examples")


MEAN = Metric(
    name="judged", version="1", outputs=(Output("mean"),), statistics=_of_no_answer, reduce=weighted_mean,
    display=lambda stats: stats[:, 0], is_mean=True,
)  # fmt: skip
