"""Any image-text model of transformers with a chat template: LLaVA, LLaVA-NeXT, Idefics, PaliGemma, Gemma 3 ..."""

from __future__ import annotations

from dataclasses import dataclass

from anymal_eval.checkpoints.transformers_folder import read_config
from anymal_eval.models._chat_loading import load_chat
from anymal_eval.models._chat_media import MediaLimits
from anymal_eval.models._chat_options import PictureOptions
from anymal_eval.models._protocols import Model
from anymal_eval.models._wrapper_for import require
from anymal_eval.records import MediaKind

NAME = "hf"
IMAGES: frozenset[MediaKind] = frozenset({"image"})
CLIPS: frozenset[MediaKind] = frozenset({"image", "video"})
# Families whose prompt has a place for one image only.
SINGLE = frozenset({"blip", "florence2", "git", "got_ocr2", "kosmos-2", "kosmos-2.5"})


@dataclass(frozen=True, kw_only=True)
class Options(PictureOptions):
    """What ``-o name=value`` may set; ``checkpoint`` comes from ``--model hf:PATH`` or ``hf:OWNER/NAME``."""


def accepts(options: Options) -> frozenset[MediaKind]:
    """Images, and clips as frames where it takes several images; reads ``config.json`` alone."""
    return _limits(options).kinds


def load(options: Options) -> Model:
    """Load the network.

    Raises:
        BadCheckpoint: it is incomplete, of an architecture that another wrapper takes, or without a chat template.
        NeedsExtra: its processor needs torchvision.
    """
    return load_chat("AutoModelForImageTextToText", options, NAME, _limits(options))


def _limits(options: Options) -> MediaLimits:
    config = read_config(options)
    require(config, NAME, options.checkpoint)
    most = options.max_images or (1 if config.get("model_type") in SINGLE else None)
    return MediaLimits(kinds=IMAGES if most == 1 else CLIPS, most=most)
