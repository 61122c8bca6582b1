"""Bytes behind ``row:ID@REVISION/CONFIG/SPLIT/COLUMN#ROW``: read again at each use, never kept.

A split that was prepared on disk is memory-mapped. One that was streamed is read from its parquet files, one
row group at a time, of which the last ones are kept: rows are mostly read in their order.
"""

import bisect
import functools
import itertools
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from anymal_eval.errors import BadData, MediaError, MissingData
from anymal_eval.media.location import ROW, safe_path
from anymal_eval.sources.hub import Place, data_files, is_local, load
from anymal_eval.sources.hub_archives import ENDING, FILES, read_member
from anymal_eval.sources.hub_shards import network_errors

KEPT_GROUPS = 2


def open_media(uri: str) -> bytes:
    """The bytes of a medium in a row; safe to call from many threads.

    Raises:
        MediaError: there are none, or the data set cannot be read.
    """
    address, _, number = uri.removeprefix(ROW).rpartition("#")
    place, _, column = address.rpartition("/")
    try:
        where = Place.parse(place)
        if where.split == FILES:
            return _repository_file(unquote(column), where).read_bytes()
        if where.split.endswith(ENDING):
            return read_member(_repository_file(where.split, where), column)
        value = _value(place, column, int(number))
        return _bytes(value, where)
    except _unreadable() as error:
        raise MediaError(f"{uri}: {' '.join(str(error).split())}") from error


def _unreadable() -> tuple[type[Exception], ...]:
    return (BadData, MissingData, OSError, ValueError, IndexError, KeyError, *network_errors())


def _value(place: str, column: str, number: int) -> Any:
    shards = _shards(place)
    if shards is not None:
        return shards.value(column, number)
    return load(place).select_columns([column])[number][column]


def _bytes(value: Any, place: Place) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict) and value.get("bytes") is not None:
        return bytes(value["bytes"])
    path = value.get("path") if isinstance(value, dict) else value
    if not isinstance(path, str):
        raise BadData("the row holds no medium")
    return _repository_file(path, place).read_bytes()


def _repository_file(path: str, place: Place) -> Path:
    folder = Path(place.id)
    if folder.is_dir():
        # ``datasets`` makes paths of its own absolute; what it resolved is still inside the folder.
        inside = path.removeprefix(f"{folder.absolute()}/")
        return safe_path(folder, inside)
    if Path(path).is_absolute():
        raise BadData(f"the path {path!r} is absolute; paths must stay inside the data set")
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(place.id, path, repo_type="dataset", revision=place.revision))


@functools.lru_cache(maxsize=8)
def _shards(place: str) -> "_Shards | None":
    if is_local(place):
        return None
    files = data_files(place)
    return _Shards(files) if files and all(file.endswith(".parquet") for file in files) else None


class _Shards:
    """The parquet files of a split as one list of rows."""

    def __init__(self, files: list[str]) -> None:
        import fsspec  # type: ignore[import-untyped]
        import pyarrow.parquet as pq

        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[int, str], Any] = OrderedDict()
        self._groups: list[tuple[Any, int]] = []
        sizes = []
        for file in files:
            shard = pq.ParquetFile(fsspec.open(file, "rb").open())
            for group in range(shard.num_row_groups):
                self._groups.append((shard, group))
                sizes.append(shard.metadata.row_group(group).num_rows)
        self._ends = list(itertools.accumulate(sizes))

    def value(self, column: str, number: int) -> Any:
        """One cell, as Python."""
        place = bisect.bisect_right(self._ends, number)
        if place >= len(self._groups):
            raise IndexError(f"no row {number}; it has {self._ends[-1] if self._ends else 0}")
        first = self._ends[place - 1] if place else 0
        with self._lock:
            return self._column(place, column)[number - first].as_py()

    def _column(self, place: int, column: str) -> Any:
        key = (place, column)
        if key not in self._cache:
            shard, group = self._groups[place]
            self._cache[key] = shard.read_row_group(group, columns=[column]).column(column)
            if len(self._cache) > KEPT_GROUPS:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]
