"""``datasets:FOLDER_OR_ID[?split=train&image=COLUMN&caption=COLUMN]``: media and captions in a ``datasets`` table.

A folder in a layout that ``datasets`` loads (parquet, JSON or csv files, an imagefolder), or an id on the hub, whose
media may be bytes in the rows or paths within the folder::

    datasets:photos?image=picture&caption=text
    datasets:org/sounds?config=small&split=train&audio=audio&caption=captions&revision=COMMIT

By default the medium is the one column named image, audio, video or imu, and the caption the column named caption or
text; a list of captions gives one sample each. Sound must be in parquet, JSON or csv files: an audiofolder needs
torchcodec to be loaded at all. No code of a data set is run. With ``HF_HUB_OFFLINE`` the rows of an id come from the
cache.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from anymal_eval import fingerprint
from anymal_eval.errors import BadData, WrongUse, listed
from anymal_eval.media.location import ROW
from anymal_eval.records import Media, MediaKind
from anymal_eval.sources import hub
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.folder import medium
from anymal_eval.sources.hub_cache import NO_CONFIG
from anymal_eval.sources.hub_media import open_media
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import DataAddress, TrainingData
from anymal_eval.training.sources._table import MEDIA, caption_samples, captions_of, no_samples, refuse_missing

OPTIONS = ("split", "config", "revision", "caption", *MEDIA)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """A data set and the names of its columns; ``place`` is ``ID@REVISION/CONFIG/SPLIT``."""

    name: str
    place: str
    kind: MediaKind
    medium: str
    caption: str


def load(address: DataAddress) -> TrainingData:
    """The rows as samples, named by their number, or ``NUMBER#0``, ``NUMBER#1`` where one has several captions.

    Raises:
        WrongUse: an unknown option, or columns that must be named.
        MissingData: the data set cannot be loaded, or media are missing.
        BadData: naming the data set, the row and the column.
    """
    name, options = _options(address)
    _, revision = hub.resolve((name,), options.get("revision", ""))
    place = f"{name}@{revision}/{options.get('config') or NO_CONFIG}/{options.get('split', 'train')}"
    rows = hub.load(place)
    columns = _columns(name, place, options, rows.column_names)
    kept: list[Sample] = []
    bad = address.bad_rows()
    contents, missing, skipped = [], [], []
    captions = rows.select_columns([columns.caption])
    for number, (data, (held, path)) in enumerate(zip(captions, _held(rows, columns), strict=True)):
        # With the options: other columns and splits of the same table have rows of the same numbers.
        row = Fields(data, address.path, f"row {number + 1}")
        try:
            found, lacks = _medium(columns, number, row, path, held=held)
            texts = captions_of(row, columns.caption)
        except BadData as error:
            bad.add(row.where, error)
            contents.append(f"bad row\0{number}")
            continue
        bad.rows += 1
        contents.append(f"{path.rpartition('/')[2] if path else ''}\0{texts}")
        if found is None:
            missing.append(f"{row.where}: {lacks}")
            skipped.append(str(number))
        else:
            kept += caption_samples(address, row, str(number), found, texts)
    refuse_missing(address, missing)
    if not kept:
        raise bad.first() or no_samples(name, skipped)
    table = [address.kind, address.prompting, columns.kind, skipped, fingerprint.of_lines(contents)]
    return TrainingData(
        name=address.name,
        fingerprint=fingerprint.of(table),
        samples=kept,
        opener=open_media,
        unreadable=missing,
        bad=bad,
    )


def _options(address: DataAddress) -> tuple[str, dict[str, str]]:
    name, _, query = address.path.partition("?")
    options = dict(parse_qsl(query))
    if not name or len(options) != len(query.split("&")) * bool(query) or not options.keys() <= set(OPTIONS):
        raise WrongUse(
            f"{address.name}: options are written as in ?image=COLUMN&split=train; there are {', '.join(OPTIONS)}"
        )
    return name, options


def _columns(name: str, place: str, options: dict[str, str], existing: list[str]) -> Columns:
    named = {kind: options[kind] for kind in MEDIA if kind in options}
    media = named or {kind: kind for kind in MEDIA if kind in existing}
    if len(media) != 1:
        raise WrongUse(
            f"{name}: name the one column of the media, as in ?image=COLUMN; its columns are {', '.join(existing)}"
        )
    ((kind, column),) = media.items()
    caption = options.get("caption") or next((each for each in ("caption", "text") if each in existing), "caption")
    lacking = [each for each in (column, caption) if each not in existing]
    if lacking:
        raise BadData(f"{name}: no column {', '.join(lacking)}; it has {listed(existing, 20)}")
    return Columns(name=name, place=place, kind=kind, medium=column, caption=caption)


def _held(rows: Any, columns: Columns) -> Iterator[tuple[bool, str | None]]:
    """For each row, whether it holds the bytes of its medium, and a path; reads no media."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for chunk in rows.data.column(columns.medium).chunks:
        if pa.types.is_struct(chunk.type):
            held, paths = pc.struct_field(chunk, "bytes").is_valid(), pc.struct_field(chunk, "path")
        elif pa.types.is_binary(chunk.type) or pa.types.is_large_binary(chunk.type):
            held, paths = chunk.is_valid(), pa.nulls(len(chunk), pa.string())
        elif pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type):
            held, paths = pa.array([False] * len(chunk)), chunk
        else:
            raise BadData(
                f"{columns.name}: column {columns.medium!r} holds {chunk.type}, where media or paths were due"
            )
        yield from zip(held.to_pylist(), paths.to_pylist(), strict=True)


def _medium(columns: Columns, number: int, row: Fields, path: str | None, *, held: bool) -> tuple[Media | None, str]:
    """The medium, or None and what is missing."""
    if not held and path is None:
        return None, f"no {columns.kind} in column {columns.medium!r}"
    folder = Path(columns.name)
    if held or not folder.is_dir():
        return Media(kind=columns.kind, uri=f"{ROW}{columns.place}/{columns.medium}#{number}"), ""
    inside = str(path)
    for home in (folder.absolute(), folder.resolve()):  # ``datasets`` makes paths of its own absolute
        inside = inside.removeprefix(f"{home}/")
    found = Media(kind=columns.kind, uri=medium(folder, ".", inside, row))
    return (found, "") if Path(found.uri).is_file() else (None, f"no {inside}")
