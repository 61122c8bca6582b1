"""Training data, one file per layout: the file's name is the name of the layout, and no table lists them.

A file defines ``load(address: DataAddress) -> TrainingData``. Importing this package imports no layout.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval.catalog import Catalog
from anymal_eval.errors import WrongUse
from anymal_eval.media.location import Opener
from anymal_eval.records import MediaOrder
from anymal_eval.training.sources._bad_rows import BadRows

if TYPE_CHECKING:  # a sample holds a conversation, whose module imports torch
    from anymal_eval.training.samples import Sample


NO_SAMPLE = "no sample was made of it"  # the reason of a line of ``unreadable``


@dataclass(frozen=True, kw_only=True)
class DataAddress:
    """``KIND:PATH``, and how to read it.

    Attributes:
        prompt: the user's text after the medium, for captions; layouts that hold the user's text ignore it.
        skip_missing: skip samples whose media are missing, and list them in ``unreadable``.
        order: where media without a tag of their own are put.
        count_bad_rows: leave rows that hold no sample out and count them in ``bad``; else they are errors.
    """

    kind: str
    path: str
    prompt: str = ""
    skip_missing: bool = False
    order: MediaOrder = "media-first"
    count_bad_rows: bool = False

    @property
    def name(self) -> str:
        """``KIND:PATH``."""
        return f"{self.kind}:{self.path}"

    @property
    def prompting(self) -> str:
        """What of it the samples' prompts depend on, for a fingerprint."""
        return self.prompt if self.order == "media-first" else f"{self.prompt}\0{self.order}"

    def bad_rows(self) -> BadRows:
        """None of them yet."""
        return BadRows(counted=self.count_bad_rows)


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Samples: a sequence (map style), or streamed shard by shard.

    Attributes:
        name: ``KIND:PATH``.
        fingerprint: of the table's content, its kind and the prompt; not of the media, nor of the path.
        samples: in the order of the file; None for streamed data.
        shards: the number of shards; 0 for map style.
        stream: the samples of one shard; None for map style.
        opener: opens media inside rows or shards; None if all are files.
        unreadable: a line for each sample or shard that was skipped; grows while shards are read.
        bad: the rows that hold no sample; grows while shards are read.
        cleaned: how their cleaning describes itself, where shards were cleaned.
    """

    name: str
    fingerprint: str
    samples: "Sequence[Sample] | None" = field(default=None, repr=False)
    shards: int = 0
    stream: "Callable[[int], Iterator[Sample]] | None" = field(default=None, repr=False)
    opener: Opener | None = field(default=None, repr=False)
    unreadable: list[str] = field(default_factory=list, repr=False)
    bad: BadRows = field(default_factory=BadRows, repr=False)
    cleaned: Mapping[str, Any] | None = field(default=None, repr=False)

    def read_shard(self, number: int) -> "Iterator[Sample]":
        """The samples of one shard, in its order.

        Raises:
            WrongUse: there is no such shard.
            MissingData, BadData: the shard is missing, or no tar file.
        """
        if self.stream is None or not 0 <= number < self.shards:
            raise WrongUse(f"{self.name} has no shard {number}; it has {self.shards}")
        return self.stream(number)


def catalog() -> Catalog:
    """The kinds of training data by name."""
    return Catalog("kind of training data", [Path(__file__).parent])


def require_kind(address: str) -> str:
    """The kind in ``KIND:PATH``; nothing is opened.

    Raises:
        NotInCatalog: no kind has that name; the message offers the nearest.
        WrongUse: the path is missing.
    """
    kind, _, path = address.partition(":")
    known = catalog()
    if not path and kind not in known.names():
        raise WrongUse(f"--data {address}: write KIND:PATH, where KIND is one of {', '.join(known.names())}")
    stem = known.file(kind).stem
    if not path:
        raise WrongUse(f"{address!r} names no file; write {kind}:PATH")
    return stem


def open_data(address: str, **options: Any) -> TrainingData:
    """Open ``KIND:PATH``, such as ``pairs:train.jsonl``; each kind's file documents its path.

    Args:
        address: ``KIND:PATH``.
        options: ``prompt``, ``skip_missing``, ``order`` and ``count_bad_rows`` of :class:`DataAddress`.

    Raises:
        NotInCatalog: no kind has that name; the message offers the nearest.
        WrongUse: the path is missing, or holds an option that the kind does not have.
        MissingData: the table or its media do not exist.
        BadData: the table has another layout, or a row holds no sample; the message names the file and the row.
    """
    stem, path = require_kind(address), address.partition(":")[2]
    layout = importlib.import_module(f"{__name__}.{stem}")
    data: TrainingData = layout.load(DataAddress(kind=stem, path=path, **options))
    return data
