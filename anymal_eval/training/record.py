"""``training.json``: what was resolved and what came of it; a folder goes on only with the training that began it."""

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anymal_eval.codec import read_json
from anymal_eval.errors import OtherRun
from anymal_eval.store.atomic import write_atomic

FORMAT = 1
NAME = "training.json"
PACKAGES = ("anymal_eval", "torch", "transformers", "peft", "accelerate", "bitsandbytes", "safetensors", "tokenizers")


def begin(folder: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """What stands there of the same training, or nothing yet.

    Raises:
        OtherRun: it was another; the message names what differs.
    """
    file = folder / NAME
    if not file.exists():
        return {}
    before: dict[str, Any] = read_json(file)
    was, now = _flat(before.get("identity", {})), _flat(json.loads(json.dumps(identity)))
    differing = sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key))
    if differing:
        told = ", ".join(f"{key} was {_short(was.get(key))}, now {_short(now.get(key))}" for key in differing[:5])
        raise OtherRun(f"{folder}: the training there differs in {', '.join(differing)}: {told}; choose another --out")
    return before


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """The whole record.

    Raises:
        StorageFull, WrongUse: it cannot be written.
    """
    write_atomic(folder / NAME, json.dumps({"format": FORMAT, **content}, indent=2) + "\n")


def versions() -> dict[str, str]:
    """Of what computes."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _flat(tree: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    """Nested tables as one, by dotted names.

    >>> _flat({"recipe": {"steps": 2}, "stage": "align"})
    {'recipe.steps': 2, 'stage': 'align'}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{under}{key}.")
        else:
            flat[f"{under}{key}"] = value
    return flat


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
