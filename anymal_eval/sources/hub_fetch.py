"""Fetches a copy on the hub once, so that later runs read it from this machine: ``data fetch``."""

from dataclasses import dataclass
from pathlib import Path

from anymal_eval.errors import MissingData, WrongUse
from anymal_eval.sources import hub_cache
from anymal_eval.sources.hub import Hub, Place, cached_only, load, place_with_config
from anymal_eval.task import Split, Task


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A split on this machine: its name, its commit, the number of rows, and the folder of the cache."""

    id: str
    revision: str
    split: str
    rows: int
    folder: Path


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
    return Fetched(
        id=where.id, revision=where.revision, split=where.split, rows=len(rows), folder=hub_cache.home(where.id)
    )
