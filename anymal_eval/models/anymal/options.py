"""The options of loading an AnyMAL network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anymal_eval.checkpoints.transformers_folder import LoadingOptions

DEMO = "demo"  # a folder of that name is ./demo


@dataclass(frozen=True, kw_only=True)
class Options(LoadingOptions):
    """What ``-o name=value`` may set; ``checkpoint`` is a folder, OWNER/NAME of the hub, or ``demo``, the demo model.

    ``precision`` is that of the frozen parts: projectors are always fp32. ``device_map`` is the language model's:
    encoders and projectors are on its first device.

    Attributes:
        revision: of a hub repository: a branch, tag or commit.
        backbones: a folder that holds frozen parts, by the last part of their paths, or as ``llm`` or a medium.
        llm, image, audio, video, imu: where this frozen part lies: a path, or a repository of the hub.
        features: a folder for the encoders' outputs, computed once for all checkpoints; empty for none.
        share: prefix caching: requests that share a system prompt and media prefill that prefix once and reuse its KV
            cache. No answer depends on it.
        compile: the steps of decoding as one compiled function, where a self-test shows that it works.
        llm_engine: vllm decodes on a vLLM server of its own, which gets embedded prompts; encoders, projectors and the
            embeddings stay here.
        python: of the environment that has vLLM; by default the ``vllm`` on the PATH.
        vllm_args: more arguments of ``vllm serve``, as in a shell.
        concurrency: requests to it in flight at once.
        start_timeout: seconds until it must be ready.
    """

    revision: str = ""
    backbones: str = ""
    llm: str = ""
    image: str = ""
    audio: str = ""
    video: str = ""
    imu: str = ""
    features: str = ""
    share: bool = True
    compile: bool = False
    llm_engine: Literal["transformers", "vllm"] = "transformers"
    python: str = ""
    vllm_args: str = ""
    concurrency: int = 64
    start_timeout: float = 1800.0

    @property
    def frozen_parts(self) -> dict[str, str]:
        """Where frozen parts lie now, as :func:`anymal_eval.anymal.backbones.placed` takes it."""
        names = ("backbones", "llm", "image", "audio", "video", "imu")
        return {name: value for name in names if (value := getattr(self, name))}


def folder_of(options: Options) -> Path:
    """The checkpoint's folder, downloaded where it is the hub's.

    Raises:
        BadCheckpoint: there is none; the message says what to give instead.
    """
    from anymal_eval.anymal.checkpoint_facts import located

    name = "anymal:demo" if options.checkpoint == DEMO else options.checkpoint
    return located(name, options.revision)
