"""What ``report`` shows: a run's examples read again, their prompts, and what other runs said to them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval.cli import _evaluate as flow
from anymal_eval.errors import BadDefinition, NotInCatalog, OtherRun

if TYPE_CHECKING:
    from anymal_eval.protocols import Wording
    from anymal_eval.records import Example, Request
    from anymal_eval.report.gallery.content import Report, Side, TaskPage
    from anymal_eval.report.regression import Check
    from anymal_eval.store.manifest import TaskEntry
    from anymal_eval.store.results import Results
    from anymal_eval.store.stored import StoredRun


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the user asked for; see ``cli/report.py``."""

    run: Path
    against: Sequence[str]
    data_root: Path
    examples: int
    folders: Sequence[Path]
    accepted: Path


@dataclass(frozen=True, kw_only=True)
class _Base:
    """A run: what it is called, its folder by task, and for one to hold against what ``check`` says."""

    label: str
    runs: Mapping[str, StoredRun]
    check: Check | None


def gather(wanted: Wanted) -> Report:
    """Read everything that a report shows; nothing is written.

    Raises:
        OtherRun: a folder holds no run, the runs share no task, or the data have changed since.
        MissingData, BadData: a run is not scored, or was edited; data files are not there.
    """
    from anymal_eval.report.gallery.content import Report
    from anymal_eval.store.results import parse_results
    from anymal_eval.store.stored import open_run

    run = open_run(wanted.run)
    results = parse_results(run.results, str(run.root / "results.json"))
    labels = labelled([str(wanted.run), *wanted.against])
    bases = [_base(run, each, wanted) for each in zip(wanted.against, labels[1:], strict=True)]
    mine = _Base(label=labels[0], runs=dict.fromkeys(run.manifest.tasks, run), check=None)
    pages = [_page(wanted, mine, results, bases, task) for task in run.manifest.tasks]
    return Report(
        title=f"{labels[0]}: {results.run.label}",
        manifest=run.manifest,
        model=results.run.label,
        is_demo=results.is_demo or any(entry.data == "demo" for entry in run.manifest.tasks.values()),
        pages=pages,
        bases=[base.label for base in bases],
        checks=[base.check for base in bases if base.check is not None],
    )


def labelled(paths: Sequence[str]) -> list[str]:
    """What runs are called on the pages: the folder's name, or all that was typed where two have the same.

    >>> labelled(["runs/new", "runs/old"]), labelled(["a/run", "b/run"])
    (['new', 'old'], ['a/run', 'b/run'])
    """
    names = [Path(path).resolve().name for path in paths]
    return [path if names.count(name) > 1 else name for path, name in zip(paths, names, strict=True)]


def _base(run: StoredRun, base: tuple[str, str], wanted: Wanted) -> _Base:
    from anymal_eval.report.policy import Policy
    from anymal_eval.report.regression import check
    from anymal_eval.store.accepted import find
    from anymal_eval.store.stored import open_run

    named, label = base
    if Path(named).exists():
        opened = open_run(Path(named))
        runs: Mapping[str, StoredRun] = dict.fromkeys(opened.manifest.tasks, opened)
    else:
        runs, label = find(named, run.manifest, wanted.accepted), named
    return _Base(label=label, runs=runs, check=check(run, runs, label, Policy(), {}))


def _page(wanted: Wanted, mine: _Base, results: Results, bases: Sequence[_Base], task: str) -> TaskPage:
    from anymal_eval.report.gallery.content import TaskPage
    from anymal_eval.store.folder import RunFolder

    run = mine.runs[task]
    entry = run.manifest.tasks[task]
    loaded = flow.load_again(task, entry, wanted.data_root, wanted.folders, RunFolder(wanted.run))
    if not loaded.examples:
        raise OtherRun(f"{wanted.run}: none of the examples of {task} is there; report takes a run with its responses")
    sides = [_side_of(one, task, entry) for one in (mine, *bases)]
    measurements = [item for item in results.measurements if item.task == task]
    ablate = str(run.manifest.identity.get("ablate", "none"))
    examples = chosen(loaded.examples, sides, wanted.examples)
    asked = _requests(loaded, entry, str(run.manifest.identity["model"]), ablate)
    return TaskPage(
        name=task,
        entry=entry,
        examples=examples,
        total=len(loaded.examples),
        requests={example.id: asked[example.id] for example in examples if example.id in asked},
        sides=sides,
        checks=[next((item for item in base.check.tasks if item.task == task and task in base.runs), None)
                for base in bases if base.check is not None],
        measurements=measurements,
        chance=[item for item in results.chance if item.task == task],
        not_computed=[item for item in results.not_computed if item.task == task],
        ablate=ablate,
    )  # fmt: skip


def _side(run: StoredRun, results: Results, task: str, label: str, prompts: str) -> Side:
    from anymal_eval.report.gallery.content import Side

    measured = [item for item in results.measurements if item.task == task]
    headline = next((item for item in measured if item.headline), None)
    groups = [item for item in measured if headline and item.group and item.label == headline.label]
    return Side(
        label=label,
        rows={row["id"]: row for row in run.scores(task)},
        headline=headline,
        groups=groups,
        same_prompts=run.manifest.tasks[task].prompts == prompts,
    )


def _side_of(base: _Base, task: str, entry: TaskEntry) -> Side:
    from anymal_eval.report.gallery.content import Side
    from anymal_eval.store.results import parse_results

    run = base.runs.get(task)
    if run is None:
        return Side(label=base.label, rows={}, headline=None)
    results = parse_results(run.results, str(run.root / "results.json"))
    return _side(run, results, task, base.label, entry.prompts)


def chosen(examples: Sequence[Example], sides: Sequence[Side], most: int) -> list[Example]:
    """At most so many examples, in the order of the data: errors first, then changed answers, then by hash of the id.

    >>> from anymal_eval.records import Example
    >>> examples = [Example(id=str(n), cluster="1", kind="caption") for n in range(100)]
    >>> len(chosen(examples, [], 7))
    7
    """
    if len(examples) <= most:
        return list(examples)

    def rank(example: Example) -> tuple[int, bytes]:
        rows = [row for side in sides if (row := side.rows.get(example.id)) is not None]
        errored = any(row["state"] == "error" for row in rows)
        changed = len({(row["answer"], row.get("choice")) for row in rows}) > 1
        return (0 if errored else 1 if changed else 2), hashlib.sha256(example.id.encode()).digest()

    kept = {example.id for example in sorted(examples, key=rank)[:most]}
    return [example for example in examples if example.id in kept]


def _requests(loaded: flow.Loaded, entry: TaskEntry, model: str, ablate: str) -> dict[str, Request]:
    """The prompts as they were sent, by example id; empty where they cannot be made again without the model.

    The words may be the protocol's or the model's own. The manifest holds the hash of all prompts, so each wording
    that the model's file knows is tried, and the one whose prompts have that hash is the one that was used.
    """
    from anymal_eval import fingerprint
    from anymal_eval.protocols.prompting import build_request
    from anymal_eval.sources.ablation import ablated

    try:
        _, protocol = flow.protocol_of(entry.protocol)
        examples = ablated(loaded.examples, ablate)
    except NotInCatalog:
        return {}
    for wording in _wordings(model, bool(entry.reading.get("length_normalise", False))):
        try:
            made = [build_request(example, loaded.task, wording, protocol) for example in examples]
        except BadDefinition:
            continue
        if fingerprint.of_lines(flow.prompt_text(request) for request in made) == entry.prompts:
            return {request.id: request for request in made}
    return {}


def _wordings(model: str, length_normalise: bool) -> list[Wording]:
    from anymal_eval import catalog
    from anymal_eval.models import PLAIN_WORDING

    found: list[Any] = [PLAIN_WORDING]
    try:
        module = catalog.models().module(model.partition(":")[0])
        found += [value for name, value in sorted(vars(module).items()) if name.endswith("WORDING")]
    except (NotInCatalog, BadDefinition, ImportError):
        # A model of the user's own, from a file that is not here: its words are its own.
        pass
    made = [{kind: replace(phrase, length_normalise=length_normalise) for kind, phrase in one.items()} for one in found]
    return [*found, *made]
