"""Experiment trackers that results are logged to. One file each; the file's name is what ``--log-to`` takes.

A file defines ``PACKAGE`` (of PyPI), ``MODULE`` (what is imported), and ``log(record, folder) -> str``, which sends a
record and returns where it is now. Addresses, keys and offline modes are each tracker's own environment variables.
Nothing is logged before the results are on disk, so that a tracker that fails loses nothing.
"""

import importlib
import importlib.util
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anymal_eval.errors import IncompleteRun, NeedsExtra, NotInCatalog
from anymal_eval.visible import visible_line

PROJECT = "anymal_eval"  # where the tracker's own environment variable names none


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a tracker gets of a run, a check or one step of a curve.

    Attributes:
        id: the same for the same content of the same run, so that a tracker that can replace, replaces.
        name: of the run, for people.
        config: what it is: model, protocol, versions and so on.
        metrics: by name, in letters, digits and ``._-/``; values and intervals x100.
        step: of the training; None where there is none.
        files: by name, texts to keep beside the numbers.
    """

    id: str
    name: str
    config: Mapping[str, Any]
    metrics: Mapping[str, float]
    step: int | None = None
    files: Mapping[str, str] = field(default_factory=dict)


def names() -> list[str]:
    """The names of all trackers, sorted. Imports none."""
    return sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py"))


def chosen(text: str) -> tuple[str, ...]:
    """The trackers that ``--log-to`` names, each installed.

    Raises:
        NotInCatalog: there is no such tracker.
        NeedsExtra: its package is not installed.
    """
    wanted = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in wanted:
        if name not in names():
            raise NotInCatalog(f"no tracker {name!r}; there are {', '.join(names())}")
        module = _module(name)
        if importlib.util.find_spec(module.MODULE) is None:
            raise NeedsExtra(f"--log-to {name}: {module.PACKAGE} is not installed: pip install {module.PACKAGE}")
    return wanted


def log(trackers: Iterable[str], records: Iterable[Record], folder: Path) -> list[str]:
    """Send records to trackers.

    Args:
        trackers: names, as :func:`chosen` returns them.
        records: of one run, check or curve.
        folder: where a tracker that writes files writes them.

    Returns:
        A line for each tracker: where the records are.

    Raises:
        IncompleteRun: a tracker failed; what is logged is on disk.
    """
    kept = list(records)
    lines = []
    for name in trackers:
        logging.getLogger(name).setLevel(logging.ERROR)
        try:
            places = [_module(name).log(record, folder) for record in kept]
        except Exception as error:  # whatever a tracker's library raises: a network, a key, a full disk
            why = visible_line(f"{type(error).__name__}: {error}")
            raise IncompleteRun(f"{name} took no results: {why:.300}; they are in {folder}") from error
        lines.append(f"logged to {name}: {places[-1]}" if places else f"nothing to log to {name}")
    return lines


def _module(name: str) -> Any:
    return importlib.import_module(f"anymal_eval.report.trackers.{name}")
