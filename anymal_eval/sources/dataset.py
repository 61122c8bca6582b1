"""The examples of one task: chosen by the user's options, read, and with a fingerprint."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anymal_eval import fingerprint
from anymal_eval.errors import MissingData, WrongUse, listed
from anymal_eval.records import Example
from anymal_eval.sources.hub import Hub
from anymal_eval.sources.limit import limit
from anymal_eval.sources.load import (
    Kind,
    content_fingerprint,
    data_root,
    fingerprints,
    hub_splits,
    load_examples,
    missing_media,
    with_hub_id,
)
from anymal_eval.sources.official_ids import lacking_ids
from anymal_eval.sources.own import own_file
from anymal_eval.sources.remembering import digest_of, remembered
from anymal_eval.task import Split, Task

OWN = "own"


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which examples: the source, its folder, the split, and how many of them. None is the source's default."""

    data: Kind | None = None
    data_root: Path = Path("data")
    split: str | None = None
    limit: int | None = None
    demo_examples: int = 200
    demo_seed: int = 0
    hub_id: str | None = None
    hub_config: str | None = None
    hub_revision: str | None = None
    skip_missing_media: bool = False

    @property
    def kind(self) -> Kind:
        """The source; where none is named, the hub if something of it is, and official files otherwise."""
        return self.data or ("hub" if self.names_hub else "official")

    @property
    def names_hub(self) -> bool:
        """Whether there are options of the hub.

        >>> DataOptions(hub_revision="main").kind
        'hub'
        """
        return any(each is not None for each in (self.hub_id, self.hub_config, self.hub_revision))

    def check(self) -> None:
        """Refuse options that the source does not have.

        Raises:
            WrongUse: options of the hub or of the demo world, and other data.
        """
        if self.names_hub and self.kind != "hub":
            raise WrongUse(f"--hub-id, --hub-config and --hub-revision go with --data hub, not with {self.kind} data")
        if self.kind != "demo" and self.demo_examples != DataOptions.demo_examples:
            raise WrongUse(f"--demo-examples {self.demo_examples} goes with --data demo, not with {self.kind} data")


@dataclass(frozen=True, kw_only=True)
class TaskDataset:
    """One task with its examples.

    Attributes:
        examples: in the order of the data.
        all_ids: of the whole split, in its order, those beyond ``--limit`` too.
        fingerprint: of the examples' content; of the file for the user's own rows.
        content: of what every copy of the benchmark shares, whatever it calls its files; empty for the demo world.
        source: what reading them again needs: the demo world's size and seed, or the hub's id and revision; and
            ``notes``, sentences that belong beside the number: another split than the usual one, items that are
            lacking, whose ids are in ``lacking``.
        options: how they were chosen.
        hashed: examples, and their SHA-256 by :func:`~anymal_eval.sources.remembering.digest_of`.
    """

    task: Task
    split: Split
    examples: tuple[Example, ...]
    all_ids: Collection[str]
    fingerprint: str
    content: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)
    options: DataOptions = field(default_factory=DataOptions)
    hashed: tuple[Sequence[Example], str | None] | None = field(default=None, repr=False, compare=False)

    @property
    def digest(self) -> str | None:
        """The SHA-256 of the examples; None for few."""
        if self.hashed is not None and self.hashed[0] is self.examples:
            return self.hashed[1]
        return digest_of(self.examples)

    @property
    def kind(self) -> str:
        """``own`` for a file of the user's own rows, else the source: ``official``, ``hub`` or ``demo``."""
        return OWN if own_file(self.task) is not None else self.options.kind

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the number must know of the data."""
        return tuple(self.source.get("notes", ()))

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
        WrongUse: as :meth:`DataOptions.check`.
    """
    options.check()
    kind = options.kind
    if options.names_hub:
        task = with_hub_id(task, options.hub_id, options.hub_config, options.hub_revision)
    split, notes = (task.split(options.split), []) if kind != "hub" else hub_split(task, options)
    demo = (options.demo_examples, options.demo_seed)
    examples = load_examples(task, split, kind, options.data_root, demo_examples=demo[0], demo_seed=demo[1])
    chosen = tuple(limit(examples, options.limit) if options.limit is not None else examples)
    digest = digest_of(chosen)
    source: dict[str, Any] = {"examples": demo[0], "seed": demo[1]} if kind == "demo" else {}
    if kind == "hub":
        name, revision, _ = task.hub.named() if isinstance(task.hub, Hub) else ("", "", "")
        source = {"id": name, "revision": revision}
        source |= {"config": options.hub_config} if options.hub_config else {}
    if kind != "demo" and (lacking := lacking_ids(task.name, split, examples)):
        whole = f"{len(lacking):,} of the {split.expected:,} official clips are not in these data"
        source["lacking"] = lacking
        notes = [*notes, f"{whole}: {listed(lacking)} (all are in manifest.json)"]
    source |= {"notes": notes} if notes else {}
    if (file := own_file(task)) is not None:
        content = content_fingerprint(chosen)
        source |= {"file": str(file), "metrics": list(task.metrics)}
        whole = fingerprint.of_file(file)
    else:
        root = data_root(task, split, kind, options.data_root, demo)
        facts = {"of": "data", "root": str(root.absolute())}
        whole, content = remembered(digest, facts, lambda: list(fingerprints(chosen, root)))
    return TaskDataset(
        task=task,
        split=split,
        examples=chosen,
        all_ids=dict.fromkeys(example.id for example in examples),
        fingerprint=whole,
        content="" if kind == "demo" else content,
        source=source,
        options=options,
        hashed=(chosen, digest),
    )


def hub_split(task: Task, options: DataOptions) -> tuple[Split, list[str]]:
    """The split that is read from the hub: the first that the copy has where none is named, and a note on that.

    Raises:
        NotInCatalog: the task has no such split.
    """
    known = hub_splits(task)
    if options.split is not None or not known or task.splits[0].name in known:
        return task.split(options.split), []
    split = next(each for each in task.splits if each.name in known)
    assert isinstance(task.hub, Hub)  # noqa: S101  # it has splits
    note = f"the hub copy {task.hub.id} has no split {task.splits[0].name}; its {split.name} is read"
    return split, [note]


def require_media(dataset: TaskDataset) -> TaskDataset:
    """Make sure that the media are there; leave out examples without them where ``--skip-missing-media`` is given.

    Raises:
        MissingData: files are absent; the message counts them and names the first.
    """
    absent = set(missing_media(dataset.examples))
    if not absent:
        return dataset
    if not dataset.options.skip_missing_media:
        raise MissingData(
            f"{dataset.task.name}: {len(absent)} {dataset.task.media} files are missing, the first is {min(absent)}; "
            "put them there, or give --skip-missing-media to leave their examples out ('anymal-eval data doctor "
            f"{dataset.task.name} --data-root {dataset.options.data_root}' looks for other names and archives)"
        )
    there = tuple(item for item in dataset.examples if not any(medium.uri in absent for medium in item.media))
    return replace(dataset, examples=there)
