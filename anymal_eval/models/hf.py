"""Any model of transformers that takes pictures and has a chat template: LLaVA, Qwen-VL, InternVL, Gemma 3 ...

Omni models (Qwen2.5-Omni, Qwen3-Omni, Gemma 3n, Phi-4-multimodal) take pictures, clips and sounds in one run.
"""

from __future__ import annotations

from dataclasses import dataclass

from anymal_eval.checkpoints.transformers_folder import read_config
from anymal_eval.models._chat_loading import load_chat
from anymal_eval.models._chat_media import MediaLimits
from anymal_eval.models._chat_options import PictureOptions
from anymal_eval.models._protocols import Model
from anymal_eval.models._wrapper_for import require, takes_sounds
from anymal_eval.records import MediaKind

NAME = "hf"
IMAGES: frozenset[MediaKind] = frozenset({"image"})
CLIPS: frozenset[MediaKind] = frozenset({"image", "video"})
SOUNDS: frozenset[MediaKind] = frozenset({"audio"})
# Families whose prompt has a place for one image only.
SINGLE = frozenset({"blip", "florence2", "git", "got_ocr2", "kosmos-2", "kosmos-2.5"})


@dataclass(frozen=True, kw_only=True)
class Options(PictureOptions):
    """What ``-o name=value`` may set; ``checkpoint`` comes from ``--model hf:PATH`` or ``hf:OWNER/NAME``."""


def accepts(options: Options) -> frozenset[MediaKind]:
    """Images, clips where it takes several, sounds where it has an audio part; reads ``config.json`` alone."""
    return _limits(options).kinds


def weights_at(options: Options) -> list[str]:
    """The checkpoint."""
    return [options.named]


def load(options: Options) -> Model:
    """Load the network.

    Raises:
        BadCheckpoint: it is incomplete, of an architecture that another wrapper takes, or without a chat template.
        NeedsExtra: its processor needs torchvision.
    """
    limits = _limits(options)
    omni = "audio" in limits.kinds
    return load_chat("AutoModelForMultimodalLM" if omni else "AutoModelForImageTextToText", options, NAME, limits)


def _limits(options: Options) -> MediaLimits:
    config = read_config(options)
    require(config, NAME, options.checkpoint)
    most = options.max_images or (1 if config.get("model_type") in SINGLE else None)
    pictures = IMAGES if most == 1 and options.video != "native" else CLIPS
    return MediaLimits(kinds=pictures | (SOUNDS if takes_sounds(config) else frozenset()), most=most)
