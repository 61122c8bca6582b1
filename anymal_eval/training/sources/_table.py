"""What the layouts with one table and its media beside it share."""

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from anymal_eval import fingerprint
from anymal_eval.anymal.conversation import Slot, Turn
from anymal_eval.errors import BadData, MissingData
from anymal_eval.records import Media, MediaKind, MediaOrder, with_media
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import medium, refuse_doubles
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import DataAddress, TrainingData
from anymal_eval.training.sources._bad_rows import BadRows

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


def table_data(
    address: DataAddress, file: Path, samples: Iterable[Sample], bad: BadRows, *, folder: Path, unique: str = ""
) -> TrainingData:
    """The samples whose media exist, in the order of the table.

    Args:
        address: as the user wrote it.
        file: the table.
        samples: all of its samples.
        bad: its bad rows, which are known when the samples have been read.
        folder: where the media are, for messages.
        unique: what the samples' ids are called, if none may come twice.

    Raises:
        MissingData: media do not exist and ``address.skip_missing`` is not set.
        BadData: an id comes twice, or no sample is left; where all rows are bad, the first one's error.
    """
    if unique:
        samples = list(samples)
        refuse_doubles((sample.id for sample in samples), file, unique)
    kept, skipped = [], []
    exists: dict[str, bool] = {}
    missing: dict[str, list[str]] = {}
    for sample in samples:
        for one in sample.media:
            if one.uri not in exists:
                exists[one.uri] = os.path.isfile(one.uri)
        lost = [one.uri for one in sample.media if not exists[one.uri]]
        for uri in lost:
            missing.setdefault(uri, []).append(sample.where)
        if lost:
            skipped.append(sample.id)
        else:
            kept.append(sample)
    lines = {uri: f"{rows[0]}: no {_relative(uri, folder)}" for uri, rows in missing.items()}
    refuse_missing(address, list(lines.values()))
    if not kept:
        raise bad.first() or no_samples(file, skipped)
    return TrainingData(
        name=address.name,
        fingerprint=fingerprint.of([address.kind, address.prompting, fingerprint.of_file(file), skipped]),
        samples=kept,
        bad=bad,
        unreadable=[
            lines[uri] + (f" (nor for {len(rows) - 1:,} samples more)" if len(rows) > 1 else "")
            for uri, rows in missing.items()
        ],
    )


def refuse_missing(address: DataAddress, missing: Sequence[str]) -> None:
    """Refuse data with missing media, one line each, unless their samples are to be skipped.

    Raises:
        MissingData: the first line, and how many there are besides.
    """
    if missing and not address.skip_missing:
        more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
        raise MissingData(f"{missing[0]}{more}; fetch them, or leave their samples out with --skip-missing-media")


def no_samples(file: Path | str, skipped: Sequence[str]) -> BadData:
    """The error for a table without a sample to train on."""
    reason = f"all its {len(skipped):,} samples lack their media" if skipped else "it holds no sample"
    return BadData(f"{file}: {reason}")


def media_of(row: Fields, folder: Path) -> dict[MediaKind, list[Media]]:
    """The media that a row names, by kind, in the order of its keys: a path or a list of paths each.

    Raises:
        BadData: a path leads out of the folder, or ``start_s`` and ``end_s`` do not cut exactly one medium.
    """
    paths = {kind: row.text_or_texts(kind) for key in row for kind in MEDIA if kind == key and row.has(kind)}
    start = row.seconds("start_s") if row.has("start_s") else None
    end = row.seconds("end_s") if row.has("end_s") else None
    if end is not None and end <= (start or 0.0):
        raise row.bad(f"'end_s' is {end:g}, and must be after 'start_s'")
    if (start, end) != (None, None) and sum(map(len, paths.values())) != 1:
        raise row.bad("'start_s' and 'end_s' cut one medium; the row must have exactly one")
    return {
        kind: [Media(kind=kind, uri=medium(folder, ".", path, row), start_s=start, end_s=end) for path in found]
        for kind, found in paths.items()
    }


def caption_samples(
    address: DataAddress, row: Fields, name: str, media: Media, captions: Sequence[str]
) -> Iterator[Sample]:
    """One sample per caption: its turns before it hold the medium and the prompt, the assistant turn the caption.

    They are named ``name``, or ``name#0``, ``name#1`` where there are several.
    """
    for number, caption in enumerate(captions):
        yield Sample(
            id=name if len(captions) == 1 else f"{name}#{number}",
            where=row.where,
            media=(media,),
            turns=(*_prompt(media.kind, address.prompt, address.order), Turn(role="assistant", parts=(caption,))),
        )


def captions_of(row: Fields, key: str) -> tuple[str, ...]:
    """A caption, or a list of them.

    Raises:
        BadData: there is none, or one is empty.
    """
    found = row.text_or_texts(key)
    if not found or not all(caption.strip() for caption in found):
        raise row.bad(f"{key!r} is empty")
    return found


@functools.cache  # one object for all samples of a table
def _prompt(kind: MediaKind, prompt: str, order: MediaOrder) -> tuple[Turn, ...]:
    return with_media((Turn(role="user", parts=(prompt,) if prompt else ()),), (Slot(medium=kind),), order)


def _relative(uri: str, folder: Path) -> str:
    path = Path(uri)
    return path.relative_to(folder.absolute()).as_posix() if path.is_relative_to(folder.absolute()) else uri
