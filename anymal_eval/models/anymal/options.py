"""The options of loading an AnyMAL network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from anymal_eval import paths
from anymal_eval.checkpoints.transformers_folder import LoadingOptions
from anymal_eval.errors import BadCheckpoint

DEMO = "demo"  # a folder of that name is ./demo


@dataclass(frozen=True, kw_only=True)
class Options(LoadingOptions):
    """What ``-o name=value`` may set; ``checkpoint`` is a folder, or ``demo`` for the demo model.

    ``precision`` is that of the frozen parts: projectors are always fp32. ``device_map`` is the language model's:
    encoders and projectors are on its first device.

    Attributes:
        features: a folder for the encoders' outputs, computed once for all checkpoints; empty for none.
        share: prefix caching: requests that share a system prompt and media prefill that prefix once and reuse its KV
            cache. No answer depends on it.
    """

    features: str = ""
    share: bool = True


def folder_of(options: Options) -> Path:
    """The checkpoint's folder.

    Raises:
        BadCheckpoint: there is no such folder.
    """
    folder = paths.demo_model() if options.checkpoint == DEMO else paths.expanded(options.checkpoint)
    if not folder.is_dir():
        raise BadCheckpoint(f"--model anymal:{options.checkpoint}: there is no such folder")
    return folder
