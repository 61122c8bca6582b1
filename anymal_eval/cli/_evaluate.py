"""The whole flow for ``run`` and ``score``: data, requests, responses on disk, scores, table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anymal_eval import catalog, paths
from anymal_eval import protocols as protocol_registry
from anymal_eval.codec import encode
from anymal_eval.errors import MissingData, WrongUse
from anymal_eval.records import Example, Media, Request
from anymal_eval.task import Split, Task

if TYPE_CHECKING:
    from anymal_eval.models import Model, ModelSpec
    from anymal_eval.protocols import Protocol
    from anymal_eval.scoring.score import Scores
    from anymal_eval.sources.load import Kind
    from anymal_eval.store.folder import RunFolder
    from anymal_eval.store.manifest import Manifest, TaskEntry
    from anymal_eval.store.results import Measurement

BLIND = "no-media"  # inside a run folder, the same run without media
SHOWN_GROUPS = 8  # a group of more values than this is in the files and not on the screen


@dataclass(frozen=True, kw_only=True)
class DataChoice:
    """Which examples: the source, its folder, the split, and how many of them."""

    kind: Kind = "official"
    root: Path = Path("data")
    split: str | None = None
    limit: int | None = None
    demo_examples: int = 200
    demo_seed: int = 0
    hub_id: str | None = None
    skip_missing_media: bool = False


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """One task with its examples. ``whole`` are the ids of the split, those beyond ``--limit`` too."""

    task: Task
    split: Split
    examples: tuple[Example, ...]
    whole: Collection[str]
    fingerprint: str
    source: Mapping[str, Any] = field(default_factory=dict)


def choose_tasks(names: str, spec: ModelSpec, folders: Sequence[Path] = ()) -> tuple[list[Task], list[str]]:
    """The tasks that were named, or all that the model takes, with the names of those it does not.

    Raises:
        NotInCatalog: there is no such task.
        WrongUse: a task was named that the model cannot take.
    """
    known = catalog.tasks(folders)
    everything = names.strip() == "all"
    wanted = known.names() if everything else [name.strip() for name in names.split(",") if name.strip()]
    found = [known.get(name, "TASK", Task) for name in dict.fromkeys(wanted)]
    refused = [task for task in found if task.media not in spec.accepts]
    if refused and not everything:
        takes = ", ".join(sorted(spec.accepts)) or "nothing"
        raise WrongUse(f"model {spec.name} takes {takes}; {refused[0].name} needs {refused[0].media}")
    if not found:
        raise WrongUse("--tasks names no task")
    return [task for task in found if task not in refused], [task.name for task in refused]


def load_task(task: Task, data: DataChoice) -> Loaded:
    """Read the examples of one task, before any model is loaded.

    Raises:
        MissingData, BadData: one line that says what and where.
    """
    from anymal_eval.sources.limit import limit
    from anymal_eval.sources.load import data_fingerprint, data_root, load_examples, with_hub_id

    if data.hub_id is not None:
        task = with_hub_id(task, data.hub_id)
    split = task.split(data.split)
    demo = (data.demo_examples, data.demo_seed)
    examples = load_examples(task, split, data.kind, data.root, demo_examples=demo[0], demo_seed=demo[1])
    kept = limit(examples, data.limit) if data.limit is not None else examples
    return Loaded(
        task=task,
        split=split,
        examples=tuple(kept),
        whole=frozenset(example.id for example in examples),
        fingerprint=data_fingerprint(kept, data_root(task, split, data.kind, data.root, demo)),
        source=_provenance(task, data, demo),
    )


def _provenance(task: Task, data: DataChoice, demo: tuple[int, int]) -> dict[str, Any]:
    if data.kind == "demo":
        return {"examples": demo[0], "seed": demo[1]}
    if data.kind == "hub":
        return {"id": getattr(task.hub, "id", ""), "revision": getattr(task.hub, "revision", "")}
    return {}


def require_media(loaded: Loaded, data: DataChoice) -> Loaded:
    """Make sure that what the model will open is there; or leave those examples out where the user says so.

    Raises:
        MissingData: files are absent; says how many and where the first should be.
    """
    from dataclasses import replace

    from anymal_eval.sources.load import missing_media

    absent = set(missing_media(loaded.examples))
    if not absent:
        return loaded
    if not data.skip_missing_media:
        raise MissingData(
            f"{loaded.task.name}: {len(absent)} {loaded.task.media} files are missing, the first is {min(absent)}; "
            "put them there, or give --skip-missing-media to leave their examples out"
        )
    kept = tuple(item for item in loaded.examples if not any(medium.uri in absent for medium in item.media))
    return replace(loaded, examples=kept)


def expected_by(model: Model, loaded: Loaded) -> Loaded:
    """The examples that the model is to be asked: a file of answers may say that it has only some of them."""
    from dataclasses import replace

    from anymal_eval.models import Expecting

    if not isinstance(model, Expecting):
        return loaded
    asked = model.expect(loaded.whole)
    kept = tuple(item for item in loaded.examples if item.id in asked)
    if not kept:
        raise MissingData(f"{loaded.task.name}: the file has no answer to any of its {len(loaded.examples)} examples")
    return replace(loaded, examples=kept)


def requests(loaded: Loaded, protocol: Protocol, model: Model, ablate: str) -> list[Request]:
    """What the model will be asked, in the order of the data."""
    from anymal_eval.protocols.prompting import build_request
    from anymal_eval.sources.ablation import ablated

    examples = ablated(loaded.examples, ablate)
    return [build_request(example, loaded.task, model.wording, protocol) for example in examples]


def task_entry(
    loaded: Loaded, data: DataChoice, protocol: tuple[str, Protocol], model: Model, ablate: str
) -> TaskEntry:
    """What the manifest says of one task; prompts are hashed as they will be sent."""
    from anymal_eval import fingerprint
    from anymal_eval.protocols.reading import reading_for
    from anymal_eval.store.manifest import TaskEntry

    name, words = protocol
    task = loaded.task
    prompts = fingerprint.of_lines(prompt_text(request) for request in requests(loaded, words, model, ablate))
    n_split = len(loaded.whole)
    return TaskEntry(
        version=task.version,
        split=loaded.split.name,
        data=data.kind,
        examples=loaded.fingerprint,
        n=len(loaded.examples),
        n_split=n_split,
        n_expected=n_split if data.kind == "demo" else loaded.split.expected,
        labelled=loaded.split.labelled,
        limit=data.limit,
        subset=_subset(loaded, data),
        protocol=name,
        prompts=prompts,
        reading=encode(reading_for(task, model.wording, words)),
        remark=getattr(model, "remark", ""),
        ablate=ablate,
        source=dict(loaded.source),
    )


def _subset(loaded: Loaded, data: DataChoice) -> str:
    asked = len(loaded.whole) if data.limit is None else min(data.limit, len(loaded.whole))
    return "" if len(loaded.examples) == asked else f"{len(loaded.examples)}/{asked}"


def prompt_text(request: Request) -> str:
    """A request as one line of text, media by their kind: equal text means equal words."""
    from anymal_eval.codec import write_json

    turns = [
        [message.role, *(f"<{part.kind}>" if isinstance(part, Media) else part for part in message.parts)]
        for message in request.messages
    ]
    decoding = encode(request.decoding)
    rest = [request.answer_prefix, list(request.candidates), request.length_normalise, decoding, request.frames]
    return write_json([turns, *rest])


def score_task(folder: RunFolder, loaded: Loaded, entry: TaskEntry) -> Scores:
    """Score one task from the responses on disk, and write its scores and statistics.

    Raises:
        IncompleteRun: responses are lacking.
    """
    from anymal_eval.scoring.score import score
    from anymal_eval.store.responses import read_responses

    responses = read_responses(folder.responses(loaded.task.name))
    scores = score(loaded.task, entry, loaded.examples, responses)
    folder.write_scores(loaded.task.name, _rows(loaded, responses, scores))
    folder.write_statistics(loaded.task.name, scores.statistics)
    return scores


def _rows(loaded: Loaded, responses: Mapping[str, Any], scores: Scores) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    place = 0
    for example, answer in zip(loaded.examples, scores.answers, strict=True):
        response = responses[example.id]
        row: dict[str, Any] = {"id": example.id, "cluster": example.cluster, "state": answer.state}
        row["raw"] = response.answer if response.option_scores is None else list(response.option_scores)
        row["answer"] = answer.text
        if answer.choice is not None:
            row["choice"] = answer.choice
        if answer.p_yes is not None:
            row["p_yes"] = answer.p_yes
        if example.groups:
            row["groups"] = dict(example.groups)
        if answer.state == "error":
            row["scores"] = {}
        else:
            row["scores"] = {name: float(values[place]) for name, values in scores.display.items()}
            place += 1
        rows.append(row)
    return rows


def load_again(name: str, entry: TaskEntry, root: Path, folders: Sequence[Path], folder: RunFolder) -> Loaded:
    """The examples of a run that was made before, as they were then.

    Raises:
        OtherRun: the data have changed since.
    """
    from dataclasses import replace

    from anymal_eval.errors import OtherRun
    from anymal_eval.store.responses import read_responses

    task = catalog.tasks(folders).get(name, "TASK", Task)
    data = DataChoice(
        kind=entry.data,  # type: ignore[arg-type]  # read from the manifest, where only a Kind was written
        root=root,
        split=entry.split,
        limit=entry.limit,
        demo_examples=entry.source.get("examples", 200),
        demo_seed=entry.source.get("seed", 0),
        hub_id=entry.source.get("id"),
    )
    loaded = load_task(task, data)
    if loaded.fingerprint != entry.examples:
        raise OtherRun(f"{name}: the data under {root} are not those that the run in {folder.root} was made on")
    if entry.subset:
        answered = read_responses(folder.responses(name))
        loaded = replace(loaded, examples=tuple(item for item in loaded.examples if item.id in answered))
    return loaded


def results(folder: RunFolder, manifest: Manifest, scored: Mapping[str, Scores]) -> dict[str, Any]:
    """What ``results.json`` holds: the tasks just scored, and those that the run holds from before."""
    from anymal_eval.codec import read_json

    file = folder.root / "results.json"
    # Where every task was just scored, what stands there is replaced, and may be damaged.
    before = read_json(file) if file.is_file() and not manifest.tasks.keys() <= scored.keys() else {}
    rows: dict[str, list[Any]] = {"measurements": [], "not_computed": [], "chance": []}
    for task in manifest.tasks:
        for key, kept in rows.items():
            if task in scored:
                kept.extend(getattr(scored[task], key))
            else:
                kept.extend(row for row in before.get(key, []) if row["task"] == task)
    return {
        "schema": 1,
        "run": {
            "name": manifest.run,
            "model": manifest.identity["model"],
            "limit": manifest.identity["limit"],
            "ablate": manifest.identity["ablate"],
            "fingerprint": manifest.identity["fingerprint"],
        },
        **rows,
    }


def write_tables(folder: RunFolder, written: Mapping[str, Any]) -> str:
    """Write the tables in all formats and give the short one for the screen: of the groups only the headline's.

    Where the same run was made without media, its headlines stand below those of this one.
    """
    from collections import Counter
    from dataclasses import replace

    from anymal_eval.report.rendering import render
    from anymal_eval.report.run_table import files_of, screen_table
    from anymal_eval.store.atomic import write_atomic
    from anymal_eval.store.results import parse_results, read_results

    found = parse_results(written, str(folder.root / "results.json"))
    blind = read_results(folder.root / BLIND) if (folder.root / BLIND / "results.json").is_file() else None
    for name, text in files_of(found, blind).items():
        write_atomic(folder.root / name, text)
    main = {(row.task, row.rule, row.output) for row in found.measurements if row.headline}
    sizes = Counter((row.task, row.rule, row.output, name) for row in found.measurements for name in row.group or {})
    shown = tuple(
        row
        for row in found.measurements
        if row.headline or row.group is None or ((row.task, row.rule, row.output) in main and _few(row, sizes))
    )
    return render(screen_table(replace(found, measurements=shown), blind), "md")


def say_table(folder: RunFolder, text: str) -> None:
    """Print a table, and on stderr where it was written."""
    click.echo(text)
    click.echo(f"written to {folder.root}", err=True)


def show_table(folder: RunFolder) -> None:
    """Write and print the tables of a run that is scored."""
    from anymal_eval.codec import read_json

    say_table(folder, write_tables(folder, read_json(folder.root / "results.json")))


def _few(row: Measurement, sizes: Mapping[tuple[str, str, str, str], int]) -> bool:
    return all(sizes[row.task, row.rule, row.output, name] <= SHOWN_GROUPS for name in row.group or {})


def protocol_of(name: str) -> tuple[str, Protocol]:
    """The protocol and its name."""
    return name, protocol_registry.get(name)


def run_folder(out: Path | None, manifest: Manifest) -> Path:
    """Where the run lies: the folder the user named, or one named after what the run is."""
    return out if out is not None else paths.runs() / manifest.run
