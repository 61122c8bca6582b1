"""The command line of ``vllm serve`` for our options, and the identity of what it serves."""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval import fingerprint
from anymal_eval.checkpoints import weights
from anymal_eval.checkpoints.locating import locate
from anymal_eval.errors import NeedsExtra, WrongUse
from anymal_eval.models.openai.dialects import ALL_FRAMES
from anymal_eval.paths import expanded

if TYPE_CHECKING:
    from anymal_eval.models.vllm.options import Options
    from anymal_eval.records import MediaKind

MODULE = "vllm.entrypoints.openai.api_server"
LLM = "llm"  # the name on its server of a language model that is a part of a network
DTYPES = {"auto": "auto", "fp32": "float32", "bf16": "bfloat16"}
QUANTIZATIONS = {"nf4": "bitsandbytes", "fp8": "fp8"}
# Arguments that the run depends on, or that would publish the server or its key.
OURS = ("--host", "--port", "--api-key", "--model", "--served-model-name", "--root-path", "--uds")
# Small files beside the weights: configuration, processor, tokenizer, chat template.
SMALL = (".json", ".jinja", ".model", ".txt")
# A server says nothing to its makers, and looks for nothing on the network.
ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A server to be started.

    Attributes:
        command: without address and key.
        environment: further variables of the server.
        name: of the model on it.
        content: what is served, for the manifest; ``how`` it is, as far as that changes answers.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    name: str
    content: Mapping[str, Any]
    how: Mapping[str, Any]


def launch_of(options: Options, kinds: frozenset[MediaKind]) -> Launch:
    """The command for the options.

    Raises:
        NeedsExtra: there is no vLLM.
        WrongUse: ``vllm_args`` is no list of arguments, or takes what is ours to set.
        BadCheckpoint: the checkpoint cannot be found.
    """
    more = _more(options.vllm_args)
    program = _program(options.python)
    folder = locate(options.checkpoint, options.revision)
    name = expanded(options.checkpoint).name or options.checkpoint
    # Prefixes are shared by our order of requests; the log holds no line for each of them.
    arguments = ["--served-model-name", name, "--dtype", DTYPES[options.precision], "--enable-prefix-caching",
                 "--disable-uvicorn-access-log"]  # fmt: skip
    if options.quantize != "none":
        arguments += ["--quantization", QUANTIZATIONS[options.quantize]]
    if options.context:
        arguments += ["--max-model-len", str(options.context)]
    if options.gpus > 1:
        arguments += ["--tensor-parallel-size", str(options.gpus)]
    if options.gpu_memory:
        arguments += ["--gpu-memory-utilization", f"{options.gpu_memory:g}"]
    if options.trust_remote_code:
        arguments.append("--trust-remote-code")
    if options.video == "native" and "video" in kinds:
        arguments += ["--media-io-kwargs", json.dumps(ALL_FRAMES)]
    limits = _limits(options, kinds)
    if limits:
        arguments += ["--limit-mm-per-prompt", json.dumps(limits)]
    return Launch(
        command=(*program, *(["--model"] if MODULE in program else []), str(folder), *arguments, *more),
        environment=ENVIRONMENT,
        name=name,
        content={
            "checkpoint": options.checkpoint,
            "weights": weights.fingerprint(folder),
            "revision": None if expanded(options.checkpoint).is_dir() else folder.name,
            "files": _small_files(folder),
        },
        how={"precision": options.precision, "quantize": options.quantize, "vllm_args": more},
    )


def launch_of_llm(folder: Path, context: int, *, precision: str, python: str, vllm_args: str) -> Launch:
    """The command for a language model that gets embedded prompts.

    Args:
        folder: its checkpoint.
        context: the most tokens of a prompt and its answer.
        precision, python, vllm_args: as in the options.

    Raises:
        NeedsExtra, WrongUse: as for :func:`launch_of`.
    """
    more = _more(vllm_args)
    program = _program(python)
    arguments = ["--served-model-name", LLM, "--dtype", DTYPES[precision], "--enable-prompt-embeds",
                 "--enable-prefix-caching", "--disable-uvicorn-access-log"]  # fmt: skip
    arguments += ["--max-model-len", str(context)]
    return Launch(
        command=(*program, *(["--model"] if MODULE in program else []), str(folder), *arguments, *more),
        environment=ENVIRONMENT,
        name=LLM,
        content={},
        how={"vllm_args": more},
    )


def _more(given: str) -> list[str]:
    try:
        more = shlex.split(given)
    except ValueError as error:
        raise WrongUse(f"model vllm: option vllm_args is no list of arguments: {error}") from None
    for each in more:
        name = each.partition("=")[0].replace("_", "-")
        if name in OURS:
            raise WrongUse(f"model vllm: option vllm_args must not hold {name}, which every run sets itself")
    return more


def _program(python: str) -> list[str]:
    """``vllm serve``, or its module with a given Python."""
    if python:
        found = shutil.which(str(expanded(python)))
        if found is None:
            raise WrongUse(f"model vllm: option python names no program: {python}")
        return [found, "-m", MODULE]
    program = shutil.which("vllm")
    if program is not None:
        return [program, "serve"]
    if importlib.util.find_spec("vllm") is not None:
        return [sys.executable, "-m", MODULE]
    raise NeedsExtra("model vllm: there is no vllm on the PATH; install it, or give -o python=PATH of its environment")


def _limits(options: Options, kinds: frozenset[MediaKind]) -> dict[str, int]:
    """The most media of a prompt: those given, and none of what the model does not take."""
    given = {"image": options.most_images, "audio": options.most_audios, "video": options.most_videos}
    limits = {kind: most for kind, most in given.items() if most}
    taken = {"audio"} & kinds | ({"image"} if kinds & {"image", "video"} else set())
    if "video" in kinds and options.video == "native":
        taken |= {"video"}
    return {**{kind: 0 for kind in given if kind not in taken}, **limits}


def _small_files(folder: Path) -> str:
    files = sorted(file for file in folder.iterdir() if file.suffix in SMALL and file.is_file())
    return fingerprint.of([f"{file.name} {fingerprint.of_file(file)}" for file in files])
