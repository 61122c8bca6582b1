"""A checkpoint on a vLLM server that starts and ends with the run: ``--model vllm:PATH`` or ``vllm:OWNER/NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from anymal_eval.checkpoints.locating import locate_config
from anymal_eval.checkpoints.transformers_folder import read_config_file
from anymal_eval.errors import WrongUse
from anymal_eval.models._protocols import Model
from anymal_eval.models.openai import media_kinds, require_numbers
from anymal_eval.models.vllm.options import Options
from anymal_eval.records import MediaKind

if TYPE_CHECKING:
    from anymal_eval.models.vllm.process import Report

__all__ = ["Options", "accepts", "load", "load_reporting"]

NAME = "vllm"


def accepts(options: Options) -> frozenset[MediaKind]:
    """The media of ``-o media=``; without it those that ``config.json`` has parts for, clips with images.

    Raises:
        BadCheckpoint: it has no ``config.json``.
        WrongUse: the option names a medium that no chat server takes.
    """
    if options.media:
        return media_kinds(NAME, options.media)
    config = read_config_file(locate_config(options.checkpoint, options.revision))
    inner = config.get("thinker_config")
    parts: Mapping[str, Any] = {**config, **(inner if isinstance(inner, dict) else {})}
    kinds: set[MediaKind] = set()
    if "vision_config" in parts:
        kinds |= {"image", "video"}
    if "audio_config" in parts:
        kinds.add("audio")
    return frozenset(kinds)


def load(options: Options) -> Model:
    """Start the server and wait until it is ready.

    Raises:
        NeedsExtra: there is no vLLM.
        WrongUse: the server ended, or did not come up in time.
    """
    return load_reporting(options, lambda line: None)


def load_reporting(options: Options, report: Report) -> Model:
    """The same, with lines about a start that takes minutes."""
    from anymal_eval.models.vllm.command import launch_of
    from anymal_eval.models.vllm.model import VllmModel

    require_numbers(NAME, options)
    if options.quantize == "int8":
        raise WrongUse("model vllm: it quantizes to fp8 or nf4 while it loads; int8 needs a checkpoint made so")
    kinds = accepts(options)
    return VllmModel(options, kinds, launch_of(options, kinds), report)
