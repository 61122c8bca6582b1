"""Finds a checkpoint: a local folder, or the snapshot of a hub repository."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from anymal_eval.checkpoints.conversion import with_safetensors
from anymal_eval.checkpoints.files import Pickled, skipped_in
from anymal_eval.errors import BadCheckpoint, WrongUse
from anymal_eval.network import hub_reachable
from anymal_eval.paths import expanded

CONFIG = "config.json"
# The weights, the processor and the fingerprint of one part are of one commit, which is looked up once a process.
_SNAPSHOTS: dict[tuple[object, ...], str] = {}


def locate(name: str, revision: str = "", *, pickled: bool = False, convert: bool = False) -> Path:
    """The folder of a whole checkpoint; one of the hub is downloaded where the hub's cache lacks it.

    Args:
        name: a folder, or OWNER/NAME of a hub repository.
        revision: of the repository: a branch, tag or commit.
        pickled: whether weights that are not safetensors are wanted too.
        convert: whether a checkpoint whose weights are pickles alone is converted to safetensors, in the cache.

    Raises:
        BadCheckpoint: there is no such folder, or the hub does not give the repository.
    """
    wanted: Pickled = "always" if pickled else "alone" if convert else "never"
    folder = _local(name) or _hub(name, revision, partial(_snapshot, pickled=wanted))
    return with_safetensors(folder) if convert else folder


def find(name: str) -> Path | None:
    """The folder of a checkpoint that is on this machine, or the hub's cache of it; None where neither is. No network.

    Raises:
        BadCheckpoint: the name can only be a folder, and there is none.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    folder = _local(name)
    if folder is not None:
        return folder
    try:
        return Path(huggingface_hub.snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def locate_config(name: str, revision: str = "") -> Path:
    """A checkpoint's ``config.json``; nothing else is downloaded.

    Raises:
        BadCheckpoint: as for :func:`locate`, or there is no such file.
    """
    folder = _local(name)
    if folder is None:
        return _hub(name, revision, lambda hub, **it: hub.hf_hub_download(**it, filename=CONFIG))
    if not (folder / CONFIG).is_file():
        raise BadCheckpoint(f"{folder} holds no {CONFIG}: it is no transformers checkpoint")
    return folder / CONFIG


def locate_file(name: str) -> Path:
    """One file of a hub repository, OWNER/NAME/FILE; nothing else is downloaded.

    Raises:
        BadCheckpoint: the hub does not give it.
    """
    owner, repository, file = name.split("/", 2)
    try:
        return _hub(f"{owner}/{repository}", "", lambda hub, **it: hub.hf_hub_download(**it, filename=file))
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{name}: there is no such file here; {error}") from None


def find_file(name: str) -> Path | None:
    """That file in the hub's cache; None where it is not there. No network."""
    import huggingface_hub

    owner, repository, file = name.split("/", 2)
    found = huggingface_hub.try_to_load_from_cache(f"{owner}/{repository}", file)
    return Path(found) if isinstance(found, str) else None


def _snapshot(hub: Any, *, pickled: Pickled, **repository: Any) -> str:
    """Download the files that are used; where the list of files cannot be had, what the hub's cache holds is taken."""
    import httpx2

    place = (hub.constants.ENDPOINT, hub.constants.HF_HUB_CACHE, *repository.values(), pickled)
    if (known := _SNAPSHOTS.get(place)) is not None and Path(known).is_dir():
        return known
    names: list[str] = []
    if not repository["local_files_only"]:
        with contextlib.suppress(hub.errors.HfHubHTTPError, hub.errors.OfflineModeIsEnabled, httpx2.TransportError):
            names = hub.HfApi().list_repo_files(repository["repo_id"], revision=repository["revision"])
    skipped = [glob.escape(name) for name in skipped_in(names, pickled=pickled)]
    _SNAPSHOTS[place] = str(hub.snapshot_download(**repository, ignore_patterns=skipped or None))
    return _SNAPSHOTS[place]


def _local(name: str) -> Path | None:
    """The local folder; None where the name can be a repository of the hub."""
    try:
        folder = expanded(name)
    except WrongUse as error:
        raise BadCheckpoint(str(error)) from None
    if folder.is_dir():
        return folder
    if name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name:
        raise BadCheckpoint(f"{name}: there is no such folder")
    return None


def _hub(name: str, revision: str, fetch: Callable[..., str]) -> Path:
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    # Repositories are OWNER/NAME. A few old ones have no owner, but a name without one is far more often a mistyped
    # folder: it is looked up in the cache alone.
    bare = "/" not in name
    cached = bare or constants.HF_HUB_OFFLINE or not hub_reachable()
    repository: dict[str, Any] = {"repo_id": name, "revision": revision or None, "local_files_only": cached}
    try:
        return Path(fetch(huggingface_hub, **repository))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        if bare:
            raise BadCheckpoint(f"{name}: there is no such folder") from None
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise BadCheckpoint(
            f"{name}: no such folder, and the hub's cache does not hold it while {why}: "
            f"download it where there is a network (hf download {name}), or give a folder"
        ) from None
    except (HfHubHTTPError, HFValidationError) as error:
        first = str(error).strip().splitlines()[0]
        raise BadCheckpoint(f"{name}: no such folder, and the hub does not give it: {first}") from error
