"""Finds a checkpoint: a local folder, or the snapshot of a hub repository."""

from __future__ import annotations

import contextlib
import glob
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from anymal_eval.checkpoints.conversion import with_safetensors
from anymal_eval.checkpoints.files import OTHERS, PICKLED, Pickled, is_weight, read_json, skipped_in
from anymal_eval.errors import BadCheckpoint, WrongUse
from anymal_eval.network import hub_reachable
from anymal_eval.paths import expanded

CONFIG, ADAPTERS = "config.json", "adapter_config.json"
# The weights, the processor and the fingerprint of one part are of one commit, which is looked up once a process.
_SNAPSHOTS: dict[tuple[object, ...], str] = {}
_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_REPOSITORY = re.compile(rf"({_PART}/{_PART})(?:@([A-Za-z0-9][A-Za-z0-9._/-]*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def locate(
    name: str, revision: str = "", *, pickled: bool = False, convert: bool = False, only: Sequence[str] = ()
) -> Path:
    """The folder of a whole checkpoint; one of the hub is downloaded where the hub's cache lacks it.

    Args:
        name: a folder, or OWNER/NAME of a hub repository, perhaps with ``@REVISION``.
        revision: of the repository: a branch, tag or commit.
        pickled: whether weights that are not safetensors are wanted too.
        convert: whether a checkpoint whose weights are pickles alone is converted to safetensors, in the cache.

        only: patterns of the files that are downloaded, without pickles; empty for those that transformers reads.

    Raises:
        BadCheckpoint: there is no such folder, or the hub does not give the repository.
        WrongUse: two revisions.
    """
    wanted: Pickled = "always" if pickled else "alone" if convert else "never"
    folder = _local(name) or _hub(name, revision, partial(_snapshot, pickled=wanted, only=tuple(only)))
    return with_safetensors(folder) if convert else folder


def find(name: str) -> Path | None:
    """The folder of a checkpoint that is on this machine, or the hub's cache of it; None where neither is. No network.

    Raises:
        BadCheckpoint: the name can only be a folder, and there is none.
    """
    return _local(name) or cached(name)


def cached(name: str, cache: Path | None = None) -> Path | None:
    """The snapshot of a repository in the hub's cache, or in another one of that layout; None where it is not there."""
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    repository, revision = repository_of(name)
    try:
        found = huggingface_hub.snapshot_download(
            repository, revision=revision or None, cache_dir=cache, local_files_only=True
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return Path(found)


def pinned_name(name: str) -> str:
    """``OWNER/NAME@COMMIT``: a repository with the commit that the hub's cache holds of it.

    Empty for a folder or a file, and where the cache does not hold it.
    """
    if not may_be_repository(name) or expanded(name).exists():
        return ""
    repository, revision = repository_of(name)
    found = None if _COMMIT.fullmatch(revision) else cached(name)
    return "" if found is None else f"{repository}@{found.name}"


def may_be_repository(name: str) -> bool:
    """Whether a name has the form ``OWNER/NAME`` or ``OWNER/NAME@REVISION`` of the hub, and is no file of weights.

    >>> [may_be_repository(name) for name in ("google/siglip", "google/siglip@v1", "google/imu.pt", "../llm", "llm")]
    [True, True, False, False, False]
    """
    return _REPOSITORY.fullmatch(name) is not None and not is_weight(name)


def repository_of(name: str) -> tuple[str, str]:
    """``OWNER/NAME`` and the revision, empty for the default one.

    >>> repository_of("google/siglip@refs/pr/4"), repository_of("google/siglip")
    (('google/siglip', 'refs/pr/4'), ('google/siglip', ''))
    """
    found = _REPOSITORY.fullmatch(name)
    return (found[1], found[2] or "") if found else (name, "")


def download_command(name: str, revision: str = "") -> str:
    """What to type where there is a network.

    >>> download_command("google/siglip@v1")
    'hf download google/siglip --revision v1'
    >>> download_command("google/siglip/weights/a.bin")
    'hf download google/siglip weights/a.bin'
    """
    if not may_be_repository(name) and name.count("/") > 1:
        owner, repository, file = name.split("/", 2)
        return f"hf download {owner}/{repository} {file}"
    repository, own = repository_of(name)
    wanted = revision or own
    return f"hf download {repository}" + (f" --revision {wanted}" if wanted else "")


def locate_config(name: str, revision: str = "") -> Path:
    """A checkpoint's ``config.json``; nothing else is downloaded.

    Raises:
        BadCheckpoint: as for :func:`locate`, or there is no such file.
    """
    folder = _local(name)
    if folder is None:
        return _hub(name, revision, lambda hub, **it: hub.hf_hub_download(**it, filename=CONFIG))
    if not (folder / CONFIG).is_file():
        raise BadCheckpoint(f"{folder} holds no {CONFIG}: it is no transformers checkpoint{_adapters_of(folder)}")
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


def _snapshot(hub: Any, *, pickled: Pickled, only: tuple[str, ...], **repository: Any) -> str:
    """Download the files that are used; where the list of files cannot be had, what the hub's cache holds is taken."""
    import httpx2

    place = (hub.constants.ENDPOINT, hub.constants.HF_HUB_CACHE, *repository.values(), pickled, only)
    if (known := _SNAPSHOTS.get(place)) is not None and Path(known).is_dir():
        return known
    if only:
        wanted: dict[str, Any] = {"allow_patterns": list(only), "ignore_patterns": [*PICKLED, *OTHERS]}
        _SNAPSHOTS[place] = str(hub.snapshot_download(**repository, **wanted))
        return _SNAPSHOTS[place]
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
    repository = repository_of(name)[0]
    if name.startswith(("/", ".", "~")) or repository.count("/") > 1 or "\\" in name:
        raise BadCheckpoint(f"{name}: there is no such folder")
    return None


def _hub(name: str, revision: str, fetch: Callable[..., str]) -> Path:
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    # Repositories are OWNER/NAME. A few old ones have no owner, but a name without one is far more often a mistyped
    # folder: it is looked up in the cache alone.
    repository, own = repository_of(name)
    if own and revision and own != revision:
        raise WrongUse(f"{name}: -o revision={revision} names another revision")
    bare = "/" not in name
    from_cache = bare or constants.HF_HUB_OFFLINE or not hub_reachable()
    wanted: dict[str, Any] = {
        "repo_id": repository,
        "revision": revision or own or None,
        "local_files_only": from_cache,
    }
    try:
        return Path(fetch(huggingface_hub, **wanted))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        if bare:
            raise BadCheckpoint(f"{name}: there is no such folder") from None
        if getattr(error.__cause__, "response", None) is not None:  # the hub answered, and not with a file
            raise BadCheckpoint(f"{name}: no such folder, and {_refused(error.__cause__, repository)}") from error
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise BadCheckpoint(
            f"{name}: no such folder, and the hub's cache does not hold it while {why}: "
            f"download it where there is a network ({download_command(name, revision)}), or give a folder"
        ) from None
    except (HfHubHTTPError, HFValidationError) as error:
        raise BadCheckpoint(f"{name}: no such folder, and {_refused(error, repository)}") from error


def _refused(error: BaseException | None, repository: str) -> str:
    """Why the hub does not give a repository, and what to do."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    status = getattr(getattr(error, "response", None), "status_code", None)
    page, log_in = f"{constants.ENDPOINT}/{repository}", "hf auth login"
    if isinstance(error, GatedRepoError):
        return f"its licence is not accepted: accept it at {page}, then {log_in}"
    if status == 401 and get_token():
        return f"the hub refuses the token of this machine (401): {log_in} with a new one, or hf auth logout"
    if isinstance(error, RepositoryNotFoundError):
        return f"the hub has no such repository, or it is private ({status}): check the name, or {log_in}"
    if isinstance(error, RevisionNotFoundError):
        return f"{page} has no such branch, tag or commit"
    if isinstance(error, EntryNotFoundError):
        return f"{page} has no such file ({str(error).strip().splitlines()[-1]})"
    if status in (401, 403):
        return f"the hub refuses access ({status}): {log_in} with an account that may read {page}"
    first = str(error).strip().splitlines()[0]
    later = "; try again later" if status is not None and (status == 429 or status >= 500) else ""
    return f"the hub does not give it: {first}{later}"


def _adapters_of(folder: Path) -> str:
    """What a folder of PEFT adapters needs; empty for any other folder."""
    file = folder / ADAPTERS
    if not file.is_file():
        return ""
    settings = read_json(file)
    base = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
    named = base if isinstance(base, str) and base else "the model that it was trained on"
    base = named if isinstance(base, str) and base else "BASE"
    return f", but adapters of {named:.200}: give --model hf:{base:.200} -o adapter={folder}"
