"""What may be said of how an AnyMAL network is loaded, and what that means to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anymal_eval import paths
from anymal_eval.checkpoints.device_map import read_device_map
from anymal_eval.errors import BadCheckpoint

if TYPE_CHECKING:
    from anymal_eval.anymal.llm import Loading


DEMO = "demo"  # a folder of that name is ./demo


@dataclass(frozen=True, kw_only=True)
class Options:
    """What ``-o name=value`` may set.

    Attributes:
        checkpoint: the folder (``--model anymal:PATH``), or ``demo`` for the one that is shipped.
        device: auto takes a GPU where there is one.
        precision: of the frozen parts; projectors are always fp32.
        quantize: of the language model, by bitsandbytes.
        device_map: over which devices the language model is spread: auto, balanced, balanced_low_0, sequential or a
            JSON object. Encoders and projectors stand where it begins.
        media_timeout: seconds after which a decoder is given up.
        features: a folder for the encoders' outputs, so that they are made once for all checkpoints; empty for none.
        share: whether questions that begin alike are begun once; no answer depends on it.
    """

    checkpoint: str
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    quantize: Literal["none", "int8", "nf4"] = "none"
    device_map: str = ""
    media_timeout: float = 60.0
    features: str = ""
    share: bool = True


def loading_of(options: Options) -> Loading:
    """Precision, quantisation and device, as the network takes them.

    Raises:
        WrongUse: a ``device_map`` that cannot be.
    """
    import torch

    from anymal_eval.anymal.llm import Loading

    spread = read_device_map(options.device_map, options.device)
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = torch.float32 if options.precision == "fp32" else torch.bfloat16
    return Loading(precision=precision, quantise=options.quantize, device=device, device_map=spread)


def folder_of(options: Options) -> Path:
    """Where the checkpoint lies.

    Raises:
        BadCheckpoint: there is no such folder.
    """
    folder = paths.demo_model() if options.checkpoint == DEMO else Path(options.checkpoint)
    if not folder.is_dir():
        raise BadCheckpoint(f"--model anymal:{options.checkpoint}: there is no such folder")
    return folder
