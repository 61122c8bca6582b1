"""The data of a run: the split that its protocol reports, and the examples of an earlier run read again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from anymal_eval.errors import BadDefinition, NotInCatalog, OtherRun
from anymal_eval.sources.dataset import OWN, DataOptions, TaskDataset, load_dataset
from anymal_eval.sources.load import hub_splits
from anymal_eval.sources.own import task_named
from anymal_eval.task import Task

if TYPE_CHECKING:
    from anymal_eval.protocols import Protocol
    from anymal_eval.store.folder import RunFolder
    from anymal_eval.store.manifest import TaskEntry


def reported_split(task: Task, options: DataOptions, protocol: Protocol) -> DataOptions:
    """The same options, with the split that the protocol's paper reports where the user named none.

    The demo world has one split a task, which stands for whichever a paper reports.

    Raises:
        BadDefinition: the protocol names a split that the task does not have.
    """
    phrase = protocol.tasks.get(task.name)
    if options.split is not None or options.kind == "demo" or phrase is None or not phrase.split:
        return options
    if options.kind == "hub" and hub_splits(task) and phrase.split not in hub_splits(task):
        return options  # the copy's own split, with a note
    try:
        task.split(phrase.split)
    except NotInCatalog as error:
        raise BadDefinition(f"protocol {protocol.name}: {error}; give --split") from None
    return replace(options, split=phrase.split)


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
        data=None if entry.data == OWN else entry.data,  # type: ignore[arg-type]  # a manifest holds nothing else
        data_root=root,
        split=entry.split,
        limit=entry.limit,
        demo_examples=entry.source.get("examples", 200),
        demo_seed=entry.source.get("seed", 0),
        hub_id=entry.source.get("id") or None,
        hub_config=entry.source.get("config"),
        hub_revision=entry.source.get("revision") or None,
    )
    named, metrics = (_own_file(entry, root), entry.source.get("metrics", ())) if entry.data == OWN else (name, ())
    dataset = load_dataset(task_named(named, tasks_dir, metrics), options)
    if dataset.fingerprint != entry.examples:
        where = f"the rows of {named}" if entry.data == OWN else f"the data under {root}"
        raise OtherRun(f"{name}: {where} are not those that the run in {folder.root} was made on")
    if entry.subset:
        answered = read_responses(folder.responses(name))
        dataset = replace(dataset, examples=tuple(item for item in dataset.examples if item.id in answered))
    return dataset


def _own_file(entry: TaskEntry, root: Path) -> str:
    """The user's file of rows: where it was, or under ``--data-root``, for a run that was made elsewhere."""
    file = Path(str(entry.source.get("file", "")))
    return str(file if file.is_file() or not (root / file.name).is_file() else root / file.name)
