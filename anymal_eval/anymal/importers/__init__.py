"""Checkpoints of other networks, rewritten as ours. One file each; the file's name is the layout's name.

A file defines ``LAYOUT`` (whose layout it is, for people), ``is_one(folder)`` and ``read(folder, given)``. What a
network has that ours cannot express is refused by ``read`` in one line; nothing is approximated. Pickles are read as
tensors alone.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from anymal_eval.anymal import checkpoint, encoders
from anymal_eval.anymal.backbones import placed
from anymal_eval.anymal.config import AnyMALConfig, with_paths
from anymal_eval.checkpoints.locating import locate
from anymal_eval.checkpoints.weights import fingerprint
from anymal_eval.errors import BadCheckpoint, WrongUse
from anymal_eval.paths import expanded


@dataclass(frozen=True, kw_only=True)
class Given:
    """Frozen parts that a folder does not hold, as folders, files or hub repositories; empty where not given."""

    llm: str = ""
    encoder: str = ""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A network of ours, made of another's checkpoint.

    Attributes:
        config: the network; the paths of parts of its own do not matter.
        projectors: their tensors, as ``MEDIUM.name``.
        own: for each frozen part that the folder holds, by ``llm`` or medium, what writes it into a folder.
        adapters: writes them into a folder; None where there are none.
    """

    config: AnyMALConfig
    projectors: Mapping[str, Tensor]
    own: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    adapters: Callable[[Path], None] | None = None


def names() -> list[str]:
    """The names of all layouts, sorted. Imports none."""
    return sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py"))


def recognised(folder: Path) -> str:
    """The name of a folder's layout; empty where it is none of these. Reads names of files and ``config.json``."""
    if not folder.is_dir() or (folder / checkpoint.PROJECTORS).exists():
        return ""
    return next((name for name in names() if _module(name).is_one(folder)), "")


def refuse(folder: Path) -> None:
    """Refuse a checkpoint of another network where one of ours is due.

    Raises:
        BadCheckpoint: with the command that rewrites it.
    """
    if name := recognised(folder):
        command = f"python -m anymal_eval checkpoints import {folder} --out DIR"
        raise BadCheckpoint(f"{folder} is a checkpoint of {_module(name).LAYOUT}; rewrite it as one of ours: {command}")


def write(folder: Path, out: Path, given: Given) -> tuple[str, AnyMALConfig]:
    """Rewrite another network's checkpoint as one of ours; no network is built.

    Args:
        folder: the checkpoint.
        out: the new checkpoint's folder.
        given: what it does not hold.

    Returns:
        Whose layout it was, and the network.

    Raises:
        BadCheckpoint: a file is missing or damaged, or the network has a part that ours has not.
        WrongUse: no such layout, a part that is not given, or ``out`` holds other files.
    """
    if not folder.is_dir():
        raise WrongUse(f"{folder}: there is no such folder")
    name = recognised(folder)
    if not name:
        known = "; ".join(_module(each).LAYOUT for each in names())
        raise WrongUse(f"{folder} is no checkpoint of a network that can be imported: {known}")
    checkpoint.require_replaceable(out)
    found: Imported = _module(name).read(folder, Given(llm=_absolute(given.llm), encoder=_absolute(given.encoder)))
    parts = {str(medium): part.encoder for medium, part in found.config.modalities.items()}
    frozen = {medium: encoders.weights_of(options) for medium, options in parts.items() if medium not in found.own}
    if "llm" not in found.own:
        frozen["llm"] = fingerprint(locate(found.config.llm.path, convert=True))
    contents = checkpoint.Contents(
        config=with_paths(found.config, {part: part for part in found.own}),
        frozen=frozen,
        projectors=found.projectors,
        adapters=found.adapters,
        own=found.own,
    )
    checkpoint.write(out, contents)
    return str(_module(name).LAYOUT), placed(checkpoint.read(out))


def _absolute(path: str) -> str:
    """A path that a checkpoint can keep; names of hub repositories stay."""
    return str(expanded(path).resolve()) if path and expanded(path).exists() else path


def _module(name: str) -> Any:
    return importlib.import_module(f"anymal_eval.anymal.importers.{name}")
