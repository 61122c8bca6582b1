"""What a training writes about itself: ``training.json`` with what was resolved, and ``log.jsonl`` with its steps."""

import importlib.metadata
import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from anymal_eval.checksums import read_checked_json, write_checked_json
from anymal_eval.errors import BadData, OtherRun
from anymal_eval.store.atomic import storage_errors, write_atomic

FORMAT = 1
NAME, LOG = "training.json", "log.jsonl"
SCORE = "eval_"  # before the names of scores in the log
STEPS, BATCH, DATA = "recipe.steps", "recipe.batch_size", "data"
CHANGEABLE = (STEPS, BATCH, DATA)  # of the identity, with --with-changes
WITH_DATA = ("weights", "group_by_length", "processes", "accumulate")  # say how the data are read; with other data
PACKAGES = ("anymal_eval", "torch", "transformers", "peft", "accelerate", "bitsandbytes", "safetensors", "tokenizers")


def read(folder: Path) -> dict[str, Any]:
    """The record of a folder; empty if none is there yet.

    Raises:
        BadData: it is damaged.
    """
    file = folder / NAME
    if not file.exists():
        return {}
    record, matches = read_checked_json(file)
    if not isinstance(record, dict) or not isinstance(record.get("identity", {}), dict):
        raise BadData(f"{file}: it holds no record of a training; restore it, or choose another --out")
    if matches is False:
        raise BadData(
            f"{file}: its checksum differs: it is damaged or was edited; restore it, or delete it to resume without "
            "comparing the training with the one there"
        )
    return dict(record)


def require_same(
    folder: Path,
    record: Mapping[str, Any],
    identity: Mapping[str, Any],
    *,
    unknown: str = "",
    changes: bool = False,
) -> dict[str, tuple[Any, Any]]:
    """Make sure that a record, if there is one, is of this training.

    Args:
        folder: for the message.
        record: from :func:`read`.
        identity: all that the result depends on.
        unknown: a key of ``identity`` that is not known yet.
        changes: whether ``CHANGEABLE`` may differ, and with other data how they are read.

    Returns:
        What differs, by name: the value before, and that now.

    Raises:
        OtherRun: it is of another training; the message names what differs.
    """
    if not record:
        return {}
    before, now = (
        _flat({key: value for key, value in each.items() if key != unknown})
        for each in (record.get("identity", {}), json.loads(json.dumps(identity)))
    )
    differing = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    may_differ = (*CHANGEABLE, *(WITH_DATA if DATA in differing else ()))
    others = [key for key in differing if key not in may_differ]
    if others or (differing and not changes):
        values = ", ".join(f"{key} was {_short(before.get(key))}, now {_short(now.get(key))}" for key in differing[:5])
        resumed = "" if others else ", or give --with-changes to resume it with them"
        raise OtherRun(
            f"{folder}: the training there differs in {', '.join(differing)}: {values}; choose another --out{resumed}"
        )
    return {key: (before.get(key), now.get(key)) for key in differing}


def write(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record.

    Raises:
        StorageFull, WrongUse: it cannot be written.
    """
    write_atomic(folder / NAME, write_checked_json({"format": FORMAT, **record}))


def versions() -> dict[str, str]:
    """Of Python, the machine and the packages that compute."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


class TrainingLog:
    """``log.jsonl``: losses, learning rates and scores by step."""

    def __init__(
        self,
        folder: Path,
        show: Callable[[int, Mapping[str, float]], None] | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        """``show`` gets each line too, and ``notify`` what the user must know."""
        self._file, self._show, self._notify = folder / LOG, show, notify
        self._start = time.monotonic()

    def truncate(self, step: int) -> None:
        """Drop the lines after a step, and a last line that was not written whole."""
        if not self._file.exists():
            return
        kept = [line for line in self._file.read_text(encoding="utf-8").split("\n") if _is_until(line, step)]
        write_atomic(self._file, "".join(line + "\n" for line in kept))

    def has_scores(self, step: int) -> bool:
        """Whether a line says how the network was evaluated at a step."""
        lines = self._file.read_text(encoding="utf-8").splitlines() if self._file.exists() else []
        rows = map(json.loads, filter(None, lines))
        return any(row["step"] == step and any(name.startswith(SCORE) for name in row) for row in rows)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append a line.

        Raises:
            StorageFull: there is no space.
        """
        self._append({"step": step, **values})
        if self._show is not None:
            self._show(step, values)

    def write_rows(self, step: int, rows: int | None) -> None:
        """Append that memory ran out in a step, and how many rows are computed at once from there on.

        Raises:
            StorageFull: there is no space.
        """
        self._append({"step": step, "rows_at_once": rows})
        if self._notify is not None:
            self._notify(f"step {step}: out of memory; {rows} rows at once from here on, in batches of the same size")

    def _append(self, values: Mapping[str, Any]) -> None:
        row = {**values, "seconds": round(time.monotonic() - self._start, 3)}
        with storage_errors(self._file), self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")


def _is_until(line: str, step: int) -> bool:
    try:
        return bool(line) and int(json.loads(line)["step"]) <= step
    except (ValueError, KeyError, TypeError):
        return False


def _flat(tree: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    """Nested tables as one, by dotted names.

    >>> _flat({"recipe": {"steps": 2}, "stage": "align"})
    {'recipe.steps': 2, 'stage': 'align'}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{under}{key}.") if isinstance(value, Mapping) else {f"{under}{key}": value}
    return flat


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
