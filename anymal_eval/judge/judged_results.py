"""What studies say of a run, as plain records: for tables, reports and other programs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from anymal_eval import paths
from anymal_eval.errors import BadData
from anymal_eval.judge import study as studies
from anymal_eval.judge.model_results import Agreement, agreement, model_judged
from anymal_eval.judge.model_tables import agreement_text
from anymal_eval.judge.outcomes import Comparison, win_rates
from anymal_eval.judge.ratings import Rating, means
from anymal_eval.judge.results import judged
from anymal_eval.judge.study import FILE, Study
from anymal_eval.report.rendering import Cell, Table
from anymal_eval.report.run_table import SCALE, interval_text
from anymal_eval.store.results import Results

PEOPLE = "people"
WIN_RATE = "win rate"


@dataclass(frozen=True, kw_only=True)
class JudgedResult:
    """One number of a study about one of its systems, in [0, 1], with its 95 % interval clustered by item.

    Attributes:
        study: its name; folder: where it is.
        tasks: whose items were judged.
        by: ``people``, or the model and its protocol.
        signature: of the judge; empty for people.
        system: the run's name in the study; against: what it is compared with, empty for a rating.
        what: ``win rate`` (a tie is half a win), or the scale of a rating.
        judgements, items: how many, and on how many items.
        agreement: of a model, the share of people's votes that it gives too, with its interval; None where people did
            not vote.
        flip_rate: of a model, how often its verdict changed with the order of the answers; None for a rating.
    """

    study: str
    folder: str
    tasks: tuple[str, ...]
    by: str
    signature: str = ""
    system: str
    against: str = ""
    what: str
    value: float
    low: float
    high: float
    judgements: int
    items: int
    agreement: Agreement | None = None
    flip_rate: float | None = None
    is_demo: bool


@dataclass(frozen=True, kw_only=True)
class Judgements:
    """What one kind of judge, people or one model, gave to a study."""

    by: str
    signature: str
    comparisons: Sequence[Comparison]
    ratings: Sequence[Rating]
    agreement: Agreement | None = None
    flip_rate: float | None = None


def studies_in(folder: Path) -> list[Path]:
    """The studies in a folder, by name."""
    return sorted(file.parent for file in folder.glob(f"*/{FILE}"))


def judgements(folder: Path) -> list[Judgements]:
    """People's votes and each model's answers, apart; without those that judged nothing.

    Raises:
        MissingData: there is no study. BadData: a file was changed.
    """
    people = judged(folder)
    found = [Judgements(by=PEOPLE, signature="", comparisons=people.comparisons, ratings=people.ratings)]
    for one in model_judged(folder):
        flips, pairs = one.flips
        found.append(
            Judgements(
                by=one.judge.label,
                signature=one.judge.signature,
                comparisons=one.comparisons,
                ratings=one.ratings,
                agreement=agreement(one, people),
                flip_rate=flips / pairs if pairs else None,
            )
        )
    return [one for one in found if one.comparisons or one.ratings]


def system_of(study: Study, run: Results) -> str | None:
    """The name of a run in a study; None where none of its systems is this run, or more than one may be."""
    headlines = {task: run.headline(task) for task in study.tasks}
    signatures = {task: one.signature for task, one in headlines.items() if one is not None}
    found = [
        system.name
        for system in study.systems
        if (system.run, system.fingerprint) == (run.run.name, run.run.fingerprint)
        and all(system.signatures.get(task, signature) == signature for task, signature in signatures.items())
    ]
    return found[0] if len(found) == 1 else None


def judged_results(run: Results, folders: Iterable[Path]) -> list[JudgedResult]:
    """What studies say of a run; a study that does not hold its answers says nothing.

    Args:
        run: its results.
        folders: of studies, such as ``studies_in(paths.studies())``.

    Raises:
        BadData: a study was changed.
    """
    found = []
    for folder in folders:
        study = studies.read(folder)
        system = system_of(study, run)
        if system is not None:
            found += [each for one in judgements(folder) for each in _about(study, folder, system, one)]
    return found


def judged_tables(runs: Sequence[Results], named: Sequence[Path], tell: Callable[[str], None]) -> list[Table]:
    """The judged results of runs, for a terminal.

    Args:
        runs: their results.
        named: folders of studies, in one table; else those in the default folder, a table each.
        tell: takes a line about one of the default folder that cannot be read.

    Raises:
        MissingData, BadData: a study that was named is none, or was changed.
    """
    if named:
        return list(filter(None, [judged_table(runs, named)]))
    found = []
    for study in studies_in(paths.studies()):
        try:
            found.append(judged_table(runs, [study]))
        except BadData as error:
            tell(f"not shown: {error}")
    return list(filter(None, found))


def judged_table(runs: Sequence[Results], folders: Sequence[Path]) -> Table | None:
    """The judged results of runs as one table; None where there are none."""
    by_run = [(run.run.name, judged_results(run, folders)) for run in runs]
    rows, demo = [], False
    for name, results in by_run:
        for one in results:
            demo = demo or one.is_demo
            value = f"{SCALE * one.value:.1f} {interval_text(one.low, one.high, 1)}"
            agreed = "" if one.agreement is None else agreement_text(one.agreement)
            what = f"{one.what} against {one.against}" if one.against else one.what
            texts = (
                name, ", ".join(one.tasks), one.study, one.by, what, value, f"{one.judgements:,}", f"{one.items:,}",
                agreed,
            )  # fmt: skip
            rows.append(tuple(Cell(text, bold=at == 5) for at, text in enumerate(texts)))
    if not rows:
        return None
    flips = {
        f"{one.study}, {one.by}: flip rate {one.flip_rate:.2f}."
        for _, results in by_run
        for one in results
        if one.flip_rate is not None
    }
    columns = ("run", "tasks", "study", "by", "what", "x100", "judgements", "items", "with people")
    notes = (
        "Judgements of people or of a model: x100, with 95 % intervals clustered by item; a tie is half a win.",
        *sorted(flips),
    )
    return Table(title=f"Judged{', demo data' * demo}", columns=columns, rows=tuple(rows), notes=notes)


def _about(study: Study, folder: Path, system: str, one: Judgements) -> Iterator[JudgedResult]:
    mine = [_seen_from(system, each) for each in one.comparisons if system in (each.first, each.second)]
    numbers = [
        (WIN_RATE, rate.second, (rate.rate, rate.low, rate.high), (rate.wins + rate.ties + rate.losses, rate.items))
        for rate in win_rates(mine)
    ]
    numbers += [
        (mean.scale, "", (mean.value, mean.low, mean.high), (mean.ratings, mean.items))
        for mean in means([each for each in one.ratings if each.system == system])
    ]
    for what, against, (value, low, high), (count, items) in numbers:
        yield JudgedResult(
            study=study.name, folder=str(folder), tasks=study.tasks, by=one.by, signature=one.signature, system=system,
            against=against, what=what, value=value, low=low, high=high, judgements=count, items=items,
            agreement=one.agreement, flip_rate=one.flip_rate, is_demo=study.is_demo,
        )  # fmt: skip


def _seen_from(system: str, one: Comparison) -> Comparison:
    if one.first == system:
        return one
    return replace(one, first=one.second, second=one.first, score=1 - one.score, first_left=not one.first_left)
