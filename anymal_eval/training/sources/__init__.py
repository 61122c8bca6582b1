"""Where training samples come from, one file a layout; the file's name is its name, and nothing else lists them.

A file defines ``load(asked: DataAddress) -> TrainingData``. Importing or listing this package imports none of them.
"""

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from anymal_eval.catalog import Catalog
from anymal_eval.errors import WrongUse
from anymal_eval.media.location import Opener

if TYPE_CHECKING:  # a sample holds a conversation, whose module imports torch
    from anymal_eval.training.samples import Sample


@dataclass(frozen=True, kw_only=True)
class DataAddress:
    """What a file of this folder gets: the parts of ``KIND:PATH``, and how it is to be read.

    ``prompt`` is what the user says after the medium where the data are captions; layouts that hold the user's words
    take none of it. With ``skip_missing`` samples without their media are left out, and named in ``unreadable``.
    """

    kind: str
    path: str
    prompt: str = ""
    skip_missing: bool = False

    @property
    def name(self) -> str:
        """``KIND:PATH``."""
        return f"{self.kind}:{self.path}"


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Samples: all of them in their order (map style), or streamed shard by shard.

    Attributes:
        name: ``KIND:PATH`` as it was asked for.
        fingerprint: of what the table says and how it was asked for, not of the media nor of where it lies.
        samples: in the order of the file; None where they are streamed.
        shards: how many there are to stream; 0 for map style.
        stream: gives the samples of one shard; None for map style.
        opener: opens media that lie inside rows or shards; None where all are files.
        unreadable: one line for each thing that was left out; grows while shards are read.
    """

    name: str
    fingerprint: str
    samples: "Sequence[Sample] | None" = field(default=None, repr=False)
    shards: int = 0
    stream: "Callable[[int], Iterator[Sample]] | None" = field(default=None, repr=False)
    opener: Opener | None = field(default=None, repr=False)
    unreadable: list[str] = field(default_factory=list, repr=False)

    def read_shard(self, number: int) -> "Iterator[Sample]":
        """The samples of one shard, in its order.

        Raises:
            WrongUse: there is no such shard; ``samples`` holds those of a map-style source.
            MissingData, BadData: the shard is not there or no shard.
        """
        if self.stream is None or not 0 <= number < self.shards:
            raise WrongUse(f"{self.name} has no shard {number}; it has {self.shards}")
        return self.stream(number)


def catalog() -> Catalog:
    """The kinds by name."""
    return Catalog("kind of training data", [Path(__file__).parent])


def names() -> list[str]:
    """Every kind, sorted. Imports none."""
    return catalog().names()


def open_source(address: str, *, prompt: str = "", skip_missing: bool = False) -> TrainingData:
    """Open what ``KIND:PATH`` names.

    Args:
        address: as in ``pairs:train.jsonl``; what stands after the colon is told in the kind's own file.
        prompt: the user's words after the medium where the data are captions.
        skip_missing: leave out samples whose media are not there, and name them in ``unreadable``.

    Raises:
        NotInCatalog: no kind has that name; the message offers the nearest.
        WrongUse: no path is given, or an option that the kind does not have.
        MissingData: the table, or media that it names, are not there.
        BadData: the table is not in that layout; the message names the file and the row.
    """
    kind, _, path = address.partition(":")
    stem = catalog().file(kind).stem
    if not path:
        raise WrongUse(f"{address!r} names no file; write {kind}:PATH")
    asked = DataAddress(kind=stem, path=path, prompt=prompt, skip_missing=skip_missing)
    source: TrainingData = importlib.import_module(f"{__name__}.{stem}").load(asked)
    return source
