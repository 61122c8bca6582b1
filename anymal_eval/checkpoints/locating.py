"""Finds a checkpoint: a local folder, or the snapshot of a hub repository."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from anymal_eval.errors import BadCheckpoint

CONFIG = "config.json"
_OTHER_FORMATS = ("*.msgpack", "*.h5", "*.onnx", "*.onnx_data", "*.gguf", "*.ot", "*.tflite")
_PICKLED = ("*.bin", "*.pt", "*.pth")


def locate(name: str, revision: str = "", *, pickled: bool = False) -> Path:
    """The folder of a whole checkpoint; one of the hub is downloaded where the hub's cache lacks it.

    Args:
        name: a folder, or OWNER/NAME of a hub repository.
        revision: of the repository: a branch, tag or commit.
        pickled: whether weights that are not safetensors are wanted too.

    Raises:
        BadCheckpoint: there is no such folder, or the hub does not give the repository.
    """
    skipped = [*_OTHER_FORMATS, *(() if pickled else _PICKLED)]
    return _local(name) or _hub(name, revision, lambda hub, **it: hub.snapshot_download(**it, ignore_patterns=skipped))


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


def _local(name: str) -> Path | None:
    """The local folder; None where the name can be a repository of the hub."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name:
        raise BadCheckpoint(f"{name}: there is no such folder")
    return None


def _hub(name: str, revision: str, fetch: Callable[..., str]) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    # Repositories are OWNER/NAME. A few old ones have no owner, but a name without one is far more often a mistyped
    # folder: it is looked up in the cache alone.
    bare = "/" not in name
    repository: dict[str, Any] = {"repo_id": name, "revision": revision or None, "local_files_only": bare}
    try:
        return Path(fetch(huggingface_hub, **repository))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        if bare:
            raise BadCheckpoint(f"{name}: there is no such folder") from None
        why = "HF_HUB_OFFLINE is set" if huggingface_hub.constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise BadCheckpoint(
            f"{name}: no such folder, and the hub's cache does not hold it while {why}: "
            f"download it where there is a network (hf download {name}), or give a folder"
        ) from None
    except (HfHubHTTPError, HFValidationError) as error:
        first = str(error).strip().splitlines()[0]
        raise BadCheckpoint(f"{name}: no such folder, and the hub does not give it: {first}") from error
