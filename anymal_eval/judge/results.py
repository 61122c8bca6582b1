"""What the votes of a study mean: each vote with the systems that it was about, which the annotator did not see."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from anymal_eval.errors import BadData
from anymal_eval.judge import study as studies
from anymal_eval.judge import votes as vote_files
from anymal_eval.judge.agreement import Label
from anymal_eval.judge.design import Trial, trials
from anymal_eval.judge.outcomes import HALF, Comparison
from anymal_eval.judge.ratings import Rating
from anymal_eval.judge.study import Study
from anymal_eval.judge.votes import Vote

OTHER_SIDE = {"left": "right", "right": "left"}
LEFT_SCORE = {"left": 1.0, "right": 0.0, "tie": HALF, "both bad": HALF}


@dataclass(frozen=True, kw_only=True)
class Annotator:
    """What one annotator did: votes that count, trials skipped, of how many, and the median time of a vote.

    Repeated trials and calibration items are in none of them. ``known`` is how many judgements of calibration items
    were the known ones, and of how many; of ratings, each scale is one.
    """

    code: str
    votes: int
    skipped: int
    trials: int
    seconds: float
    known: tuple[int, int] = (0, 0)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The votes of a study, by what they are about.

    Attributes:
        comparisons, ratings: those that count; repetitions and skipped trials do not.
        repeated: annotator, and the values of a trial and of its repetition.
        annotators: in the order of the study.
    """

    study: Study
    comparisons: Sequence[Comparison]
    ratings: Sequence[Rating]
    repeated: Sequence[tuple[str, float, float]]
    annotators: Sequence[Annotator]

    @property
    def labels(self) -> list[Label]:
        """For agreement: of comparisons, the sign; of ratings, the level."""
        found = [
            Label(unit=f"{one.item}|{one.first}|{one.second}", annotator=one.annotator, value=one.score)
            for one in self.comparisons
        ]
        return found + [
            Label(unit=f"{one.item}|{one.system}|{one.scale}", annotator=one.annotator, value=one.value)
            for one in self.ratings
        ]


def judged(folder: Path) -> Judged:
    """Read a study and its votes.

    Raises:
        MissingData: there is no study. BadData: a file was changed, or a vote is on no trial of the study.
    """
    study = studies.read(folder)
    by: dict[str, list[Vote]] = {name: [] for name in study.annotators}
    for vote in vote_files.read(folder):
        if vote.annotator not in by:
            raise BadData(f"{folder / vote_files.NAME}: a vote of {vote.annotator}, who is no annotator of the study")
        by[vote.annotator].append(vote)
    comparisons: list[Comparison] = []
    ratings: list[Rating] = []
    repeated: list[tuple[str, float, float]] = []
    annotators = []
    for name, lines in by.items():
        shown = {trial.id: trial for trial in trials(study.design, name)}
        given = {vote.trial: vote for vote in vote_files.standing(lines)}
        unknown = next((trial for trial in given if trial not in shown), None)
        if unknown is not None:
            raise BadData(f"{folder / vote_files.NAME}: a vote of {name} on {unknown}, which is no trial of the study")
        counted = {id: vote for id, vote in given.items() if vote.choice != "skip" and not shown[id].repeats}
        known = [(shown[id], counted.pop(id)) for id in list(counted) if study.is_calibration(shown[id].item)]
        counting = {id for id, trial in shown.items() if not trial.repeats and not study.is_calibration(trial.item)}
        for id, vote in counted.items():
            comparisons += _comparison(study, shown[id], vote)
            ratings += _ratings(study, shown[id], vote)
        repeated += _repeated(study, name, shown, given)
        times = [vote.seconds for vote in counted.values()]
        annotators.append(
            Annotator(
                code=name,
                votes=len(counted),
                skipped=sum(vote.choice == "skip" and id in counting for id, vote in given.items()),
                trials=len(counting),
                seconds=median(times) if times else 0.0,
                known=_known(study, known),
            )
        )
    return Judged(study=study, comparisons=comparisons, ratings=ratings, repeated=repeated, annotators=annotators)


def _known(study: Study, votes: Sequence[tuple[Trial, Vote]]) -> tuple[int, int]:
    equal = []
    for trial, vote in votes:
        truth = study.calibration[trial.item - len(study.items)]
        if study.mode == "pairwise":
            choice = vote.choice if trial.shown[0] == 0 else OTHER_SIDE.get(vote.choice, vote.choice)
            equal.append(choice == truth.choice)
        else:
            equal += [vote.ratings.get(scale) == level for scale, level in truth.ratings.items()]
    return sum(equal), len(equal)


def _comparison(study: Study, trial: Trial, vote: Vote) -> list[Comparison]:
    if study.mode != "pairwise":
        return []
    first, second = study.design.pair_of(trial.shown)
    is_left = trial.shown[0] == first
    score = LEFT_SCORE[vote.choice]
    return [
        Comparison(
            item=study.items[trial.item].key,
            annotator=vote.annotator,
            first=study.names[first],
            second=study.names[second],
            score=score if is_left else 1 - score,
            both_bad=vote.choice == "both bad",
            first_left=is_left,
            seconds=vote.seconds,
        )
    ]


def _ratings(study: Study, trial: Trial, vote: Vote) -> list[Rating]:
    return [
        Rating(
            item=study.items[trial.item].key,
            annotator=vote.annotator,
            system=study.names[trial.shown[0]],
            scale=scale,
            value=value,
            seconds=vote.seconds,
        )
        for scale, value in vote.ratings.items()
    ]


def _repeated(
    study: Study, name: str, shown: dict[str, Trial], given: dict[str, Vote]
) -> list[tuple[str, float, float]]:
    found = []
    for id, vote in given.items():
        before = given.get(shown[id].repeats)
        if before is None or "skip" in (vote.choice, before.choice):
            continue
        if study.mode == "pairwise":
            # The sides are exchanged: the same judgement is the other choice.
            found.append((name, LEFT_SCORE[before.choice], 1 - LEFT_SCORE[vote.choice]))
        else:
            found += [(name, value, vote.ratings[scale]) for scale, value in before.ratings.items()]
    return found
