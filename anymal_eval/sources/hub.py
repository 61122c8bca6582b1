"""Copies on the hub, read through ``datasets``: rows in their order, media left where they are.

The revision is resolved to a commit before anything is read, and stands in the name of every medium:
``row:ID@REVISION/CONFIG/SPLIT/COLUMN#ROW``, which ``hub_media.open_media`` opens. Media are never decoded by
``datasets`` (sound would need torchcodec) and never gathered in memory. Large copies are streamed without their
media columns. ``HF_HUB_OFFLINE`` is honoured: rows then come from the cache.
"""

import functools
import hashlib
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anymal_eval.errors import BadData, MissingData, WrongUse
from anymal_eval.media.location import ROW, safe_path
from anymal_eval.paths import inside
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.hub_shards import files_with_rows, network_errors
from anymal_eval.sources.tables import Reader, Row
from anymal_eval.task import DataFile, Split

COMMIT = re.compile(r"[0-9a-f]{40}")
NO_CONFIG = "-"


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A data set on the hub, or a local folder with the same columns.

    ``splits`` gives the names of our splits there; a name with an ending is a file of the repository.
    ``read`` makes the benchmark's rows of its columns; without it ``to_example`` gets each ``Row``. ``media`` is the
    column that holds bytes, if one does. ``large`` copies are streamed. ``pinned`` is the revision to read; empty means
    the newest.
    """

    id: str
    splits: Mapping[str, str]
    read: Reader = field(default=iter, repr=False)
    media: str = ""
    config: str = ""
    large: bool = False
    pinned: str = ""

    @property
    def revision(self) -> str:
        """The commit that is read, or a digest of the names and sizes in a local folder.

        Raises:
            WrongUse: no id is known or given.
            MissingData: it cannot be found, or is not in the cache while ``HF_HUB_OFFLINE`` is set.
        """
        if not self.id:
            raise WrongUse("no hub copy of this task is known; give one of the official columns with --hub-id")
        return resolve(self.id, self.pinned)

    def files(self, split: Split) -> tuple[DataFile, ...]:
        """Nothing need lie under ``DIR``, but for media that the copy does not hold."""
        del split
        return ()

    def rows(self, root: Path, split: Split) -> Iterator[Any]:
        """The rows of a split, in the order of the copy.

        Raises:
            MissingData, BadData: naming the data set, the row and the column.
        """
        return self.read(self._rows(root, split))

    def _rows(self, root: Path, split: Split) -> Iterator[Row]:
        theirs = self.splits.get(split.name)
        if theirs is None:
            raise WrongUse(f"the hub copy {self.id} has no split {split.name}; it has {', '.join(self.splits)}")
        place = f"{self.id}@{self.revision}/{self.config or NO_CONFIG}/{theirs}"
        streamed = self.large and not cached_only(self.id)
        try:
            rows, columns = _opened(place, self.media, streamed=streamed)
        except (BadData, MissingData):
            if (other := place_with_config(place)) is None:
                raise
            place = other
            rows, columns = _opened(place, self.media, streamed=streamed)
        home = root.absolute()
        prefix = f"{ROW}{place}/{self.media}#" if self.media in columns else ""
        for number, data in enumerate(_without_faults(place, rows, self.media if streamed else None)):
            held = prefix and (self.media not in data or data[self.media] is not None)
            fields = Fields(data, f"{self.id} {theirs}", f"row {number + 1}")
            yield Row(fields, home, split, number, f"{prefix}{number}" if held else "")


@dataclass(frozen=True, kw_only=True)
class Place:
    """One split of one data set at one revision, taken apart."""

    id: str
    revision: str
    config: str
    split: str

    @classmethod
    def parse(cls, place: str) -> "Place":
        """Read ``ID@REVISION/CONFIG/SPLIT``."""
        name, _, rest = place.rpartition("@")
        revision, config, split = rest.split("/", 2)
        return cls(id=name, revision=revision, config=config, split=split)

    def arguments(self) -> dict[str, Any]:
        """What ``datasets.load_dataset`` and its builder are to be given, but for the split."""
        config = None if self.config == NO_CONFIG else self.config
        found: dict[str, Any] = {"path": self.id, "name": config}
        if "." in self.split:
            found["data_files"] = {"part": self.split}
        if COMMIT.fullmatch(self.revision) and not cached_only(self.id):
            found["revision"] = self.revision
        return found

    @property
    def part(self) -> str:
        """The split's name for ``datasets``."""
        return "part" if "." in self.split else self.split


@functools.lru_cache(maxsize=8)
def load(place: str) -> Any:
    """A split as a memory-mapped ``datasets.Dataset``, its media undecoded.

    Raises:
        MissingData: it cannot be loaded; the message says why.
    """
    import datasets

    where = Place.parse(place)

    def load_from(more: Mapping[str, Any]) -> Any:
        return datasets.load_dataset(**where.arguments(), **more, split=where.part)

    try:
        return undecoded(_loaded(where, lambda: load_from({})))
    except (BadData, MissingData) as error:
        if _is_of_network(error) or (files := _without_empty(place)) is None:
            raise
        return undecoded(_loaded(where, lambda: datasets.load_dataset(**files, split=where.part)))


def undecoded(rows: Any) -> Any:
    """The same rows with every column of pictures, sounds or clips as it is stored."""
    for name, feature in (rows.features or {}).items():
        if hasattr(feature, "decode"):
            rows = rows.cast_column(name, type(feature)(decode=False))
    return rows


def data_files(place: str) -> list[str]:
    """The files (local paths or ``hf://`` addresses) that a split is made of, in order."""
    import datasets

    where = Place.parse(place)
    builder = _loaded(where, lambda: datasets.load_dataset_builder(**where.arguments()))
    return [str(file) for file in (builder.config.data_files or {}).get(where.part, [])]


def cached_only(name: str) -> bool:
    """Whether only the cache may be read: ``HF_HUB_OFFLINE`` is set, and it is no local folder."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE) and not Path(name).is_dir()


@functools.cache
def resolve(name: str, pinned: str) -> str:
    """The commit of a data set on the hub, or in the cache; a digest of a local folder's names and sizes.

    Raises:
        MissingData: there is none.
        BadData: a symbolic link leads out of the local folder.
    """
    folder = Path(name)
    if folder.is_dir():
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        for file in files:
            safe_path(folder, file.relative_to(folder).as_posix())
        lines = "".join(f"{file.relative_to(folder).as_posix()} {file.stat().st_size}\n" for file in files)
        return f"local-{hashlib.sha256(lines.encode()).hexdigest()[:16]}"
    if COMMIT.fullmatch(pinned):
        return pinned
    if cached_only(name):
        return _cached_commit(name)
    from huggingface_hub import HfApi

    info = _loaded(name, lambda: HfApi().dataset_info(name, revision=pinned or None, timeout=30))
    return str(info.sha)


def _cached_commit(name: str) -> str:
    # ``datasets`` keeps what it prepared under ORG___NAME/CONFIG/VERSION/COMMIT, and offline takes the newest.
    from datasets import config

    home = inside(Path(config.HF_DATASETS_CACHE), name.replace("/", "___"))
    found = [folder for folder in home.glob("*/*/*") if COMMIT.fullmatch(folder.name)]
    if not found:
        raise MissingData(f"{name} is not in the cache ({home}) and HF_HUB_OFFLINE is set; load it once without")
    return max(found, key=lambda folder: os.stat(folder).st_mtime).name


def place_with_config(place: str) -> str | None:
    """The same split in the one configuration that has it, where the named one is not there; None without another.

    Raises:
        BadData: several configurations have the split, or none.
    """
    import datasets

    where = Place.parse(place)
    if "." in where.split:
        return None
    if cached_only(where.id):
        found = _cached_configs(where)
        known = found
    else:
        try:
            known = datasets.get_dataset_config_names(where.id, **_revision(where))
            if where.config in known or (where.config == NO_CONFIG and known in ([], ["default"])):
                return None
            found = [
                each
                for each in known
                if where.split in datasets.get_dataset_split_names(where.id, each, **_revision(where))
            ]
        except _failures():
            return None
    if len(found) == 1 and found[0] != where.config:
        return f"{where.id}@{where.revision}/{found[0]}/{where.split}"
    if len(found) > 1:
        raise BadData(
            f"hub data set {where.id}: its configurations {', '.join(found)} have the split {where.split}; "
            "name one with --hub-config"
        )
    if not found and known:
        raise BadData(
            f"hub data set {where.id}: none of its configurations {', '.join(known)} has the split {where.split}"
        )
    return None


def _cached_configs(where: Place) -> list[str]:
    # ORG___NAME/CONFIG/VERSION/COMMIT/NAME-SPLIT.arrow, as ``datasets`` keeps it; a configuration may bear a digest.
    from datasets import config

    home = inside(Path(config.HF_DATASETS_CACHE), where.id.replace("/", "___"))
    files = home.glob(f"*/*/{where.revision}/*-{where.split}*.arrow")
    return sorted({file.parents[2].name for file in files} - {"default"})


def _revision(where: Place) -> dict[str, str]:
    return {"revision": where.revision} if COMMIT.fullmatch(where.revision) else {}


def _opened(place: str, media: str, *, streamed: bool) -> tuple[Any, list[str]]:
    if streamed:
        return _streamed(place, media)
    rows = load(place)
    return rows, list(rows.column_names)


def _without_faults(place: str, rows: Iterable[Any], streamed_media: str | None, start: int = 0) -> Iterator[Any]:
    """The rows from ``start`` on; an error names the file or the row, and files without rows are left out."""
    done = start
    try:
        for data in rows:
            yield data
            done += 1
    except _failures() as error:
        of_network = _is_of_network(error)
        files = None if streamed_media is None or of_network else _without_empty(place, streamed_media)
        if files is None:
            kind = MissingData if of_network else BadData
            raise kind(f"hub data set {Place.parse(place).id}: row {done + 1}: {_reason(error)}") from error
        rest, _ = _streamed(place, streamed_media or "", files)
        yield from _without_faults(place, itertools.islice(rest, done, None), None, done)


def _without_empty(place: str, unread: str = "") -> dict[str, Any] | None:
    """Arguments of ``datasets.load_dataset`` that leave out the files without rows; None where there are none.

    The column ``unread`` is not read. None too where the network fails, so that the first error is reported.

    Raises:
        BadData: a file is damaged; names it.
    """
    where = Place.parse(place)
    if cached_only(where.id):
        return None
    try:
        files = data_files(place)
    except (BadData, MissingData):
        return None
    try:
        kept = files_with_rows(files, unread)
    except network_errors():
        return None
    if len(kept) == len(files) or not kept:
        return None
    kind = {".parquet": "parquet", ".jsonl": "json", ".ndjson": "json"}.get(Path(kept[0]).suffix)
    return None if kind is None else {"path": kind, "data_files": {where.part: kept}}


def _streamed(place: str, media: str, given: Mapping[str, Any] | None = None) -> tuple[Any, list[str]]:
    import datasets

    where = Place.parse(place)
    plain = dict(given or where.arguments())
    rows = _loaded(where, lambda: datasets.load_dataset(**plain, split=where.part, streaming=True))
    columns = list(rows.column_names or rows.features or [])
    kept = [name for name in columns if name != media]
    # Media stay unread only if the files are read by column; dropping columns afterwards would be too late.
    if data_files(place) and all(file.endswith(".parquet") for file in data_files(place)):
        arguments = {**plain, "columns": kept}
        return _loaded(where, lambda: datasets.load_dataset(**arguments, split=where.part, streaming=True)), columns
    return undecoded(rows).select_columns(kept), columns


def _loaded(what: Place | str, load: Callable[[], Any]) -> Any:
    name, split = (what.id, f" {what.split}") if isinstance(what, Place) else (what, "")
    try:
        return load()
    except _failures() as error:
        kind = BadData if Path(name).is_dir() else MissingData
        raise kind(f"hub data set {name}{split} cannot be loaded: {_reason(error)}") from error


def _failures() -> tuple[type[Exception], ...]:
    import pyarrow as pa
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    # The bases of the last are OSError and the root of whichever HTTP library this version of the hub's client uses.
    return (DatasetsError, pa.ArrowException, ValueError, RuntimeError, TypeError, KeyError, *HfHubHTTPError.__bases__)


def _is_of_network(error: BaseException) -> bool:
    """Whether the error, or one that it was raised from, is of the network: the files are not at fault."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, network_errors()):
        cause = cause.__cause__
    return cause is not None


def _reason(error: BaseException) -> str:
    """The error's message, and that of its root where ``datasets`` only says that it failed."""
    texts = [" ".join(str(error).split())]
    while error.__cause__ is not None:
        error = error.__cause__
        texts.append(" ".join(str(error).split()))
    return f"{texts[0]:.300}" + (f": {texts[-1]:.300}" if texts[-1] not in texts[0] else "")
