"""Remembers that a self-test was passed, so that the next run with the same class, libraries and device skips it.

One small file a test in ``self-tests/`` of the cache folder, named by a hash of all that the outcome depends on; it
states the same in words. Only a passed test is remembered: one that failed runs again. A file that is damaged, that is
a link, or that belongs to another user counts as none.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import stat
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval import fingerprint, paths
from anymal_eval.checksums import read_checked_json, write_checked_json
from anymal_eval.errors import AnyMALEvalError
from anymal_eval.locks import replace_file

if TYPE_CHECKING:
    from anymal_eval.checkpoints.transformers_model import LoadedModel
    from anymal_eval.models._chat_media import MediaLimits

PACKAGES = ("torch", "transformers", "torchvision", "tokenizers", "safetensors", "bitsandbytes", "accelerate", "numpy")
# What the network and its processor are; their weights only where rounding depends on them.
CONTENT = ("config", "processor", "tokenizer", "image_backend", "settings", "device_map", "new_weights")
MOST_BYTES = 1 << 16


class SelfTestMemory:
    """The memory of one loaded model's self-test.

    Attributes:
        facts: all that the outcome depends on; None where it cannot be stated, such as with a checkpoint's own code.
    """

    def __init__(self, facts: Mapping[str, Any] | None) -> None:
        self.facts = facts

    @property
    def file(self) -> Path | None:
        """Where a passed test is remembered."""
        if self.facts is None:
            return None
        try:
            return paths.cache() / "self-tests" / f"{fingerprint.of(self.facts)}.json"
        except AnyMALEvalError:  # this user has no home folder
            return None

    def is_passed(self) -> bool:
        """Whether the test was passed before."""
        file = self.file
        if file is None:
            return False
        try:
            found = file.lstat()
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_size > MOST_BYTES:
                return False
            content, matches = read_checked_json(file)
        except (OSError, AnyMALEvalError):
            return False
        return bool(matches) and isinstance(content, dict) and content.get("passed") == _plain(self.facts)

    def remember(self) -> None:
        """Remember that it was passed; a cache that cannot be written remembers nothing."""
        file = self.file
        if file is None:
            return
        with contextlib.suppress(OSError, AnyMALEvalError):
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(file, write_checked_json({"schema": 1, "passed": _plain(self.facts)}).encode())


def of_chat(loaded: LoadedModel, limits: MediaLimits) -> SelfTestMemory:
    """The memory for a chat model.

    In fp32 the outcome is the class's, whatever its weights; in lower precision rounding decides, so that other weights
    are tested anew.
    """
    kind = type(loaded.model)
    if not kind.__module__.startswith("transformers."):
        return SelfTestMemory(None)
    options = dict(loaded.provenance.get("options") or {})  # type: ignore[call-overload]
    facts = {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "processor_class": type(loaded.processor).__qualname__,
        "attention": str(getattr(loaded.model.config, "_attn_implementation", "")),
        "content": {name: loaded.provenance.get(name) for name in CONTENT},
        "weights": None if loaded.exact else loaded.provenance.get("weights"),
        "precision": loaded.provenance.get("precision"),
        "quantize": options.get("quantize"),
        "media": sorted(limits.kinds),
        "device": _device(loaded.device),
        "versions": {name: _version(name) for name in PACKAGES},
        "code": _own_code(),
    }
    return SelfTestMemory(facts)


def _plain(facts: object) -> Any:
    """As it is read from a file."""
    return json.loads(json.dumps(facts))


def _device(name: str) -> str:
    import torch

    if name.startswith("cuda"):
        return f"{torch.cuda.get_device_name()} {torch.version.cuda}"
    return f"{name} {platform.machine()} {torch.backends.cpu.get_cpu_capability()} {torch.get_num_threads()} threads"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


@cache
def _own_code() -> str:
    """A hash of the code that shares prefixes and tests it."""
    folders = (Path(__file__).parent, Path(__file__).parents[1] / "generation")
    files = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    return fingerprint.of([f"{file.name} {fingerprint.sha256(file)}" for file in files])
