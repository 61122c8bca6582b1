"""Any image-text model of transformers with a chat template: LLaVA, LLaVA-NeXT, Idefics, PaliGemma, Gemma 3 ..."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from anymal_eval.checkpoints.transformers_folder import OpenOptions, fetch, read_config, require_processor
from anymal_eval.models._chat import Chat, MediaLimits
from anymal_eval.models._conversation import require_template
from anymal_eval.models._prefix_self_test import try_sharing
from anymal_eval.models._protocols import Model
from anymal_eval.models._wrapper_for import require
from anymal_eval.records import MediaKind

NAME = "hf"
PICTURES: frozenset[MediaKind] = frozenset({"image"})
CLIPS: frozenset[MediaKind] = frozenset({"image", "video"})
# Families whose prompt has a place for one picture only.
SINGLE = frozenset({"blip", "florence2", "git", "got_ocr2", "kosmos-2", "kosmos-2.5"})


@dataclass(frozen=True, kw_only=True)
class Options(OpenOptions):
    """What ``-o name=value`` may set; ``checkpoint`` comes from ``--model hf:PATH`` or ``hf:OWNER/NAME``.

    Attributes:
        max_images: how many pictures or frames the model takes; 0 is as many as fit, one for families that know one.
    """

    max_images: int = 0


def accepts(options: Options) -> frozenset[MediaKind]:
    """Pictures, and clips as frames where it takes several; reads ``config.json`` alone."""
    return _limits(options).kinds


def load(options: Options) -> Model:
    """Load the network.

    Raises:
        BadCheckpoint: it is not whole, of an architecture that another wrapper takes, or without a chat template.
        NeedsExtra: its processor needs torchvision.
    """
    limits = _limits(options)
    checkpoint = fetch(options)
    require_processor(checkpoint)
    import transformers

    from anymal_eval.checkpoints.transformers_model import load_model, load_processor
    from anymal_eval.models._media import media_reader

    cls: Any = transformers.AutoModelForImageTextToText
    processor = load_processor(checkpoint, options)
    require_template(processor, options.checkpoint)
    loaded = load_model(cls, checkpoint, options, NAME, processor)
    chat = Chat(loaded, media_reader(options.media_timeout), limits)
    return try_sharing(chat, options.share, exact=options.exact)


def _limits(options: Options) -> MediaLimits:
    config = read_config(options)
    require(config, NAME, options.checkpoint)
    most = options.max_images or (1 if config.get("model_type") in SINGLE else None)
    return MediaLimits(kinds=PICTURES if most == 1 else CLIPS, most=most)
