"""Where frozen weights lie, what they are, and how transformers' classes are filled with them."""

import hashlib
import json
import logging as python_logging
import mmap
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anymal_eval.errors import BadCheckpoint


@dataclass(frozen=True, kw_only=True)
class BackboneLoading:
    """How a frozen part is to be built: with its weights, or as shapes on the meta device (for ``memory.py``)."""

    dtype: torch.dtype = torch.float32
    weights: bool = True


def library() -> Any:
    """transformers, imported when first needed; as Any, because its own types are there by halves."""
    import transformers

    return transformers


def resolve(path: str) -> Path:
    """The folder of a checkpoint: itself, or the hub's snapshot (from the cache alone when offline).

    Raises:
        BadCheckpoint: neither a folder nor a repository that can be had.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        patterns = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
        return Path(snapshot_download(path, allow_patterns=patterns))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise BadCheckpoint(
            f"{path}: no such folder, and not a repository in the hub's cache ({type(error).__name__}); "
            "give a local folder or download it first"
        ) from error


def fingerprint(folder: Path) -> str:
    """What the weights of a folder are, whatever their sharding: a SHA-256 over names, types, shapes and bytes.

    Raises:
        BadCheckpoint: the folder holds no readable safetensors file.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BadCheckpoint(f"{folder} holds no .safetensors file; other formats are not read, convert it first")
    stamps = tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    return _fingerprint(stamps)


@lru_cache(maxsize=64)
def _fingerprint(stamps: tuple[tuple[str, int, int], ...]) -> str:
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter's lock
        parts = [part for found in pool.map(_tensor_digests, [Path(name) for name, _, _ in stamps]) for part in found]
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()


def _tensor_digests(file: Path) -> list[str]:
    """One line for each tensor of a safetensors file."""
    with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            start = 8 + int.from_bytes(data[:8], "little")
            header = json.loads(data[8:start])
        except (ValueError, OverflowError) as error:
            raise BadCheckpoint(f"{file} is no safetensors file, or was cut off") from error
        lines = []
        with memoryview(data) as view:
            for name, facts in header.items():
                if name == "__metadata__":
                    continue
                begin, end = facts["data_offsets"]
                if start + end > len(data):
                    raise BadCheckpoint(f"{file} was cut off: {name} ends at byte {start + end} of {len(data)}")
                with view[start + begin : start + end] as content:
                    digest = hashlib.sha256(content).hexdigest()
                lines.append(f"{name} {facts['dtype']} {facts['shape']} {digest}")
        return lines


def architecture(path: str, given: Mapping[str, Any] | None) -> Any:
    """The transformers configuration of a backbone.

    Args:
        path: its checkpoint.
        given: ``model_type`` and sizes, used where the checkpoint is not at hand (presets carry them, so that
            memory can be told without a download).
    """
    folder = Path(path).expanduser()
    if folder.is_dir() or given is None:
        return library().AutoConfig.from_pretrained(resolve(path))
    return library().AutoConfig.for_model(**given)


def backbone(cls: Any, path: str, given: Mapping[str, Any] | None, source: BackboneLoading, **arguments: Any) -> Any:
    """A transformers class filled with a checkpoint's weights, all of them, or as shapes only.

    Raises:
        BadCheckpoint: no safetensors, another architecture, or tensors that are missing or of another shape
            (transformers would fill them with noise and go on).
    """
    if not source.weights:
        with torch.device("meta"), quiet():
            config = _part(architecture(path, given), cls)
            make = cls.from_config if hasattr(cls, "from_config") else cls._from_config
            return make(config, dtype=source.dtype)
    folder = resolve(path)
    if not (folder / "config.json").exists():
        raise BadCheckpoint(f"{folder} holds no config.json: it is no transformers checkpoint")
    with quiet():
        try:
            model, report = cls.from_pretrained(
                folder, dtype=source.dtype, use_safetensors=True, output_loading_info=True, **arguments
            )
        except (OSError, ValueError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0]
            raise BadCheckpoint(f"{folder} cannot be loaded as {cls.__name__}: {first}") from error
    lacking = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if lacking:
        raise BadCheckpoint(f"{folder} is no {cls.__name__}: it lacks {len(lacking)} tensors, first {lacking[0]}")
    return model


def _part(config: Any, cls: Any) -> Any:
    """A vision or audio class takes its part of a two-tower configuration."""
    for name in ("vision_config", "audio_config"):
        wanted = getattr(getattr(cls, "config_class", None), "model_type", None)
        inner = getattr(config, name, None)
        if inner is not None and getattr(inner, "model_type", None) == wanted:
            return inner
    return config


class quiet:  # noqa: N801 - used as a statement
    """Keeps transformers' load reports and progress bars off the terminal, and restores its level afterwards."""

    def __enter__(self) -> None:
        logging = library().utils.logging
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        # peft 0.21 asks transformers 5.23 by the old name
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        # bitsandbytes looks for an optional kernel when imported, and says so when it is not there
        self._bitsandbytes = python_logging.getLogger("bitsandbytes")
        self._own_level = self._bitsandbytes.level
        self._bitsandbytes.setLevel(python_logging.ERROR)
        self._level = logging.get_verbosity()
        self._bars = logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        logging = library().utils.logging
        self._warnings.__exit__(None, None, None)
        self._bitsandbytes.setLevel(self._own_level)
        logging.set_verbosity(self._level)
        if self._bars:
            logging.enable_progress_bar()


def freeze(module: nn.Module) -> nn.Module:
    """No gradients into its weights, no dropout."""
    module.requires_grad_(False)
    return module.eval()
