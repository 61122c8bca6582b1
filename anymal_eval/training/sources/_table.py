"""What the layouts with one table and its media beside it have in common."""

import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from anymal_eval import fingerprint
from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.errors import BadData, MissingData
from anymal_eval.records import Media, MediaKind
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import medium
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import DataAddress, TrainingData

MEDIA: tuple[MediaKind, ...] = ("image", "audio", "video", "imu")


def require_file(path: str) -> Path:
    """The table itself.

    Raises:
        MissingData: there is no such file.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingData(f"no file {file}; name the table of the training data")
    return file


def source(asked: DataAddress, file: Path, samples: Iterable[Sample], home: Path) -> TrainingData:
    """The samples whose media are there, as a map-style source.

    Args:
        asked: how it was asked for.
        file: the table.
        samples: what it holds, in its order.
        home: the folder below which the media lie, for messages.

    Raises:
        MissingData: media are not there, and were not to be left out.
        BadData: the table holds nothing.
    """
    kept, left_out = [], []
    there: dict[str, bool] = {}
    gone: dict[str, list[str]] = {}
    for sample in samples:
        lost = _missing(sample, there)
        for uri in lost:
            gone.setdefault(uri, []).append(sample.where)
        if lost:
            left_out.append(sample.id)
        else:
            kept.append(sample)
    lines = [_gone(rows, _relative(uri, home)) for uri, rows in gone.items()]
    refuse_missing(asked, [f"{rows[0]}: no {_relative(uri, home)}" for uri, rows in gone.items()])
    if not kept:
        raise nothing_left(file, left_out)
    said = [asked.kind, asked.prompt, fingerprint.of_file(file), left_out]
    return TrainingData(name=asked.name, fingerprint=fingerprint.of(said), samples=kept, unreadable=lines)


def refuse_missing(asked: DataAddress, gone: Sequence[str]) -> None:
    """Complain about files that are not there, one line each, unless they are to be left out.

    Raises:
        MissingData: gives the first line and how many there are besides.
    """
    if gone and not asked.skip_missing:
        more = f" (and {len(gone) - 1:,} more)" if len(gone) > 1 else ""
        raise MissingData(f"{gone[0]}{more}; fetch them, or leave their samples out with --skip-missing-media")


def nothing_left(file: Path | str, left_out: Sequence[str]) -> BadData:
    """The complaint that there is nothing to learn from, to be raised."""
    why = f"all its {len(left_out):,} samples lack their media" if left_out else "it holds no sample"
    return BadData(f"{file}: {why}")


def media_of(row: Fields, data: Mapping[str, Any], home: Path) -> dict[MediaKind, list[Media]]:
    """The media that a row names, by kind, in the order of its keys: a path or a list of paths each.

    Raises:
        BadData: a path leaves the folder, or a window that cuts no one medium.
    """
    kinds = [key for key in data if key in MEDIA and row.has(key)]
    paths = [(kind, row.texts(kind) if isinstance(data[kind], list) else (row.text(kind),)) for kind in kinds]
    start, end = window(row)
    if (start, end) != (None, None) and sum(len(found) for _, found in paths) != 1:
        raise row.bad("'start_s' and 'end_s' cut one medium; the row must have exactly one")
    return {
        kind: [Media(kind=kind, uri=medium(home, ".", path, row), start_s=start, end_s=end) for path in found]
        for kind, found in paths
    }


def window(row: Fields) -> tuple[float | None, float | None]:
    """The optional ``start_s`` and ``end_s``.

    Raises:
        BadData: they are no times, or the end is not after the start.
    """
    start = row.seconds("start_s") if row.has("start_s") else None
    end = row.seconds("end_s") if row.has("end_s") else None
    if end is not None and end <= (start or 0.0):
        raise row.bad(f"'end_s' is {end:g}, and must be after 'start_s'")
    return start, end


def where(row: Fields) -> str:
    """The file and the row, as every complaint about it begins."""
    return str(row.bad("")).removesuffix(": ")


def captioned(asked: DataAddress, row: Fields, name: str, found: Media, captions: Sequence[str]) -> Iterator[Sample]:
    """One sample for each caption: the user shows the medium and says the prompt, the assistant says the caption.

    They are named ``name``, or ``name#0``, ``name#1`` where there are several.
    """
    for number, caption in enumerate(captions):
        yield Sample(
            id=name if len(captions) == 1 else f"{name}#{number}",
            where=where(row),
            media=(found,),
            turns=(shown(found.kind, asked.prompt), Turn(role="assistant", parts=(caption,))),
        )


def captions_of(row: Fields, key: str) -> tuple[str, ...]:
    """A caption, or a list of them.

    Raises:
        BadData: there is none, or one is empty.
    """
    found = row.texts(key) if isinstance(row.raw(key), list) else (row.text(key),)
    if not found or not all(caption.strip() for caption in found):
        raise row.bad(f"{key!r} is empty")
    return found


@functools.cache
def shown(kind: MediaKind, prompt: str) -> Turn:
    """The user's turn over a caption; one object for all samples of a table."""
    return Turn(role="user", parts=(Slot(medium=kind), prompt) if prompt else (Slot(medium=kind),))


def _missing(sample: Sample, there: dict[str, bool]) -> list[str]:
    for found in sample.media:
        if found.uri not in there:
            there[found.uri] = os.path.isfile(found.uri)
    return [found.uri for found in sample.media if not there[found.uri]]


def _gone(rows: Sequence[str], name: str) -> str:
    return f"{rows[0]}: no {name}" + (f" (nor for {len(rows) - 1:,} samples more)" if len(rows) > 1 else "")


def _relative(uri: str, home: Path) -> str:
    path = Path(uri)
    return path.relative_to(home.absolute()).as_posix() if path.is_relative_to(home.absolute()) else uri
