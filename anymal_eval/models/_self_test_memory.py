"""Remembers that a self-test was passed, so that the next run with the same class, libraries and device skips it.

Each kind of request has a test. Only a passed one is remembered (``recall.py``, in ``self-tests/`` of the cache
folder): one that failed runs again.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval import recall

if TYPE_CHECKING:
    from anymal_eval.checkpoints.transformers_model import LoadedModel
    from anymal_eval.models._chat_media import MediaLimits

PACKAGES = ("torch", "transformers", "torchvision", "tokenizers", "safetensors", "bitsandbytes", "accelerate", "numpy")
# What the network and its processor are; their weights only where rounding depends on them.
CONTENT = ("config", "processor", "tokenizer", "image_backend", "settings", "device_map", "new_weights")
FOLDER = "self-tests"


class SelfTestMemory:
    """The memory of one loaded model's self-test.

    Attributes:
        facts: all that the outcome depends on; None where it cannot be stated, such as with a checkpoint's own code.
    """

    def __init__(self, facts: Mapping[str, Any] | None) -> None:
        self.facts = facts

    def is_passed(self, kind: str) -> bool:
        """Whether the test of a kind of requests was passed before."""
        return self.facts is not None and recall.recalled(FOLDER, {**self.facts, "requests": kind}) == "passed"

    def remember(self, kind: str) -> None:
        """Remember that it was passed; a cache that cannot be written remembers nothing."""
        if self.facts is not None:
            recall.remember(FOLDER, {**self.facts, "requests": kind}, "passed")


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
        "code": recall.code_of(Path(__file__).parent, Path(__file__).parents[1] / "generation"),
    }
    return SelfTestMemory(facts)


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
