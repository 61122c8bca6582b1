"""Fetches a copy on the hub once, so that later runs read it from this machine: ``data fetch``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anymal_eval.errors import MissingData, WrongUse
from anymal_eval.sources import hub_cache
from anymal_eval.sources.hub import Hub, Place, cached_only, load, loaded, place_with_config
from anymal_eval.task import Split, Task


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A split on this machine: its name, its commit, the number of rows, and the folder of the cache."""

    id: str
    revision: str
    split: str
    rows: int
    folder: Path


ARCHIVES = ("README.md", "*.zip")  # of media that no column names, as NExT-QA's


def fetch(task: Task, split: Split) -> Fetched:
    """Prepare a split of the task's copy in the cache of ``datasets``, whole and with its media.

    Raises:
        WrongUse: the task has no copy, the copy is a local folder, or the copy does not have the split.
        MissingData: it cannot be reached, or is not in the cache while ``HF_HUB_OFFLINE`` is set.
    """
    if not isinstance(task.hub, Hub):
        raise WrongUse(f"task {task.name} has no copy on the hub to fetch")
    if Path(task.hub.id).is_dir():
        raise WrongUse(f"{task.hub.id} is a folder on this machine: there is nothing to fetch")
    place = task.hub.place(split)
    try:
        rows = load(place)
    except MissingData:
        if cached_only(task.hub.id) or (other := place_with_config(place)) is None:
            raise
        place = other
        rows = load(place)
    where = Place.parse(place)
    _fetch_media(task.hub, rows, where)
    return Fetched(
        id=where.id, revision=where.revision, split=where.split, rows=len(rows), folder=hub_cache.home(where.id)
    )


def _fetch_media(copy: Hub, rows: Any, where: Place) -> None:
    """The files of media that lie beside the rows: those that a column names, or the archives of the copy."""
    import huggingface_hub

    if cached_only(where.id):
        return
    patterns = _paths(rows, copy.media) if copy.media in rows.column_names else list(ARCHIVES)
    if patterns:
        get = huggingface_hub.snapshot_download
        loaded(where, lambda: get(where.id, repo_type="dataset", revision=where.revision, allow_patterns=patterns))


def _paths(rows: Any, column: str) -> list[str]:
    """The paths in a column of media, of rows that do not hold the bytes; no bytes are read."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: set[str] = set()
    for chunk in rows.data.column(column).chunks:
        if pa.types.is_struct(chunk.type):
            lacking = pc.is_null(pc.struct_field(chunk, "bytes"))
            found |= set(pc.struct_field(chunk, "path").filter(lacking).to_pylist())
        elif pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type):
            found |= set(chunk.to_pylist())
    return sorted(path for path in found if path)
