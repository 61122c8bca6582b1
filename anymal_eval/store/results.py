"""The records of ``results.json``, and reading them strictly."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anymal_eval.codec import decode, read_json
from anymal_eval.errors import BadData, MissingData
from anymal_eval.records import State

SCHEMA = 1
FILE = "results.json"
# What an answer has, by the name of the problem.
WHAT: Mapping[str, str] = {
    "empty": "are empty",
    "unparsable": "could not be read",
    "cut": "are cut at the limit of new tokens",
    "thinking": "have thinking before them, which is not scored",
    "template": "hold what belongs to a chat template",
}
# Models that answer without reading their input; their scores are a floor and no result.
CHANCE_MODELS = frozenset({"constant", "chance"})


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A metric over a run, as ``results.json`` holds it.

    Attributes:
        value, ci_low, ci_high: in the metric's own unit: fractions in [0, 1], CIDEr as the official code returns it.
        ci_method: the method of the 95 % interval; empty without one.
        n: the number of examples behind the value; errors are left out.
        n_expected: the official size of the split; None where it is unknown (most groups).
        states: the number of examples in each state; they add up to the examples requested.
        group: the subset it covers; None for all examples.
        headline: whether papers report this number for the task.
        cut, thinking, template: how many answers ended at the limit of new tokens, have thinking before them,
            hold what belongs to a chat template; 0 in runs of earlier versions, which did not count them.
    """

    task: str
    split: str
    data: str
    protocol: str
    metric: str
    version: str
    output: str
    signature: str
    value: float
    unit: Literal["fraction", "cider"]
    better: Literal["higher", "lower"]
    ci_low: float | None
    ci_high: float | None
    ci_method: str
    n: int
    n_expected: int | None
    states: Mapping[State, int]
    group: Mapping[str, str] | None
    headline: bool
    cut: int = 0
    thinking: int = 0
    template: int = 0

    @property
    def requested(self) -> int:
        """The number of examples requested, errors included."""
        return sum(self.states.values())

    @property
    def is_demo(self) -> bool:
        """Whether the data are the demo world, so that the value is no result on the benchmark."""
        return self.data == "demo"

    @property
    def rule(self) -> str:
        """``metric@version``."""
        return f"{self.metric}@{self.version}"

    @property
    def label(self) -> str:
        """``metric@version``, and the output where the metric has several."""
        return self.rule if self.output in ("", self.metric) else f"{self.rule} {self.output}"


@dataclass(frozen=True, kw_only=True)
class NotComputed:
    """A metric that could not be computed, and the reason, in one line."""

    task: str
    metric: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Chance:
    """The score of guessing under a task's headline metric: a ``uniform`` draw, or always the ``majority`` answer.

    ``says`` is that answer.
    """

    task: str
    metric: str
    output: str
    how: Literal["uniform", "majority"]
    says: str
    value: float


@dataclass(frozen=True, kw_only=True)
class AnswerProblem:
    """A kind of problem that ``count`` of a task's ``n`` answers have; the first such answer, and the reason."""

    task: str
    what: Literal["empty", "unparsable", "cut", "thinking", "template"]
    count: int
    n: int
    id: str
    answer: str
    why: str

    @property
    def sentence(self) -> str:
        """One sentence without its final period: the count, the first answer, and the reason."""
        said = f" {self.answer!r}" if self.answer else ""
        return f"{self.count:,} of {self.n:,} answers {WHAT[self.what]}; the first, {self.id}:{said} {self.why}"


@dataclass(frozen=True, kw_only=True)
class DataNote:
    """What a reader of a task's numbers must know of its data, in one sentence without its final period."""

    task: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """The facts about a run that tables show.

    Attributes:
        name: the folder's name.
        model: the value of ``--model``, without the path of a checkpoint.
        limit: the value of ``--limit``; None for all of the data.
        ablate: ``none``, ``no-media`` or ``shuffled-media``.
        fingerprint: of the model's weights and options.
    """

    name: str
    model: str
    limit: int | None = None
    ablate: str = "none"
    fingerprint: str = ""

    @property
    def is_chance(self) -> bool:
        """Whether the model answers without reading its input."""
        return self.model.partition(":")[0] in CHANCE_MODELS

    @property
    def label(self) -> str:
        """The model's name in a table, with ``chance`` or the ablation where one applies."""
        marks = ["chance"] if self.is_chance else []
        marks += [self.ablate] if self.ablate != "none" else []
        return f"{self.model} ({', '.join(marks)})" if marks else self.model


@dataclass(frozen=True, kw_only=True)
class Results:
    """The content of one ``results.json``."""

    schema: int
    run: RunFacts
    measurements: tuple[Measurement, ...]
    not_computed: tuple[NotComputed, ...] = ()
    chance: tuple[Chance, ...] = ()
    problems: tuple[AnswerProblem, ...] = ()
    data_notes: tuple[DataNote, ...] = ()

    @property
    def is_demo(self) -> bool:
        """Whether any measurement is over the demo world."""
        return any(measurement.is_demo for measurement in self.measurements)

    def headline(self, task: str) -> Measurement | None:
        """The number that papers report for a task; None where it was not computed."""
        return next((item for item in self.measurements if item.task == task and item.headline), None)


def read_results(run: Path) -> Results:
    """Read a run's results.

    Args:
        run: a run folder, or its ``results.json``.

    Raises:
        MissingData: there are no results.
        BadData: the results are truncated, of another or a newer schema, or inconsistent.
    """
    file = run / FILE if run.is_dir() else run
    if not file.is_file():
        raise MissingData(f"{run} holds no {FILE}: no run folder, or the run is not finished; anymal-eval score {run}")
    return parse_results(read_json(file), str(file))


def parse_results(data: Any, where: str) -> Results:
    """Convert parsed JSON into ``Results``.

    Args:
        data: the parsed JSON.
        where: the file, for messages.

    Raises:
        BadData: the data are of another or a newer schema, or inconsistent.
    """
    if not isinstance(data, dict) or not isinstance(data.get("schema"), int):
        raise BadData(f'{where}: it must be an object with a "schema" number')
    if data["schema"] > SCHEMA:
        raise BadData(f"{where}: schema {data['schema']} is newer than the {SCHEMA} that is known; update anymal_eval")
    if data["schema"] != SCHEMA:
        raise BadData(f"{where}: there is no schema {data['schema']}; this anymal_eval reads {SCHEMA}")
    if isinstance(data.get("run"), str):
        data = {**data, "run": {"name": data["run"], "model": data["run"]}}
    results = decode(Results, data, where)
    for at, measurement in enumerate(results.measurements):
        _check(measurement, f"{where}: measurements.{at} ({measurement.task} {measurement.label})")
    return results


def _check(measurement: Measurement, where: str) -> None:
    numbers = (measurement.value, measurement.ci_low, measurement.ci_high)
    if not all(number is None or math.isfinite(number) for number in numbers):
        raise BadData(f"{where}: value and interval must be finite")
    if (measurement.ci_low is None) != (measurement.ci_high is None):
        raise BadData(f"{where}: an interval needs both ci_low and ci_high")
    if measurement.ci_low is not None and measurement.ci_high is not None and measurement.ci_low > measurement.ci_high:
        raise BadData(f"{where}: ci_low {measurement.ci_low} is above ci_high {measurement.ci_high}")
    if any(count < 0 for count in measurement.states.values()):
        raise BadData(f"{where}: a state cannot have a negative count")
    if measurement.n != measurement.requested - measurement.states.get("error", 0):
        raise BadData(f"{where}: n is {measurement.n}, but the states leave {measurement.requested} less the errors")
