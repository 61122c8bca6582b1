"""What ``report`` shows: a run's examples read again, their prompts, and other runs' answers to them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from anymal_eval import catalog, fingerprint, protocols
from anymal_eval.codec import decode
from anymal_eval.errors import BadDefinition, NotInCatalog, OtherRun
from anymal_eval.evaluation.dataset import reload_dataset
from anymal_eval.evaluation.load import prompt_text
from anymal_eval.models import PLAIN_WORDING
from anymal_eval.paths import inside
from anymal_eval.protocols import Wording
from anymal_eval.protocols.overrides import Overrides
from anymal_eval.protocols.prompting import build_request
from anymal_eval.records import Example, Request
from anymal_eval.report.gallery.content import Report, Side, TaskPage, is_right
from anymal_eval.report.policy import Policy
from anymal_eval.report.regression import Check, check
from anymal_eval.scoring.verification import open_verified
from anymal_eval.sources.ablation import ablated
from anymal_eval.sources.dataset import TaskDataset
from anymal_eval.store.accepted import base_runs
from anymal_eval.store.folder import RunFolder
from anymal_eval.store.manifest import TaskEntry
from anymal_eval.store.results import Results
from anymal_eval.store.shown_prompts import FILE as PROMPTS
from anymal_eval.store.shown_prompts import read_prompts
from anymal_eval.store.stored import StoredRun


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What a report is to show; see ``cli/report.py``."""

    run: Path
    against: Sequence[str]
    data_root: Path
    examples: int | None
    tasks_dir: Sequence[Path]
    accepted: Path


@dataclass(frozen=True, kw_only=True)
class _ReportedRun:
    """A run: its name on the pages, its folder by task, and for a base the result of ``check`` against it."""

    label: str
    runs: Mapping[str, StoredRun]
    check: Check | None


def read_report(options: ReportOptions) -> Report:
    """Read everything that a report shows; nothing is written.

    Raises:
        OtherRun: a folder holds no run, the runs share no task, or the data have changed since.
        MissingData, BadData: a run is not scored, or was edited; data files are not there.
    """
    run = open_verified(options.run)
    results = run.results
    labels = run_labels([str(options.run), *options.against])
    bases = [_base(run, each, options.accepted) for each in zip(options.against, labels[1:], strict=True)]
    own = _ReportedRun(label=labels[0], runs=dict.fromkeys(run.manifest.tasks, run), check=None)
    pages = [_page(options, own, results, bases, task) for task in run.manifest.tasks]
    return Report(
        title=f"{labels[0]}: {results.run.label}",
        manifest=run.manifest,
        model=results.run.label,
        is_demo=results.is_demo or any(entry.data == "demo" for entry in run.manifest.tasks.values()),
        pages=pages,
        bases=[base.label for base in bases],
        checks=[base.check for base in bases if base.check is not None],
    )


def run_labels(folders: Sequence[str]) -> list[str]:
    """The names of runs on the pages: the folder's name, or the whole path where two have the same.

    >>> run_labels(["runs/new", "runs/old"]), run_labels(["a/run", "b/run"])
    (['new', 'old'], ['a/run', 'b/run'])
    """
    names = [Path(folder).resolve().name for folder in folders]
    return [folder if names.count(name) > 1 else name for folder, name in zip(folders, names, strict=True)]


def select_examples(examples: Sequence[Example], sides: Sequence[Side], most: int | None) -> list[Example]:
    """At most so many examples, in the order of the data; None selects all.

    All errors first, then all answers that differ between the runs (by hash of the id where these are too many), then a
    stratified sample of the rest: every so many of them, sorted by right or wrong, by groups and by hash of the id.
    The pages state this rule.

    >>> examples = [Example(id=str(n), cluster="1", kind="caption") for n in range(100)]
    >>> len(select_examples(examples, [], 7))
    7
    """
    if most is None or len(examples) <= most:
        return list(examples)
    metric = sides[0].headline.rule if sides and sides[0].headline is not None else ""
    first: list[tuple[int, bytes, str]] = []
    rest: list[tuple[str, bytes, str]] = []
    for example in examples:
        rows = [row for side in sides if (row := side.rows.get(example.id)) is not None]
        by_hash = hashlib.sha256(example.id.encode()).digest()
        if any(row["state"] == "error" for row in rows):
            first.append((0, by_hash, example.id))
        elif len(rows) > 1 and len({(row["answer"], row.get("choice")) for row in rows}) > 1:
            first.append((1, by_hash, example.id))
        else:
            right = is_right(rows[0], example, metric) if rows else None
            rest.append((f"{right} {sorted(example.groups.items())}", by_hash, example.id))
    selected = {name for _, _, name in sorted(first)[:most]}
    left = most - len(selected)
    rest.sort()
    selected |= {rest[(2 * at + 1) * len(rest) // (2 * left)][2] for at in range(left)}
    return [example for example in examples if example.id in selected]


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
        examples = ablated(dataset.examples, str(identity.get("ablate", "none")))
    except NotInCatalog:
        return {}
    for wording in _wordings(str(identity["model"]), bool(entry.reading.get("length_normalise", False))):
        kept: dict[str, Request] = {}
        requests = (build_request(example, dataset.task, wording, protocol) for example in examples)
        with suppress(BadDefinition):
            if fingerprint.of_lines(map(prompt_text, _keeping(requests, wanted, kept))) == entry.prompts:
                return kept
    return {}


def _keeping(
    requests: Iterable[Request], wanted: Collection[str] | None, kept: dict[str, Request]
) -> Iterator[Request]:
    for request in requests:
        if wanted is None or request.id in wanted:
            kept[request.id] = request
        yield request


def _base(run: StoredRun, base: tuple[str, str], accepted: Path) -> _ReportedRun:
    named, label = base
    runs = base_runs(named, run.manifest, accepted)
    label = label if Path(named).exists() else named
    return _ReportedRun(label=label, runs=runs, check=check(run, runs, label, Policy(), {}))


def _page(
    options: ReportOptions, own: _ReportedRun, results: Results, bases: Sequence[_ReportedRun], task: str
) -> TaskPage:
    run = own.runs[task]
    entry = run.manifest.tasks[task]
    dataset = reload_dataset(task, entry, options.data_root, options.tasks_dir, RunFolder(options.run))
    if not dataset.examples:
        raise OtherRun(f"{options.run}: none of the examples of {task} is there; report takes a run with its responses")
    sides = [_side(one, task, entry) for one in (own, *bases)]
    examples = select_examples(dataset.examples, sides, options.examples)
    total, shown = len(dataset.examples), {example.id for example in examples}
    requests = rebuild_requests(dataset, run, shown)
    sides = [replace(side, rows={name: row for name, row in side.rows.items() if name in shown}) for side in sides]
    return TaskPage(
        name=task,
        entry=entry,
        examples=examples,
        total=total,
        requests=requests,
        sides=sides,
        checks=[next((item for item in base.check.tasks if item.task == task and task in base.runs), None)
                for base in bases if base.check is not None],
        measurements=[item for item in results.measurements if item.task == task],
        chance=[item for item in results.chance if item.task == task],
        not_computed=[item for item in results.not_computed if item.task == task],
        problems=[item for item in results.problems if item.task == task],
        ablate=str(run.manifest.identity.get("ablate", "none")),
        sent=read_prompts(inside(options.run, task, PROMPTS)),
    )  # fmt: skip


def _side(reported: _ReportedRun, task: str, entry: TaskEntry) -> Side:
    run = reported.runs.get(task)
    if run is None:
        return Side(label=reported.label, rows={}, headline=None)
    results = run.results
    measured = [item for item in results.measurements if item.task == task]
    headline = results.headline(task)
    rows = {row["id"]: row for row in run.scores(task)}
    return Side(
        label=reported.label,
        rows=rows,
        counts=dict(Counter(row["state"] for row in rows.values())),
        headline=headline,
        groups=[item for item in measured if headline and item.group and item.label == headline.label],
        same_prompts=run.manifest.tasks[task].prompts == entry.prompts,
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
