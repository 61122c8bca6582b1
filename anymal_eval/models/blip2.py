"""BLIP-2 with OPT or FlanT5 (arXiv:2301.12597), through the transformers classes with a protocol's settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from anymal_eval.checkpoints.transformers_folder import CheckpointOptions, read_config
from anymal_eval.models._blip import TAKES, BlipModel, PreparedBlip, load_blip, no_image_tokens
from anymal_eval.models._prepared import media_reader
from anymal_eval.models._protocols import PLAIN_WORDING, Model
from anymal_eval.models._wrapper_for import require
from anymal_eval.protocols import Phrase, Wording
from anymal_eval.records import Decoding, MediaKind

if TYPE_CHECKING:
    from torch import Tensor

NAME = "blip2"
FRAMES = 4  # as SeViLA (arXiv:2305.06988); the paper has no clips
SHORT = Decoding(max_new_tokens=10, min_new_tokens=1, beams=5, length_penalty=-1.0)


def _wording(answer: str) -> Wording:
    return {
        "caption": Phrase(
            user="{question}",
            default_question="a photo of",
            frames=FRAMES,
            decoding=Decoding(max_new_tokens=30, min_new_tokens=8, beams=5),
        ),
        "short_answer": Phrase(
            user="{instruction}\nQuestion: {question} " + answer, question="blip", frames=FRAMES, decoding=SHORT
        ),
        "choice": replace(
            PLAIN_WORDING["choice"],
            user="Context: {hint}\n{instruction}\nQuestion: {question} Options: {options}. " + answer,
            options="inline",
            frames=FRAMES,
        ),
        "yes_no": replace(
            PLAIN_WORDING["yes_no"], frames=FRAMES, user="It says: {ocr}\n{instruction}\nQuestion: {question} " + answer
        ),
    }


# The paper's prompts for the two kinds of language model (arXiv:2301.12597, section 4.1).
OPT_WORDING = _wording("Answer:")
T5_WORDING = _wording("Short answer:")


@dataclass(frozen=True, kw_only=True)
class Options(CheckpointOptions):
    """What ``-o name=value`` may set; ``checkpoint`` is ``--model blip2:PATH`` or ``blip2:OWNER/NAME``."""


def accepts(options: Options) -> frozenset[MediaKind]:
    """Images, and clips as frames; reads ``config.json`` alone and refuses other architectures."""
    require(read_config(options), NAME, options.checkpoint)
    return TAKES


def weights_at(options: Options) -> list[str]:
    """The checkpoint."""
    return [options.named]


def load(options: Options) -> Model:
    """Load the network.

    Raises:
        BadCheckpoint: it is incomplete, or of another architecture.
    """
    accepts(options)
    loaded = load_blip("Blip2ForConditionalGeneration", options, NAME)
    encoder_decoder = loaded.model.language_model.config.is_encoder_decoder
    return _Blip2(loaded, media_reader(options), T5_WORDING if encoder_decoder else OPT_WORDING)


class _Blip2(BlipModel):
    """Its Q-Former does not read the question: an image's tokens serve all questions about it."""

    def encode_image(self, pixels: Tensor) -> Tensor:
        """(1, 3, height, width) -> (q, d)."""
        tokens: Tensor = self.network.get_image_features(pixels, return_dict=True).pooler_output[0]
        return tokens

    def image_tokens(self, items: Sequence[PreparedBlip], features: dict[str, Tensor]) -> list[Tensor]:
        """(k * q, d) of each row."""
        import torch

        return [
            torch.cat([features[key] for key, _ in item.images]) if item.images else no_image_tokens(self.network)
            for item in items
        ]
