"""The examples of one task: read, limited, with a fingerprint, and checked against what the model needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval import catalog
from anymal_eval.errors import BadDefinition, MissingData, NotInCatalog, OtherRun
from anymal_eval.evaluation.plan import DataOptions
from anymal_eval.records import Example
from anymal_eval.task import Split, Task

if TYPE_CHECKING:
    from anymal_eval.protocols import Protocol
    from anymal_eval.store.folder import RunFolder
    from anymal_eval.store.manifest import TaskEntry


@dataclass(frozen=True, kw_only=True)
class TaskDataset:
    """One task with its examples.

    Attributes:
        examples: in the order of the data.
        all_ids: of the whole split, those beyond ``--limit`` too.
        fingerprint: of the examples' content.
        source: what reading them again needs: the demo world's size and seed, or the hub's id and revision.
        options: how they were chosen.
    """

    task: Task
    split: Split
    examples: tuple[Example, ...]
    all_ids: Collection[str]
    fingerprint: str
    source: Mapping[str, Any] = field(default_factory=dict)
    options: DataOptions = field(default_factory=DataOptions)

    @property
    def subset(self) -> str:
        """``n/N`` where fewer examples are evaluated than were chosen; empty otherwise."""
        limit = self.options.limit
        chosen = len(self.all_ids) if limit is None else min(limit, len(self.all_ids))
        return "" if len(self.examples) == chosen else f"{len(self.examples)}/{chosen}"


def load_dataset(task: Task, options: DataOptions) -> TaskDataset:
    """Read the examples of one task.

    Raises:
        MissingData, BadData: one line that names the file and the row.
    """
    from anymal_eval.sources.limit import limit
    from anymal_eval.sources.load import data_fingerprint, data_root, load_examples, with_hub_id

    if options.hub_id is not None:
        task = with_hub_id(task, options.hub_id)
    split, kind = task.split(options.split), options.kind
    demo = (options.demo_examples, options.demo_seed)
    examples = load_examples(task, split, kind, options.data_root, demo_examples=demo[0], demo_seed=demo[1])
    chosen = limit(examples, options.limit) if options.limit is not None else examples
    source: dict[str, Any] = {"examples": demo[0], "seed": demo[1]} if kind == "demo" else {}
    if kind == "hub":
        source = {"id": getattr(task.hub, "id", ""), "revision": getattr(task.hub, "revision", "")}
    return TaskDataset(
        task=task,
        split=split,
        examples=tuple(chosen),
        all_ids=frozenset(example.id for example in examples),
        fingerprint=data_fingerprint(chosen, data_root(task, split, kind, options.data_root, demo)),
        source=source,
        options=options,
    )


def reported_split(task: Task, options: DataOptions, protocol: Protocol) -> DataOptions:
    """The same options, with the split that the protocol's paper reports where the user named none.

    The demo world has one split a task, which stands for whichever a paper reports.

    Raises:
        BadDefinition: the protocol names a split that the task does not have.
    """
    phrase = protocol.tasks.get(task.name)
    if options.split is not None or options.kind == "demo" or phrase is None or not phrase.split:
        return options
    try:
        task.split(phrase.split)
    except NotInCatalog as error:
        raise BadDefinition(f"protocol {protocol.name}: {error}; give --split") from None
    return replace(options, split=phrase.split)


def require_media(dataset: TaskDataset) -> TaskDataset:
    """Make sure that the media are there; leave out examples without them where ``--skip-missing-media`` is given.

    Raises:
        MissingData: files are absent; the message counts them and names the first.
    """
    from anymal_eval.sources.load import missing_media

    absent = set(missing_media(dataset.examples))
    if not absent:
        return dataset
    if not dataset.options.skip_missing_media:
        raise MissingData(
            f"{dataset.task.name}: {len(absent)} {dataset.task.media} files are missing, the first is {min(absent)}; "
            "put them there, or give --skip-missing-media to leave their examples out"
        )
    there = tuple(item for item in dataset.examples if not any(medium.uri in absent for medium in item.media))
    return replace(dataset, examples=there)


def reload_dataset(
    name: str, entry: TaskEntry, root: Path, tasks_dir: Sequence[Path], folder: RunFolder
) -> TaskDataset:
    """The examples of an earlier run, as they were then.

    Args:
        name: the task.
        entry: what the run's manifest holds of it.
        root: ``--data-root``.
        tasks_dir: folders of the user's own task files.
        folder: the run.

    Raises:
        OtherRun: the data have changed since.
    """
    from anymal_eval.store.responses import read_responses

    options = DataOptions(
        data=entry.data,  # type: ignore[arg-type]  # a manifest holds nothing else
        data_root=root,
        split=entry.split,
        limit=entry.limit,
        demo_examples=entry.source.get("examples", 200),
        demo_seed=entry.source.get("seed", 0),
        hub_id=entry.source.get("id"),
    )
    dataset = load_dataset(catalog.tasks(tasks_dir).get(name, "TASK", Task), options)
    if dataset.fingerprint != entry.examples:
        raise OtherRun(f"{name}: the data under {root} are not those that the run in {folder.root} was made on")
    if entry.subset:
        answered = read_responses(folder.responses(name))
        dataset = replace(dataset, examples=tuple(item for item in dataset.examples if item.id in answered))
    return dataset
