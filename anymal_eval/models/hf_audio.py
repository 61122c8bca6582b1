"""Any audio-text model of transformers with a chat template: Qwen2-Audio and its kind.

A sound is brought to the feature extractor's rate; what it does with sounds longer than it takes (Whisper's: cut them
at 30 s) is done here too.
"""

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

NAME = "hf_audio"
SOUNDS: frozenset[MediaKind] = frozenset({"audio"})


@dataclass(frozen=True, kw_only=True)
class Options(OpenOptions):
    """What ``-o name=value`` may set; ``checkpoint`` comes from ``--model hf_audio:PATH`` or ``:OWNER/NAME``."""


def accepts(options: Options) -> frozenset[MediaKind]:
    """Sounds; reads ``config.json`` alone."""
    require(read_config(options), NAME, options.checkpoint)
    return SOUNDS


def load(options: Options) -> Model:
    """Load the network.

    Raises:
        BadCheckpoint: it is not whole, or of an architecture that another wrapper takes.
    """
    accepts(options)
    checkpoint = fetch(options)
    require_processor(checkpoint)
    import transformers

    from anymal_eval.checkpoints.transformers_model import load_model, load_processor
    from anymal_eval.models._media import media_reader

    cls: Any = transformers.AutoModelForMultimodalLM
    processor = load_processor(checkpoint, options)
    require_template(processor, options.checkpoint)
    loaded = load_model(cls, checkpoint, options, NAME, processor)
    chat = Chat(loaded, media_reader(options.media_timeout), MediaLimits(kinds=SOUNDS))
    return try_sharing(chat, options.share, exact=options.exact)
