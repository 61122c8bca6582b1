"""What a task file defines: a benchmark with its splits, where its rows come from, and its metrics."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from anymal_eval.errors import NotInCatalog
from anymal_eval.records import AnswerKind, Example, MediaKind


@dataclass(frozen=True)
class Split:
    """A part of a benchmark. ``file`` is what the official files call it, where that differs.

    ``expected`` is the official number of examples; ``labelled`` is False where no answers are public.
    """

    name: str
    expected: int
    labelled: bool = True
    file: str = ""

    @property
    def in_files(self) -> str:
        """The name that the official files use."""
        return self.file or self.name


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One file or folder that a source reads, relative to ``DIR/<task>/``; ``origin`` says where it comes from."""

    name: str
    origin: str
    needed: bool = True
    is_folder: bool = False


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file of a benchmark as its authors publish it, for ``data fetch``.

    Attributes:
        url: http or https.
        to: of a file that is no archive: where it lies below ``DIR/<task>``.
        members: of a zip or tar: what is taken out of it, and where that lies below ``DIR/<task>``. A name that ends
            with ``/`` is a folder; either is looked for at any depth of the archive.
        size, sha256: as published; None and empty where nobody publishes them.
        cited: where they are published.
        splits: the splits that need it; empty for all.
        media: whether it holds media.
    """

    url: str
    to: str = ""
    members: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None
    sha256: str = ""
    cited: str = ""
    splits: tuple[str, ...] = ()
    media: bool = False

    @property
    def targets(self) -> tuple[str, ...]:
        """What it makes below ``DIR/<task>``."""
        return (self.to,) if self.to else tuple(self.members.values())


@dataclass(frozen=True, kw_only=True)
class ByHand:
    """What no program may fetch: behind a form, or under terms that forbid it.

    Attributes:
        what: what lies below ``DIR/<task>``.
        address: where a browser gets it.
        why: in a sentence without its end.
        members: of the archive that one gets there, as those of a ``Download``.
        splits: the splits that need it; empty for all.
    """

    what: str
    address: str
    why: str
    members: Mapping[str, str] = field(default_factory=dict)
    splits: tuple[str, ...] = ()


@runtime_checkable
class RowSource(Protocol):
    """Where rows come from. Rows are typed by the source; the task's ``to_example`` reads them."""

    def files(self, split: Split) -> tuple[DataFile, ...]:
        """What must lie where."""
        ...

    def rows(self, root: Path, split: Split) -> Iterator[Any]:
        """The rows of a split, in the order of the files.

        Args:
            root: ``DIR/<task>``.

        Raises:
            MissingData, BadData: naming the file and the row.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """A benchmark. The first split is the default one.

    Attributes:
        official, hub: yield rows of one type, which ``to_example`` reads; ``hub`` is None without a copy on the hub.
        metrics: ``name@version`` each.
        headline: the metric that papers report.
        headline_output: which of its outputs; its first where empty.
        headline_group: the examples that the headline is over; all where empty.
        extract: the rule that reads a choice out of text.
        lacking_media: what to know where media are lacking, such as that they vanish from where they were published.
        downloads, by_hand: what ``data fetch`` fetches, and what it only says the address of.
        instruction: a sentence that the benchmark's rule needs in the prompt, where a wording has ``{instruction}``.
    """

    name: str
    version: int
    kind: AnswerKind
    media: MediaKind
    splits: tuple[Split, ...]
    official: RowSource
    to_example: Callable[[Any], Example]
    metrics: tuple[str, ...]
    headline: str
    headline_output: str = ""
    headline_group: Mapping[str, str] = field(default_factory=dict)
    extract: str = "letter"
    instruction: str = ""
    lacking_media: str = ""
    hub: RowSource | None = None
    downloads: tuple[Download, ...] = ()
    by_hand: tuple[ByHand, ...] = ()

    def split(self, name: str | None) -> Split:
        """The split of that name, or the default one.

        Raises:
            NotInCatalog: the task has no such split; the message lists those it has.
        """
        for split in self.splits:
            if name in (None, split.name):
                return split
        known = ", ".join(split.name for split in self.splits)
        raise NotInCatalog(f"task {self.name} has no split {name!r}; it has {known}")
