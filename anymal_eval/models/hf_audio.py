"""Any audio-text model of transformers with a chat template: Qwen2-Audio and its kind.

A sound is resampled to the feature extractor's rate. Longer sounds than it takes are treated as it treats them
(Whisper's cuts them at 30 s).
"""

from __future__ import annotations

from dataclasses import dataclass

from anymal_eval.checkpoints.transformers_folder import OpenOptions, read_config
from anymal_eval.models._chat_loading import load_chat
from anymal_eval.models._chat_media import MediaLimits
from anymal_eval.models._protocols import Model
from anymal_eval.models._wrapper_for import require
from anymal_eval.records import MediaKind

NAME = "hf_audio"
AUDIO: frozenset[MediaKind] = frozenset({"audio"})


@dataclass(frozen=True, kw_only=True)
class Options(OpenOptions):
    """What ``-o name=value`` may set; ``checkpoint`` comes from ``--model hf_audio:PATH`` or ``:OWNER/NAME``."""


def accepts(options: Options) -> frozenset[MediaKind]:
    """Sounds; reads ``config.json`` alone."""
    require(read_config(options), NAME, options.checkpoint)
    return AUDIO


def weights_at(options: Options) -> list[str]:
    """The checkpoint."""
    return [options.named]


def load(options: Options) -> Model:
    """Load the network.

    Raises:
        BadCheckpoint: it is incomplete, of an architecture that another wrapper takes, or without a chat template.
    """
    accepts(options)
    return load_chat("AutoModelForMultimodalLM", options, NAME, MediaLimits(kinds=AUDIO))
