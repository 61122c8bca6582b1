"""What ``report`` shows: a run's examples read again, their prompts, and other runs' answers to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anymal_eval import catalog, protocols
from anymal_eval.codec import decode
from anymal_eval.errors import BadData, BadDefinition, MissingData, NotInCatalog, OtherRun, WrongUse
from anymal_eval.evaluation.dataset import reload_dataset
from anymal_eval.evaluation.report_selection import RowsById, select_examples
from anymal_eval.evaluation.report_trainings import title, with_trainings
from anymal_eval.evaluation.requests import prompts_of
from anymal_eval.models import PLAIN_WORDING
from anymal_eval.paths import inside
from anymal_eval.protocols import Wording
from anymal_eval.protocols.overrides import Overrides
from anymal_eval.protocols.prompting import RequestBuilder
from anymal_eval.records import Request
from anymal_eval.report.curve import EVALUATIONS, step_of
from anymal_eval.report.gallery.content import Report, RunPair, RunRecord, Side, TaskPage, Training
from anymal_eval.report.gallery.marks import MOST
from anymal_eval.report.gallery.spread import spread
from anymal_eval.report.policy import Policy
from anymal_eval.report.regression import check
from anymal_eval.report.run_names import run_names
from anymal_eval.scoring.verification import verify_run
from anymal_eval.sources.ablation import ablated
from anymal_eval.sources.dataset import OWN, TaskDataset
from anymal_eval.sources.load import collector_resting
from anymal_eval.store import digests, sessions
from anymal_eval.store.accepted import base_runs
from anymal_eval.store.folder import RunFolder
from anymal_eval.store.manifest import TaskEntry
from anymal_eval.store.responses import read_responses
from anymal_eval.store.shown_prompts import FILE as PROMPTS
from anymal_eval.store.shown_prompts import read_prompts
from anymal_eval.store.stored import StoredRun, open_run


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What a report is to show; see ``cli/report.py``."""

    runs: Sequence[Path]
    against: Sequence[str]
    data_root: Path
    examples: int | None
    tasks_dir: Sequence[Path]
    accepted: Path


@dataclass(frozen=True, kw_only=True)
class _ReportedRun:
    """A run: its name on the pages, its folder by task, and the rows of the tasks that the report shows."""

    label: str
    runs: Mapping[str, StoredRun]
    rows: Mapping[str, RowsById] = field(default_factory=dict)


@collector_resting()
def read_report(options: ReportOptions) -> Report:
    """Read everything that a report shows; nothing is written.

    Raises:
        OtherRun: a folder holds no run, the runs share no task, or the data have changed since.
        MissingData, BadData: a run is not scored, or was edited; data files are not there.
        WrongUse: there are too many runs to tell apart.
    """
    folders, trainings = with_trainings(options.runs)
    options = _with_base(replace(options, runs=folders))
    if len(options.runs) + len(options.against) > MOST:
        raise WrongUse(f"a report shows at most {MOST} runs")
    opened = [open_run(folder) for folder in options.runs]
    for run in opened:
        run.hold_rows()
        verify_run(run)
    bases = [base_runs(each, opened[0].manifest, options.accepted) for each in options.against]
    for run in (run for each in bases for run in each.values()):
        run.hold_rows()
    stored = [*(dict.fromkeys(run.manifest.tasks, run) for run in opened), *bases]
    names = run_names([*options.runs, *(Path(each) if Path(each).exists() else each for each in options.against)])
    runs = [_ReportedRun(label=name, runs=each) for name, each in zip(names, stored, strict=True)]
    count = len(opened)
    pairs = [
        RunPair(run=at, base=base, check=check(run, runs[base].runs, names[base], Policy(), {}))
        for base in range(count, len(runs))
        for at, run in enumerate(opened)
    ]
    tasks = dict.fromkeys(task for run in opened for task in run.manifest.tasks)
    first: dict[str, RowsById] = {}
    runs = [replace(one, rows=_rows(one, tasks, first)) for one in runs]
    return Report(
        title=_heading(opened, names, trainings),
        is_demo=any(each.results.is_demo or any(entry.data == "demo" for entry in each.manifest.tasks.values())
                    for each in opened),
        pages=[_page(options, runs, pairs, task) for task in tasks],
        runs=[_record(run) for run in runs],
        reported=count,
        pairs=pairs,
        trainings=trainings,
    )  # fmt: skip


def _heading(opened: Sequence[StoredRun], names: Sequence[str], trainings: Sequence[Training]) -> str:
    count = len(opened)
    if trainings and count != 1:
        return ", ".join(one.name for one in trainings)
    if count == 1:
        return f"{names[0]}: {opened[0].results.run.label}"
    return ", ".join(names[:count]) if count < 4 else f"{len(names)} runs"


def _with_base(options: ReportOptions) -> ReportOptions:
    """Of several runs without a baseline, the first is it, as for ``compare``."""
    folders = list({folder.resolve(): folder for folder in options.runs}.values())
    against = options.against or ([str(folders[0])] if len(folders) > 1 else [])
    named = {Path(each).resolve() for each in against if Path(each).exists()}
    others = [folder for folder in folders if folder.resolve() not in named]
    return replace(options, runs=others or folders[:1], against=tuple(against))


def _record(reported: _ReportedRun) -> RunRecord:
    stored = list({run.root: run for run in reported.runs.values()}.values())
    first = stored[0]
    steps = (step_of(name) for name in (first.root.name, first.results.run.name, first.results.run.model))
    return RunRecord(
        name=reported.label,
        step=next((step for step in steps if step is not None), None),
        training=_training(first.root),
        model=first.results.run.label,
        manifests=[run.manifest for run in stored],
        sessions=[session for run in stored for session in _sessions(run)],
        digests={f"{run.manifest.run}/{name}" if len(stored) > 1 else name: digest
                 for run in stored for name, digest in _digests(run).items()},
    )  # fmt: skip


def rebuild_requests(dataset: TaskDataset, run: StoredRun, wanted: Collection[str] | None = None) -> dict[str, Request]:
    """The prompts as they were sent, by example id; empty where they cannot be built again without the model.

    All are built and hashed; those of the ``wanted`` ids are kept, or all.

    The words may be the protocol's or the model's own. The manifest holds the hash of all prompts, so each wording
    that the model's file defines is tried, and the one whose prompts have that hash is the one that was used.
    """
    entry, identity = run.manifest.tasks[dataset.task.name], run.manifest.identity
    try:
        overrides = decode(Overrides, dict(entry.overrides), f"{run.manifest.run}: overrides")
        protocol = replace(protocols.get(entry.protocol), overrides=overrides)
        ablate = str(identity.get("ablate", "none"))
        examples = ablated(dataset.examples, ablate)
    except NotInCatalog:
        return {}
    for wording in _wordings(str(identity["model"]), bool(entry.reading.get("length_normalise", False))):
        with suppress(BadDefinition):
            builder = RequestBuilder(dataset.task, wording, protocol)
            if prompts_of(dataset, examples, builder, ablate) == entry.prompts:
                kept = (item for item in examples if wanted is None or item.id in wanted)
                return {item.id: builder.build(item) for item in kept}
    return {}


def _training(root: Path) -> str:
    """The folder of the training that a run is of: the one above it, or above ``evaluations``."""
    above = root.resolve().parent
    return (above.parent if above.name == EVALUATIONS else above).name


def _sessions(run: StoredRun) -> Sequence[Mapping[str, Any]]:
    """The commands that worked on a run; no number depends on them, so a damaged list of them is only named."""
    try:
        return sessions.read(run.root / sessions.FILE)
    except BadData:
        return ({sessions.FILE: "damaged"},)


def _digests(run: StoredRun) -> Mapping[str, str]:
    with suppress(MissingData):
        return digests.read(run.root)
    return {}


def _rows(reported: _ReportedRun, tasks: Iterable[str], first: dict[str, RowsById]) -> Mapping[str, RowsById]:
    """What the report needs of each row; the rest, which comparing needed, is held no longer.

    ``first``: by task, those of the first run, with which the others share what is the same; they are added here.
    """
    found = {}
    for task in (task for task in tasks if task in reported.runs):
        found[task] = RowsById(reported.runs[task].score_rows(task), first.get(task))
        first.setdefault(task, found[task])
    for run in reported.runs.values():
        run.release_rows()
    return found


def _page(options: ReportOptions, runs: Sequence[_ReportedRun], pairs: Sequence[RunPair], task: str) -> TaskPage:
    run = next(each.runs[task] for each in runs if task in each.runs)
    entry, results = run.manifest.tasks[task], run.results
    dataset = reload_dataset(task, entry, options.data_root, options.tasks_dir, RunFolder(run.root))
    if not dataset.examples:
        raise OtherRun(f"{run.root}: none of the examples of {task} is there; report takes a run with its responses")
    sides = [_side(one, task, dataset, entry) for one in runs]
    examples = select_examples(dataset.examples, sides, options.examples)
    total, shown = len(dataset.examples), {example.id for example in examples}
    requests = rebuild_requests(dataset, run, shown)
    sides = [_of_examples(side, each.runs.get(task), task, shown) for side, each in zip(sides, runs, strict=True)]
    return TaskPage(
        name=task,
        title=title(task),
        reported=_reported_split(dataset, entry),
        entry=entry,
        examples=examples,
        total=total,
        requests=requests,
        sides=sides,
        base=len(options.runs) if options.against else 0,
        reference_lengths=[len(text.split()) for example in dataset.examples if example.kind == "caption"
                           for text in example.references or ()],
        checks=[next((item for item in pair.check.tasks
                      if item.task == task and task in runs[pair.base].runs and task in runs[pair.run].runs), None)
                for pair in pairs],
        measurements=[item for item in results.measurements if item.task == task],
        chance=[item for item in results.chance if item.task == task],
        not_computed=[item for item in results.not_computed if item.task == task],
        problems=[item for item in results.problems if item.task == task],
        ablate=str(run.manifest.identity.get("ablate", "none")),
    )  # fmt: skip


def _reported_split(dataset: TaskDataset, entry: TaskEntry) -> str:
    """The split that the protocol's paper reports, else the task's first; empty where the data are the user's own."""
    if entry.data in ("demo", OWN):
        return ""
    with suppress(NotInCatalog, BadDefinition):
        phrase = protocols.get(entry.protocol).tasks.get(dataset.task.name)
        if phrase is not None and phrase.split:
            return phrase.split
    return dataset.task.splits[0].name if dataset.task.splits else ""


def _of_examples(side: Side, run: StoredRun | None, task: str, shown: Collection[str]) -> Side:
    """The answers to the examples that the report shows, with what is recorded beside them."""
    if run is None:
        return side
    responses = read_responses(inside(run.root, task, "responses.jsonl"), shown)
    sent = read_prompts(inside(run.root, task, PROMPTS))
    return replace(
        side,
        rows={name: side.rows[name] for name in side.rows if name in shown},
        responses=responses,
        sent={name: prompt for name, prompt in sent.items() if name in shown},
    )


def _side(reported: _ReportedRun, task: str, dataset: TaskDataset, entry: TaskEntry) -> Side:
    run = reported.runs.get(task)
    if run is None:
        return Side(label=reported.label, rows={}, headline=None)
    results, own = run.results, run.manifest.tasks[task]
    measured = [item for item in results.measurements if item.task == task]
    headline = results.headline(task)
    rows = reported.rows[task]
    return Side(
        label=reported.label,
        rows=rows,
        counts=dict(Counter(rows.states)),
        headline=headline,
        groups=[item for item in measured if headline and item.group and item.label == headline.label],
        same_prompts=own.prompts == entry.prompts,
        measurements=measured,
        chance=[item for item in results.chance if item.task == task],
        not_computed=[item for item in results.not_computed if item.task == task],
        problems=[item for item in results.problems if item.task == task],
        spread=spread(dataset.examples, rows, by_token=bool(own.reading.get("length_normalise", False))),
    )


def _wordings(model: str, length_normalise: bool) -> list[Wording]:
    wordings: list[Any] = [PLAIN_WORDING]
    try:
        module = catalog.models().module(model.partition(":")[0])
        wordings += [value for name, value in sorted(vars(module).items()) if name.endswith("WORDING")]
    except (NotInCatalog, BadDefinition, ImportError):
        # A model of the user's own, from a file that is not here: its words are its own.
        pass
    by_token = [
        {kind: replace(phrase, length_normalise=length_normalise) for kind, phrase in one.items()} for one in wordings
    ]
    return [*wordings, *by_token]
