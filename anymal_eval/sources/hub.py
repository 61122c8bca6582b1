"""Copies on the hub, read through ``datasets``: rows in their order, media left where they are.

The revision is resolved to a commit before anything is read, and stands in the name of every medium:
``row:ID@REVISION/CONFIG/SPLIT/COLUMN#ROW``, which ``hub_media.open_media`` opens. Media are never decoded by
``datasets`` (sound would need torchcodec) and never gathered in memory. Large copies are streamed without their
media columns, unless ``data fetch`` or ``datasets`` has prepared them on this machine. ``HF_HUB_OFFLINE`` is honoured:
rows then come from the cache alone (``hub_cache``).
"""

import functools
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anymal_eval.errors import BadData, MissingData, WrongUse
from anymal_eval.media.location import ROW, safe_path
from anymal_eval.sources import hub_cache
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.hub_cache import COMMIT, NO_CONFIG
from anymal_eval.sources.hub_shards import files_with_rows, network_errors
from anymal_eval.sources.tables import Reader, Row
from anymal_eval.task import DataFile, Split


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A data set on the hub, or a local folder with the same columns.

    ``splits`` gives the names of our splits there; a name with an ending is a file of the repository.
    ``read`` makes the benchmark's rows of its columns; without it ``to_example`` gets each ``Row``. ``media`` is the
    column that holds bytes, if one does. ``large`` copies are streamed. ``pinned`` is the revision to read; empty means
    the newest. ``aliases`` are other names of the same data set (``ID``, or ``ID/CONFIG`` where its configuration has
    another name there), such as one before it moved: a copy of theirs in the cache is found too.
    """

    id: str
    splits: Mapping[str, str]
    read: Reader = field(default=iter, repr=False)
    media: str = ""
    config: str = ""
    large: bool = False
    pinned: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def revision(self) -> str:
        """The commit that is read, or a digest of the names and sizes in a local folder.

        Raises:
            WrongUse: no id is known or given.
            MissingData: it cannot be found, or is not in the cache while ``HF_HUB_OFFLINE`` is set.
        """
        return self.named()[1]

    def named(self) -> tuple[str, str, str]:
        """The name under which the data set is read, its revision and its configuration; raises as ``revision``."""
        if not self.id:
            raise WrongUse("no hub copy of this task is known; give one of the official columns with --hub-id")
        names = {self.id: self.config} | {_id(alias): _config(alias) or self.config for alias in self.aliases}
        name, revision = resolve(tuple(names), self.pinned)
        return name, revision, names[name]

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

    def place(self, split: Split) -> str:
        """``ID@REVISION/CONFIG/SPLIT`` of one of our splits.

        Raises:
            WrongUse: the copy does not have it.
            MissingData: as ``revision``.
        """
        theirs = self.splits.get(split.name)
        if theirs is None:
            raise WrongUse(f"the hub copy {self.id} has no split {split.name}; it has {', '.join(self.splits)}")
        name, revision, config = self.named()
        return f"{name}@{revision}/{config or NO_CONFIG}/{theirs}"

    def _rows(self, root: Path, split: Split) -> Iterator[Row]:
        place, rows, columns = self._open(split)
        where, home = Place.parse(place), root.absolute()
        streamed = self.large and not is_local(place)
        prefix = f"{ROW}{place}/{self.media}#" if self.media in columns else ""
        for number, data in enumerate(_without_faults(place, rows, self.media if streamed else None)):
            held = prefix and (self.media not in data or data[self.media] is not None)
            fields = Fields(data, f"{where.id} {where.split}", f"row {number + 1}")
            yield Row(fields, home, split, number, f"{prefix}{number}" if held else "", place)

    def _open(self, split: Split) -> tuple[str, Any, list[str]]:
        place = self.place(split)
        try:
            return place, *_opened(place, self.media, streamed=self.large and not is_local(place))
        except (BadData, MissingData):
            if (other := place_with_config(place)) is None:
                raise
            return other, *_opened(other, self.media, streamed=self.large and not is_local(other))


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
            found["data_files"] = {self.part: self.split}
        if COMMIT.fullmatch(self.revision):
            found["revision"] = self.revision
        return found

    @property
    def part(self) -> str:
        """The split's name for ``datasets``."""
        return Path(self.split).stem if "." in self.split else self.split


@functools.lru_cache(maxsize=8)
def load(place: str) -> Any:
    """A split as a memory-mapped ``datasets.Dataset``, its media undecoded.

    Raises:
        MissingData: it cannot be loaded; the message says why.
    """
    import datasets

    where = Place.parse(place)
    if (found := _prepared(where)) is not None:
        return undecoded(loaded(where, lambda: hub_cache.rows(*found)))
    if cached_only(where.id):
        raise MissingData(
            f"hub data set {where.id} {where.split} at {where.revision} is not in the cache "
            f"({hub_cache.home(where.id)}) and HF_HUB_OFFLINE is set; fetch it once without: "
            "anymal-eval data fetch TASK --data hub"
        )
    try:
        return undecoded(loaded(where, lambda: datasets.load_dataset(**where.arguments(), split=where.part)))
    except (BadData, MissingData) as error:
        if _is_of_network(error) or (files := _without_empty(place)) is None:
            raise
        return undecoded(loaded(where, lambda: datasets.load_dataset(**files, split=where.part)))


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
    builder = loaded(where, lambda: datasets.load_dataset_builder(**where.arguments()))
    return [str(file) for file in (builder.config.data_files or {}).get(where.part, [])]


def cached_only(name: str) -> bool:
    """Whether only the cache may be read: ``HF_HUB_OFFLINE`` or ``HF_DATASETS_OFFLINE`` is set; not a local folder."""
    from huggingface_hub import constants

    of_datasets = os.environ.get("HF_DATASETS_OFFLINE", "").upper() in constants.ENV_VARS_TRUE_VALUES
    return bool(constants.HF_HUB_OFFLINE or of_datasets) and not Path(name).is_dir()


def is_local(place: str) -> bool:
    """Whether the rows are prepared on this machine, or only such rows may be read, so that nothing is streamed."""
    where = Place.parse(place)
    return cached_only(where.id) or _prepared(where) is not None


def _prepared(where: "Place") -> tuple[hub_cache.Prepared, str] | None:
    if Path(where.id).is_dir() or not COMMIT.fullmatch(where.revision):
        return None
    return hub_cache.find(where.id, where.revision, where.config, where.split)


@functools.cache
def resolve(names: Sequence[str], pinned: str) -> tuple[str, str]:
    """The name of a data set and its commit on the hub or in the cache; a digest of a local folder's names and sizes.

    Args:
        names: of one data set, the present one first; the others are for caches made before it moved.
        pinned: the revision; empty for the newest.

    Raises:
        MissingData: there is none.
        BadData: a symbolic link leads out of the local folder.
    """
    name = names[0]
    folder = Path(name)
    if folder.is_dir():
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        for file in files:
            safe_path(folder, file.relative_to(folder).as_posix())
        lines = "".join(f"{file.relative_to(folder).as_posix()} {file.stat().st_size}\n" for file in files)
        return name, f"local-{hashlib.sha256(lines.encode()).hexdigest()[:16]}"
    if cached_only(name):
        found = hub_cache.first_cached(names, pinned)
        if found is None and COMMIT.fullmatch(pinned):
            return name, pinned
        if found is None:
            others = f" (nor as {', '.join(names[1:])})" if len(names) > 1 else ""
            raise MissingData(
                f"{name} is not in the cache ({hub_cache.home(name)}){others} and HF_HUB_OFFLINE is set; fetch it once "
                "without: anymal-eval data fetch TASK --data hub"
            )
        return found
    if COMMIT.fullmatch(pinned):
        return name, pinned
    from huggingface_hub import HfApi

    info = loaded(name, lambda: HfApi().dataset_info(name, revision=pinned or None, timeout=30))
    return name, str(info.sha)


def _id(alias: str) -> str:
    return "/".join(alias.split("/")[:2])


def _config(alias: str) -> str:
    return "/".join(alias.split("/")[2:])


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
        return None  # hub_cache has looked at every configuration
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
    rows = loaded(where, lambda: datasets.load_dataset(**plain, split=where.part, streaming=True))
    columns = list(rows.column_names or rows.features or [])
    kept = [name for name in columns if name != media]
    # Media stay unread only if the files are read by column; dropping columns afterwards would be too late.
    if data_files(place) and all(file.endswith(".parquet") for file in data_files(place)):
        arguments = {**plain, "columns": kept}
        return loaded(where, lambda: datasets.load_dataset(**arguments, split=where.part, streaming=True)), columns
    return undecoded(rows).select_columns(kept), columns


def loaded(what: Place | str, load: Callable[[], Any]) -> Any:
    """What ``load`` gives; an error of a library is one line that names the data set.

    Raises:
        MissingData: it is on the hub; BadData: it is a folder.
    """
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
