"""What the answers of models as judges mean: in the form of people's votes, and never among them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np

from anymal_eval.judge import study as studies
from anymal_eval.judge.judge_answers import Judge, JudgeAnswer, judges
from anymal_eval.judge.outcomes import HALF, Comparison, share_interval
from anymal_eval.judge.questions import Question, Verdict, is_judged, questions, read
from anymal_eval.judge.ratings import Rating
from anymal_eval.judge.results import LEFT_SCORE, Judged
from anymal_eval.judge.study import Study
from anymal_eval.judge.verdicts import NONE, without_thinking

GRADE, CORRECT = "grade", "right option"
STATES = ("ok", "unreadable", "error", "missing")


@dataclass(frozen=True, kw_only=True)
class ScoredPair:
    """Scores of two answers, ``first`` shown first."""

    item: str
    first: str
    second: str
    scores: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ModelJudged:
    """The answers of one judge, by what they are about.

    Attributes:
        states: of its answers: ok, unreadable, error, missing.
        comparisons: one of each pair whose two orders were read: their verdict, or a tie where they differ.
        sides: the two orders for themselves.
        flips: of how many pairs the two orders differ, and of how many they were read.
        ratings: of each answer whose every run was read.
        runs: of graded answers, system -> the mean of each run, over the answers whose every run was read.
        scored: pairs that got scores.
        extraction: system -> of how many answers the judge finds the option that the rules found, and of how many.
        known: judgements of calibration items that are the known ones, and of how many.
    """

    judge: Judge
    study: Study
    states: Mapping[str, int]
    comparisons: Sequence[Comparison] = ()
    sides: Sequence[Comparison] = ()
    flips: tuple[int, int] = (0, 0)
    ratings: Sequence[Rating] = ()
    runs: Mapping[str, Sequence[float]]
    scored: Sequence[ScoredPair] = ()
    extraction: Mapping[str, tuple[int, int]]
    known: tuple[int, int] = (0, 0)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How often a judge and a person gave the same judgement, over all votes on what both judged; 95 % interval."""

    share: float
    low: float
    high: float
    votes: int
    items: int


def model_judged(folder: Path) -> list[ModelJudged]:
    """Read a study and what models answered.

    Raises:
        MissingData: there is no study. BadData: a file was changed.
    """
    study = studies.read(folder)
    return [_judged(study, judge, given) for judge, given in judges(folder)]


def agreement(found: ModelJudged, people: Judged) -> Agreement | None:
    """A judge beside people's votes; None where they judged nothing in common."""
    own: dict[tuple[str, ...], float] = {(one.item, one.first, one.second): one.score for one in found.comparisons}
    own |= {(one.item, one.system, one.scale): one.value for one in found.ratings}
    pairs = [((one.item, one.first, one.second), one.score) for one in people.comparisons]
    pairs += [((one.item, one.system, one.scale), one.value) for one in people.ratings]
    both = [(key[0], float(abs(own[key] - value) < 1e-9)) for key, value in pairs if key in own]
    if not both:
        return None
    items = [item for item, _ in both]
    share, low, high, _ = share_interval(np.array([equal for _, equal in both]), items)
    return Agreement(share=share, low=low, high=high, votes=len(both), items=len(set(items)))


def among_people(people: Judged) -> Agreement | None:
    """How often two people gave the same judgement to the same thing; None where no two judged one."""
    by: dict[str, list[float]] = {}
    for label in people.labels:
        by.setdefault(label.unit, []).append(label.value)
    equal, items = [], []
    for unit, values in by.items():
        for at, value in enumerate(values):
            equal += [float(value == other) for other in values[at + 1 :]]
            items += [unit.partition("|")[0]] * (len(values) - at - 1)
    if not equal:
        return None
    share, low, high, _ = share_interval(np.array(equal), items)
    return Agreement(share=share, low=low, high=high, votes=len(equal), items=len(set(items)))


def relative_scores(scored: Sequence[ScoredPair]) -> dict[tuple[str, str], tuple[float, float]]:
    """LLaVA-Bench's relative score of each pair, x100: the sum of the second's scores over the sum of the first's.

    Returns:
        (system, what it is compared with) -> over both orders, and over the published order, in which that other one
        stands first.
    """
    found = {}
    for first, second in dict.fromkeys((one.first, one.second) for one in scored):
        shown = [one.scores for one in scored if (one.first, one.second) == (first, second)]
        turned = [one.scores[::-1] for one in scored if (one.second, one.first) == (first, second)]
        both = [*shown, *turned]
        found[second, first] = tuple(
            100 * sum(own for _, own in some) / sum(other for other, _ in some) for some in (both, shown)
        )
    return found  # type: ignore[return-value]


def _judged(study: Study, judge: Judge, given: Mapping[str, JudgeAnswer]) -> ModelJudged:
    states: Counter[str] = Counter(dict.fromkeys(STATES, 0))
    read_as: dict[Question, Verdict] = {}
    for question in questions(study, judge.protocol):
        answer = given.get(question.id)
        if answer is None or answer.text is None:
            states["missing" if answer is None else "error"] += 1
            continue
        text = without_thinking(answer.text)
        verdict = None if text is None else read(study, judge.protocol, question, text)
        states["unreadable" if verdict is None else "ok"] += 1
        if verdict is not None:
            read_as[question] = verdict
    if judge.protocol.mode == "pairwise":
        return _compared(study, judge, states, read_as)
    return _rated(study, judge, states, read_as)


def _compared(
    study: Study, judge: Judge, states: Mapping[str, int], read_as: Mapping[Question, Verdict]
) -> ModelJudged:
    comparisons: list[Comparison] = []
    sides: list[Comparison] = []
    scored: list[ScoredPair] = []
    flips = pairs = 0
    known: list[bool] = []
    for item, systems in _units(study, judge):
        front, back = (read_as.get(Question(item=item, shown=shown)) for shown in (systems, systems[::-1]))
        if front is None or back is None:
            continue
        score, other = _score(front), 1 - _score(back)
        pairs += 1
        flips += score != other
        if study.is_calibration(item):
            truth = LEFT_SCORE[study.calibration[item - len(study.items)].choice]
            known.append(score == other == truth)
            continue
        first, second = (study.names[system] for system in systems)
        one = Comparison(
            item=study.items[item].key, annotator=judge.label, first=first, second=second, score=score,
            both_bad=front == back == "both bad",
        )  # fmt: skip
        sides += [one, replace(one, score=other, first_left=False)]
        comparisons.append(one if score == other else replace(one, score=HALF))
        if isinstance(front, tuple) and isinstance(back, tuple):
            scored += [
                ScoredPair(item=one.item, first=first, second=second, scores=front),
                ScoredPair(item=one.item, first=second, second=first, scores=back),
            ]
    return ModelJudged(
        judge=judge, study=study, states=states, comparisons=comparisons, sides=sides, flips=(flips, pairs), runs={},
        scored=scored, extraction={}, known=(sum(known), len(known)),
    )  # fmt: skip


def _rated(study: Study, judge: Judge, states: Mapping[str, int], read_as: Mapping[Question, Verdict]) -> ModelJudged:
    ratings: list[Rating] = []
    runs: dict[str, list[list[float]]] = {}
    extraction: dict[str, list[bool]] = {}
    known: list[bool] = []
    for item, (system,) in _units(study, judge):
        shown = study.all_items[item]
        rotations = len(shown.options) if judge.protocol.verdict == "option" else 1
        verdicts = [
            read_as.get(Question(item=item, shown=(system,), run=run, rotation=rotation))
            for run in range(judge.protocol.runs)
            for rotation in range(rotations)
        ]
        if any(verdict is None for verdict in verdicts):
            continue
        values = _values(verdicts, shown.label)
        if study.is_calibration(item):
            truth = study.calibration[item - len(study.items)].ratings
            known += [values[scale] == level for scale, level in truth.items() if scale in values]
            continue
        name = study.names[system]
        ratings += [
            Rating(item=shown.key, annotator=judge.label, system=name, scale=scale, value=value)
            for scale, value in values.items()
        ]
        if judge.protocol.verdict == "grade":
            runs.setdefault(name, []).append([float(verdict) for verdict in verdicts])  # type: ignore[arg-type]
        if judge.protocol.verdict == "option" and system < len(shown.choices):
            rule = NONE if shown.choices[system] is None else shown.choices[system]
            extraction.setdefault(name, []).append(set(verdicts) == {rule})
    return ModelJudged(
        judge=judge, study=study, states=states, ratings=ratings,
        runs={name: np.mean(rows, axis=0).tolist() for name, rows in runs.items()},
        extraction={name: (sum(equal), len(equal)) for name, equal in extraction.items()},
        known=(sum(known), len(known)),
    )  # fmt: skip


def _units(study: Study, judge: Judge) -> list[tuple[int, tuple[int, ...]]]:
    items = [item for item in range(len(study.all_items)) if is_judged(study, judge.protocol, item)]
    return [(item, systems) for item in items for systems in study.pairs_of(item)]


def _score(verdict: Verdict | None) -> float:
    """Of the answer that was shown first: 1 where it is better, 0.5 for a tie, 0."""
    if isinstance(verdict, tuple):
        return HALF if verdict[0] == verdict[1] else float(verdict[0] > verdict[1])
    return LEFT_SCORE[str(verdict)]


def _values(verdicts: Sequence[Verdict | None], label: int | None) -> dict[str, float]:
    """Scale -> value: the mean of levels or grades; of options, whether all rotations found the right one."""
    if isinstance(verdicts[0], dict):
        levels = [verdict for verdict in verdicts if isinstance(verdict, dict)]
        return {scale: fmean(each[scale] for each in levels) for scale in levels[0]}
    if isinstance(verdicts[0], float):
        return {GRADE: fmean(float(verdict) for verdict in verdicts)}  # type: ignore[arg-type]
    return {CORRECT: float(set(verdicts) == {label})}
