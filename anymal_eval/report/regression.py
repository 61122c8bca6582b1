"""Whether a run is worse than its baseline: a verdict per task, over examples matched by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any, Literal

from anymal_eval.errors import AnyMALEvalError, CannotTell, OtherRun, ScoreRegression, listed
from anymal_eval.report.comparable import refusal
from anymal_eval.report.flips import Flip, flips
from anymal_eval.report.noise_floor import Floor
from anymal_eval.report.pairing import Pairs, TaskRun, metric_output, pair, task_run
from anymal_eval.report.policy import Policy, TierName
from anymal_eval.sources.load import collector_resting
from anymal_eval.statistics import gain as gains
from anymal_eval.statistics.gain import Gain
from anymal_eval.statistics.p_values import holm
from anymal_eval.statistics.paired import Comparison, compare
from anymal_eval.statistics.power import smallest_detectable
from anymal_eval.statistics.verdict import VerdictLimits, judge
from anymal_eval.store.manifest import RECORDED_ONLY
from anymal_eval.store.results import WHAT
from anymal_eval.store.stored import StoredRun

Word = Literal["better", "same", "worse", "cannot tell", "refused", "not compared"]


@dataclass(frozen=True, kw_only=True)
class TaskCheck:
    """The result for one task, in the metric's own unit.

    Attributes:
        word: the verdict; ``refused`` where the runs are not comparable, ``not compared`` where only one has the task.
        why: the reason for the verdict, in one sentence.
        base: the run folder of the baseline.
        p: two-sided, after Holm over all tasks of the check; NaN where nothing was tested.
        detectable: the smallest difference that this comparison detects with probability 0.8; NaN if unknown.
        limit: the largest fall that does not matter; None where none is set.
        notes: what is to know of either run's answers: how many are empty, unparsable or cut.
        by_policy: whether a change that is more than chance is within that limit.
        lacking: whether the baseline has the task, and the run does not.
    """

    task: str
    tier: TierName
    word: Word
    why: str
    base: str = ""
    metric: str = ""
    unit: str = ""
    signature: str = ""
    group: Mapping[str, str] | None = None
    comparison: Comparison | None = None
    p: float = nan
    detectable: float = nan
    gain: Gain | None = None
    limit: float | None = None
    by_policy: bool = False
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()
    flips: tuple[Flip, ...] = ()
    notes: tuple[str, ...] = ()
    lacking: bool = False


@dataclass(frozen=True, kw_only=True)
class Check:
    """A whole check: the run, its tasks, and other differences from its baseline (versions, device, weights)."""

    run: str
    model: str
    against: str
    is_demo: bool
    alpha: float
    tasks: tuple[TaskCheck, ...]
    also_differs: tuple[str, ...]

    def named(self, word: Word, tier: TierName | None = None) -> list[str]:
        """The names of the tasks with a verdict."""
        return [item.task for item in self.tasks if item.word == word and tier in (None, item.tier)]

    def error(self) -> AnyMALEvalError | None:
        """The error that ends the command: a refusal, a regression, or an open verdict; None where all tasks passed."""
        refused = [item for item in self.tasks if item.word == "refused"]
        if refused:
            return OtherRun("; ".join(f"{item.task}: refused: {item.why}" for item in refused))
        worse, unsure = self.named("worse", "blocking"), self.named("cannot tell", "blocking")
        if worse:
            return ScoreRegression(f"worse than {self.against}: {', '.join(worse)}")
        lacking = [item.task for item in self.tasks if item.lacking]
        texts = [f"too little to tell whether it is worse than {self.against}: {', '.join(unsure)}"] if unsure else []
        if lacking:
            texts.append(
                f"the run lacks what {self.against} has: {', '.join(lacking)}; the run's command with these --tasks "
                "adds them, and a --policy may list them as watched"
            )
        return CannotTell("; ".join(texts)) if texts else None


@dataclass(frozen=True, kw_only=True)
class Further:
    """A comparison of the same two runs by something else than a task's metric, such as people's judgements.

    Attributes:
        task: its name among the tasks.
        base: the run folder of the baseline.
        metric, signature: what is compared, and the rule behind it.
        comparison: a fraction, paired on items; None where there is nothing to compare, and ``why`` is the reason.
    """

    task: str
    base: str
    metric: str
    signature: str = ""
    comparison: Comparison | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class _Tested:
    """A tested task, before Holm's correction."""

    before: TaskRun
    pairs: Pairs
    comparison: Comparison
    gain: Gain


def check(
    run: StoredRun,
    against: Mapping[str, StoredRun],
    name: str,
    policy: Policy,
    floors: Mapping[str, Floor],
    further: Sequence[Further] = (),
) -> Check:
    """Compare a run with its baseline, task by task.

    Args:
        run: the new run, as ``open_run`` returns it.
        against: the baseline of each task. Tasks that only one side has are listed and not compared; one that the run
            lacks is an open verdict, but where the policy lists it as watched.
        name: the user's name for the baseline.
        policy: tiers and limits.
        floors: by task, the spread of repeated runs.
        further: comparisons beside the tasks' metrics; they are corrected and judged with them.

    Raises:
        OtherRun: the two have no task in common.
        BadData: a file is inconsistent.
    """
    mine = run.manifest.tasks
    shared = [task for task in mine if task in against]
    if not shared:
        raise OtherRun(
            f"{run.root} holds {', '.join(mine)} and {name} holds {', '.join(against)}: there is no task to compare"
        )
    found: dict[str, _Tested | TaskCheck] = {}
    with collector_resting():
        for task in shared:
            both = task_run(against[task], task), task_run(run, task)
            found[task] = _test(both, policy, floors.get(task), str(against[task].root))
    tested = {task: item for task, item in found.items() if isinstance(item, _Tested)}
    comparisons = {task: item.comparison for task, item in tested.items()}
    comparisons |= {item.task: item.comparison for item in further if item.comparison is not None}
    adjusted = dict(zip(comparisons, holm([item.p for item in comparisons.values()]), strict=True))
    checks = [
        replace(
            item if isinstance(item, TaskCheck) else _judged(item, adjusted, policy, floors.get(task), against[task]),
            notes=(*_notes("base", against[task], task), *_notes("run", run, task)),
        )
        for task, item in found.items()
    ]
    checks += [_further(item, adjusted, policy) for item in further]
    lone = {task: "only this run has it" for task in mine if task not in against}
    known = {*mine, *against, *(item.task for item in further)}
    lone |= {task: "the policy names it, and neither run has it" for task in sorted(policy.named - known)}
    checks += [_lone(task, why, policy) for task, why in lone.items()]
    checks += [_lacking(task, name, policy) for task in against if task not in mine]
    return Check(
        run=run.manifest.run,
        model=run.results.run.label,
        against=name,
        is_demo=run.results.is_demo,
        alpha=policy.alpha,
        tasks=tuple(checks),
        also_differs=_also_differs(run, list({base.root: base for base in against.values()}.values())),
    )


def _test(both: tuple[TaskRun, TaskRun], policy: Policy, floor: Floor | None, base: str) -> _Tested | TaskCheck:
    """Test a task, or refuse it where the two runs are not comparable."""
    before, after = both
    task, tier = before.name, policy.tier(before.name)

    def refused(why: str, pairs: Pairs | None = None) -> TaskCheck:
        alone = (pairs.only_before, pairs.only_after) if pairs else ((), ())
        return TaskCheck(
            task=task, tier=tier, word="refused", why=why, base=base, only_before=alone[0], only_after=alone[1]
        )

    subsets = before.entry.n != after.entry.n or before.entry.subset != after.entry.subset
    why = refusal(before, after, by_subset=subsets)
    if why:
        return refused(why)
    pairs = pair(before, after)
    if pairs.missing > policy.allowed_missing:
        alone = [f"{len(names):,} examples only in the {which} ({listed(names)})"
                 for which, names in (("base", pairs.only_before), ("run", pairs.only_after)) if names]  # fmt: skip
        allowed = f"{pairs.missing:.2%} are missing, allowed_missing is {policy.allowed_missing:.2%}"
        return refused(f"{' and '.join(alone)}: {allowed}", pairs)
    if not pairs.rows[0]:
        return refused("no example is in both runs", pairs)
    headline = before.headline
    assert headline is not None  # noqa: S101  # refused above
    if floor is not None and floor.signature != headline.signature:
        return refused(f"its noise was measured as {floor.signature!r}, the runs as {headline.signature!r}", pairs)
    metric, at = metric_output(headline)
    return _Tested(
        before=before,
        pairs=pairs,
        comparison=compare(metric, pairs.stats, pairs.clusters, pairs.groups)[at],
        gain=gains.paired(metric, pairs.stats, pairs.clusters, pairs.groups)[at],
    )


def _judged(
    item: _Tested, adjusted: Mapping[str, float], policy: Policy, floor: Floor | None, base: StoredRun
) -> TaskCheck:
    task, comparison = item.before.name, item.comparison
    headline = item.before.headline
    assert headline is not None  # noqa: S101  # refused before
    allowed = policy.allowed(task)
    limits = VerdictLimits(absolute=allowed.absolute, relative=allowed.relative, noise=floor.spread if floor else 0.0)
    detectable = smallest_detectable(comparison, tests=len(adjusted), alpha=policy.alpha)
    verdict = judge(comparison, adjusted[task], limits=limits, detectable=detectable, alpha=policy.alpha)
    return TaskCheck(
        task=task,
        tier=policy.tier(task),
        word=verdict.word,
        why=verdict.why,
        base=str(base.root),
        metric=headline.label,
        unit=headline.unit,
        signature=headline.signature,
        group=headline.group,
        comparison=comparison,
        p=adjusted[task],
        detectable=detectable,
        gain=item.gain,
        limit=limits.at(comparison.before),
        by_policy=verdict.word == "same" and adjusted[task] < policy.alpha,
        only_before=item.pairs.only_before,
        only_after=item.pairs.only_after,
        flips=flips(item.pairs, headline.rule),
    )


def _further(item: Further, adjusted: Mapping[str, float], policy: Policy) -> TaskCheck:
    comparison, tier = item.comparison, policy.tier(item.task)
    if comparison is None:
        return TaskCheck(task=item.task, tier=tier, word="cannot tell", why=item.why, base=item.base)
    allowed, p = policy.allowed(item.task), adjusted[item.task]
    limits = VerdictLimits(absolute=allowed.absolute, relative=allowed.relative)
    detectable = smallest_detectable(comparison, tests=len(adjusted), alpha=policy.alpha)
    verdict = judge(comparison, p, limits=limits, detectable=detectable, alpha=policy.alpha)
    return TaskCheck(
        task=item.task,
        tier=tier,
        word=verdict.word,
        why=verdict.why,
        base=item.base,
        metric=item.metric,
        unit="fraction",
        signature=item.signature,
        comparison=comparison,
        p=p,
        detectable=detectable,
        limit=limits.at(comparison.before),
        by_policy=verdict.word == "same" and p < policy.alpha,
    )


def _notes(which: str, run: StoredRun, task: str) -> tuple[str, ...]:
    found = [f"{which}: {problem.sentence}" for problem in run.results.problems if problem.task == task]
    headline = run.results.headline(task)
    if not found and headline is not None:  # a run of a version that did not record examples
        found = [f"{which}: {count:,} of {headline.requested:,} answers {WHAT[state]}"
                 for state, count in headline.states.items() if state in WHAT and count]  # fmt: skip
    return tuple(found)


def _lone(task: str, why: str, policy: Policy) -> TaskCheck:
    # A task that the policy names must be present: a missing task must not pass the check.
    needed = task in policy.blocking.tasks
    return TaskCheck(task=task, tier=policy.tier(task), word="refused" if needed else "not compared", why=why)


def _lacking(task: str, name: str, policy: Policy) -> TaskCheck:
    open_verdict = task not in policy.watched.tasks
    return TaskCheck(task=task, tier=policy.tier(task), word="not compared", why=f"only {name} has it",
                     lacking=open_verdict)  # fmt: skip


def _also_differs(run: StoredRun, bases: Sequence[StoredRun]) -> tuple[str, ...]:
    """Differences that a retrained model may have, for the reader: weights, versions, device, remarks."""
    found = []
    for base in bases:
        for what in ("identity", "environment"):
            old: Mapping[str, Any] = getattr(base.manifest, what)
            new: Mapping[str, Any] = getattr(run.manifest, what)
            keys = sorted((old.keys() | new.keys()) - RECORDED_ONLY - {"limit", "split"})
            found += [f"{key}: {old.get(key)} -> {new.get(key)}" for key in keys if old.get(key) != new.get(key)]
        remarks = [", ".join(sorted({one.remark for one in each.manifest.tasks.values()})) for each in (base, run)]
        found += [f"remark: {remarks[0] or 'none'} -> {remarks[1] or 'none'}"] if remarks[0] != remarks[1] else []
    return tuple(dict.fromkeys(found))
