"""The content of a report, complete before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from anymal_eval.records import Example, Request, Response
from anymal_eval.report.curve import Series
from anymal_eval.report.gallery.spread import Spread
from anymal_eval.report.regression import Check, TaskCheck
from anymal_eval.report.rendering import Table
from anymal_eval.store.manifest import Manifest, TaskEntry
from anymal_eval.store.results import AnswerProblem, Chance, Measurement, NotComputed
from anymal_eval.store.shown_prompts import SentPrompt

# Scores are averages of few numbers: this much is rounding.
EXACT = 1e-6

Row = Mapping[str, Any]
Outcome = Literal["right", "partly", "wrong"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One run's answers to one task.

    Attributes:
        label: the run's name on the pages.
        rows: of ``scores.jsonl``, by example id; of the examples shown.
        headline: the run's headline for the task; None where it has none.
        groups: the headline metric in the task's groups.
        counts: how many answers are in each state, over all examples of the run.
        responses: as the model gave them, by example id; empty where the folder holds none (an accepted run).
        sent: the prompts after the model's chat template, by example id, of those for which the run has them.
        same_prompts: whether its prompts equal those of the reported run.
        measurements, chance, not_computed, problems: of the run's results, those of the task.
        spread: what the plots of single answers show, over all examples of the run.
    """

    label: str
    rows: Mapping[str, Row]
    headline: Measurement | None
    groups: Sequence[Measurement] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    responses: Mapping[str, Response] = field(default_factory=dict)
    sent: Mapping[str, SentPrompt] = field(default_factory=dict)
    same_prompts: bool = True
    measurements: Sequence[Measurement] = ()
    chance: Sequence[Chance] = ()
    not_computed: Sequence[NotComputed] = ()
    problems: Sequence[AnswerProblem] = ()
    spread: Spread = field(default_factory=Spread)


@dataclass(frozen=True, kw_only=True)
class TaskPage:
    """One task, with the answers of all runs to the same examples.

    Attributes:
        title: the benchmark's own name, such as ``AudioCaps``.
        reported: the split that papers report, where it is known.
        reference_lengths: the words of each reference of captions, over all examples.
        examples: the examples shown, in the order of the data.
        total: the number of examples in the run.
        requests: the exact prompts by example id; empty where the model's templates are unknown.
        sides: a side for each of the report's runs, in their order; without rows where a run does not have the task.
        base: the number of the side that the others are compared with first; 0 without one.
        checks: by pair of the report; None where one of the two does not have the task.
        measurements, chance, not_computed, problems: of the first run that has the task.
        ablate: the run's ``--ablate``: ``none``, ``no-media`` or ``shuffled-media``.
    """

    name: str
    entry: TaskEntry
    examples: Sequence[Example]
    total: int
    requests: Mapping[str, Request]
    sides: Sequence[Side]
    checks: Sequence[TaskCheck | None]
    measurements: Sequence[Measurement]
    chance: Sequence[Chance]
    not_computed: Sequence[NotComputed]
    ablate: str
    problems: Sequence[AnswerProblem] = ()
    title: str = ""
    reported: str = ""
    base: int = 0
    reference_lengths: Sequence[int] = ()

    @property
    def headline(self) -> Measurement | None:
        """The headline of the first run that has one."""
        return next((side.headline for side in self.sides if side.headline is not None), None)

    @property
    def metric(self) -> str:
        """The id of the headline's metric; empty where it was not computed."""
        return self.headline.rule if self.headline is not None else ""


@dataclass(frozen=True, kw_only=True)
class RunPair:
    """A run and a baseline of a report, by their numbers, with the result of ``check``."""

    run: int
    base: int
    check: Check


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What is recorded of a run.

    Attributes:
        name: on the pages.
        step: of the training, where the run's name or model ends in one.
        training: the name of the training's folder.
        model: its label in tables.
        manifests: of its folder; of a baseline made of several accepted runs, of each.
        sessions: the commands that worked on it.
        digests: the SHA-256 of each file of its results.
    """

    name: str
    step: int | None
    model: str
    manifests: Sequence[Manifest]
    training: str = ""
    sessions: Sequence[Mapping[str, Any]] = ()
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training: the name of its folder, the scores in its log (a series each), and its ``training.json``."""

    name: str
    series: Sequence[Series]
    record: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole report: any number of runs, compared with their baselines, and a page per task.

    Attributes:
        runs: those reported first, then the baselines.
        reported: how many of them are no baselines.
        pairs: each run with each baseline.
        judged: what studies say of the runs, by people and by models.
        trainings: whose checkpoints or logs are shown; without runs, all that a report shows.
    """

    title: str
    is_demo: bool
    pages: Sequence[TaskPage]
    runs: Sequence[RunRecord]
    reported: int
    pairs: Sequence[RunPair]
    judged: Sequence[Table] = ()
    trainings: Sequence[Training] = ()

    @property
    def names(self) -> Sequence[str]:
        """The names of the runs, which all differ."""
        return [run.name for run in self.runs]


def score_of(row: Row, example: Example, metric: str) -> float | None:
    """The score of an answer: by the headline's metric, else the probability given to the right label."""
    if row["state"] == "error":
        return None
    found = row["scores"].get(metric)
    if found is not None:
        return float(found)
    if example.label is None:
        return None
    p_yes = row.get("p_yes")
    if p_yes is not None:
        return float(p_yes if example.label == 1 else 1.0 - p_yes)
    return float(row.get("choice") == example.label)


def outcome(row: Row, example: Example, metric: str) -> Outcome | None:
    """Whether an answer is right; None for an error, and where right and wrong have no meaning: captions are graded.

    A choice is right where it is the label. Another answer is right with the whole score, wrong with none of it, and
    partly right in between: no threshold.

    >>> answer = {"state": "ok", "scores": {"vqa_accuracy@2021": 0.6}}
    >>> outcome(answer, Example(id="1", cluster="1", kind="short_answer"), "vqa_accuracy@2021")
    'partly'
    """
    if row["state"] == "error" or example.kind == "caption":
        return None
    if example.label is not None and example.kind in ("choice", "yes_no"):
        return "right" if row.get("choice") == example.label else "wrong"
    score = score_of(row, example, metric)
    if score is None:
        return None
    return "right" if score >= 1.0 - EXACT else "wrong" if score <= EXACT else "partly"
