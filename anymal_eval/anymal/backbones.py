"""Where a network's frozen parts lie: from the paths of a checkpoint to this machine, and back.

A checkpoint names a part relative to itself where it lies beside or in it, so that the whole folder can be moved; by
its hub id and commit where it came from there; else by its folder. Wherever a part is found, its fingerprint must be
the one of training.
"""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from anymal_eval.anymal.checkpoint_facts import CheckpointFacts
from anymal_eval.anymal.config import AnyMALConfig, paths_of, with_paths
from anymal_eval.checkpoints.locating import cached, may_be_repository, pinned_name
from anymal_eval.checkpoints.released import is_hub_file
from anymal_eval.errors import BadCheckpoint
from anymal_eval.paths import expanded

FOLDER = "backbones"  # the key of a folder that holds them all
_SNAPSHOT = re.compile(r".*/models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]{40})/?")


def placed(facts: CheckpointFacts, given: Mapping[str, str] | None = None) -> AnyMALConfig:
    """A checkpoint's network with its frozen parts where they lie on this machine.

    Args:
        facts: of the checkpoint.
        given: paths by ``llm`` or medium that replace those of ``config.json``, and under ``backbones`` a folder that
            holds parts by the last part of their paths, or by ``llm`` or medium.

    Raises:
        BadCheckpoint: a folder that is not there, or a part that is not in it.
        BadDefinition: a name that is no part of this network.
    """
    home = facts.folder.resolve()
    beside = {name: os.path.normpath(home / path) for name, path in paths_of(facts.config).items() if path}
    config = with_paths(facts.config, {name: path for name, path in beside.items() if Path(path).exists()})
    return relocated(config, given or {})


def relocated(config: AnyMALConfig, given: Mapping[str, str]) -> AnyMALConfig:
    """A network with frozen parts at other places; arguments and errors as for :func:`placed`."""
    if folder := given.get(FOLDER, ""):
        config = with_paths(config, _inside(folder, config))
    return with_paths(config, {name: path for name, path in given.items() if name != FOLDER})


def require_present(config: AnyMALConfig, folder: Path, *, without: Collection[str] = ()) -> None:
    """Ensure that every frozen part is on this machine, or can be one of the hub.

    Args:
        config: the network, placed.
        folder: its checkpoint, for the message.
        without: parts that are not needed.

    Raises:
        BadCheckpoint: names those that are not, and how to say where they lie.
    """
    lost = [
        f"{name} ({path})"
        for name, path in paths_of(config).items()
        if name not in without
        and not expanded(path).exists()
        and not (may_be_repository(path) or is_hub_file(path))
        and cached(path) is None
    ]
    if lost:
        raise BadCheckpoint(
            f"{folder}: frozen parts are not where it names them: {', '.join(lost)}; say where they lie: "
            "-o backbones=DIR for a folder that holds them, or -o llm=PATH, -o image=PATH, ... for one of them "
            "(train and checkpoints: --backbone)"
        )


def pinned(config: AnyMALConfig) -> AnyMALConfig:
    """The same network with the commit of every frozen part that the hub's cache holds."""
    names = {part: pinned_name(path) for part, path in paths_of(config).items()}
    return with_paths(config, {part: name for part, name in names.items() if name})


def stored(config: AnyMALConfig, folder: Path) -> AnyMALConfig:
    """A network as the checkpoint in ``folder`` names it: the inverse of :func:`placed`."""
    return with_paths(config, {name: _stored(path, folder.resolve()) for name, path in paths_of(config).items()})


def _stored(path: str, folder: Path) -> str:
    place = Path(os.path.abspath(expanded(path)))
    if not path or not place.exists():
        return path
    if name := hub_name(place):
        return name
    near = next((each for each in (place, place.resolve()) if each.is_relative_to(folder.parent)), None)
    return str(place) if near is None else os.path.relpath(near, folder)


def hub_name(place: Path) -> str:
    """``OWNER/NAME@COMMIT`` of a snapshot in the hub's cache; empty for any other folder.

    >>> hub_name(Path("/hub/models--google--siglip/snapshots") / ("0" * 40))
    'google/siglip@0000000000000000000000000000000000000000'
    """
    found = _SNAPSHOT.fullmatch(str(place))
    return f"{found[1]}/{found[2]}@{found[3]}" if found else ""


def _inside(folder: str, config: AnyMALConfig) -> dict[str, str]:
    """Where the parts are in a folder of parts; those that it lacks are left out.

    Raises:
        BadCheckpoint: there is no such folder, or it holds none of them.
    """
    root = expanded(folder)
    if not root.is_dir():
        raise BadCheckpoint(f"backbones={folder}: there is no such folder")
    found: dict[str, str] = {}
    for name, path in paths_of(config).items():
        repository = path.partition("@")[0]
        places = [root / Path(repository).name, root / name, *sorted(root.glob(f"{name}.*"))]
        if may_be_repository(path):
            places.insert(0, root / repository)
        place = next((each for each in places if each.exists()), None) or cached(path, root)
        if place is not None:
            found[name] = str(place)
    if not found:
        named = ", ".join(sorted({Path(path.partition("@")[0]).name for path in paths_of(config).values() if path}))
        raise BadCheckpoint(f"backbones={folder}: it holds none of {named}, nor llm or a medium's name")
    return found
