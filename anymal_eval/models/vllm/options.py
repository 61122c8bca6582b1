"""The options of ``--model vllm:CHECKPOINT``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anymal_eval.models.openai.options import ClientOptions


@dataclass(frozen=True, kw_only=True)
class Options(ClientOptions):
    """What ``-o name=value`` may set, beside how requests are sent.

    Attributes:
        checkpoint: a folder, or a repository of the hub.
        timeout: seconds of one try; a long answer is no failure.
        revision: of a hub repository: a branch, tag or commit.
        python: of the environment that has vLLM; by default the ``vllm`` on the PATH, or this one's.
        precision: of the weights; auto is vLLM's choice for the checkpoint.
        quantize: of the weights, while they are loaded: int8 is not among vLLM's, nf4 is bitsandbytes' 4 bits.
        context: the most tokens of a prompt and its answer; 0 takes what the checkpoint states.
        gpus: over which the model is split.
        gpu_memory: the share of each GPU's memory; 0 is vLLM's default.
        media: the media that the model takes, with commas; by default what its configuration has parts for.
        most_images, most_audios, most_videos: of one prompt; 0 is vLLM's default. A clip as frames counts as images.
        trust_remote_code: run the Python that comes with the checkpoint.
        vllm_args: more arguments of ``vllm serve``, as in a shell.
        start_timeout: seconds until the server must be ready.
    """

    timeout: float = 600.0
    revision: str = ""
    python: str = ""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    quantize: Literal["none", "int8", "nf4", "fp8"] = "none"
    context: int = 0
    gpus: int = 1
    gpu_memory: float = 0.0
    media: str = ""
    most_images: int = 0
    most_audios: int = 0
    most_videos: int = 0
    trust_remote_code: bool = False
    vllm_args: str = ""
    start_timeout: float = 1800.0
