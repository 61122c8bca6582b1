"""InstructBLIP with Vicuna or FlanT5 (arXiv:2305.06500), through its transformers class with a protocol's settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from anymal_eval.checkpoints.transformers_folder import CheckpointOptions, read_config
from anymal_eval.errors import ContextTooLong
from anymal_eval.generation import LiteralText, PromptTokenizer
from anymal_eval.models._blip import TAKES, BlipModel, PreparedBlip, load_blip, no_image_tokens
from anymal_eval.models._prepared import media_reader, require_vocabulary
from anymal_eval.models._protocols import PLAIN_WORDING, Model
from anymal_eval.models._wrapper_for import require
from anymal_eval.protocols import Phrase, Wording
from anymal_eval.records import Decoding, MediaKind

if TYPE_CHECKING:
    from torch import Tensor

    from anymal_eval.checkpoints.transformers_model import LoadedModel
    from anymal_eval.media.reader import MediaReader

NAME = "instructblip"
FRAMES = 4  # uniformly sampled, the paper, section 2.5
PAIRS = 64  # of image and question, in a batch of the Q-Former

# After the released configurations (LAVIS lavis/projects/instructblip).
WORDING: Wording = {
    "caption": Phrase(
        user="{question}",
        default_question="A short image caption.",
        frames=FRAMES,
        decoding=Decoding(max_new_tokens=80, min_new_tokens=10, beams=5),
    ),
    "short_answer": Phrase(
        user="{instruction}\nQuestion: {question} Short Answer:",
        question="blip-caption",
        frames=FRAMES,
        decoding=Decoding(max_new_tokens=10, min_new_tokens=1, beams=5, length_penalty=-1.0),
    ),
    "choice": Phrase(
        user="context: {hint}.\n{instruction}\nQuestion: {question} Options: {options}. Short Answer:",
        options="lower",
        candidates="options",
        frames=FRAMES,
    ),
    "yes_no": replace(
        PLAIN_WORDING["yes_no"],
        user='This is an image with: "{ocr}" written on it.\n{instruction}\n{question} Answer:',
        candidates="yes_no_true_false",
        length_normalise=False,
        frames=FRAMES,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Options(CheckpointOptions):
    """What ``-o name=value`` may set; ``checkpoint`` comes from ``--model instructblip:PATH`` or ``:OWNER/NAME``.

    Attributes:
        repetition_penalty: LAVIS generates with 1.5, a default of its ``generate`` that no configuration names.
            Protocols do not set it, so it is off by default; another value is part of the signature.
    """

    repetition_penalty: float = 1.0


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
    loaded = load_blip("InstructBlipForConditionalGeneration", options, NAME, ("qformer_tokenizer",))
    model = _InstructBlip(loaded, media_reader(options), WORDING)
    if options.repetition_penalty != 1.0:
        setting = f"repetition_penalty={options.repetition_penalty:g}"
        model.generator.repetition_penalty = options.repetition_penalty
        model.remark = ", ".join(filter(None, (model.remark, setting)))
        model.fingerprint += f":{setting}"
    return model


class _InstructBlip(BlipModel):
    """Its Q-Former reads the question with the image: the vision tower's output alone is shared between questions."""

    def __init__(self, loaded: LoadedModel, reader: MediaReader, wording: Wording) -> None:
        super().__init__(loaded, reader, wording)
        self._qformer_literal = LiteralText(self.processor.qformer_tokenizer)
        self._qformer_tokenizer = PromptTokenizer(self.processor.qformer_tokenizer, self._qformer_literal)

    def qformer_ids(self, text: str) -> tuple[int, ...]:
        """The prompt's ids in the Q-Former's vocabulary.

        Raises:
            ContextTooLong: the Q-Former has fewer positions.
        """
        guarded = self._qformer_literal.guard(text)
        with self.lock:
            ids: list[int] = self._qformer_tokenizer(guarded)["input_ids"]
        longest = self.network.config.qformer_config.max_position_embeddings
        if len(ids) > longest:
            raise ContextTooLong(f"the Q-Former reads at most {longest} tokens of text, the prompt has {len(ids)}")
        require_vocabulary(ids, self.network.config.qformer_config.vocab_size)
        return tuple(ids)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """(1, 3, height, width) -> (patches, width of the vision tower)."""
        features: Tensor = self.network.vision_model(pixel_values=pixels, return_dict=True).last_hidden_state[0]
        return features

    def image_tokens(self, items: Sequence[PreparedBlip], features: dict[str, Tensor]) -> list[Tensor]:
        """(k * q, d) of each row: its frames one after the other, each read with the question."""
        import torch

        pairs = [(features[key], item.qformer_ids) for item in items for key, _ in item.images]
        found: list[Tensor] = []
        for start in range(0, len(pairs), PAIRS):
            found.extend(self._query(pairs[start : start + PAIRS]))
        rest = iter(found)
        return [
            torch.cat([next(rest) for _ in item.images]) if item.images else no_image_tokens(self.network)
            for item in items
        ]

    def _query(self, pairs: Sequence[tuple[Tensor, tuple[int, ...]]]) -> Tensor:
        """(pairs, q, d): the Q-Former's output for each image and its question."""
        import torch

        images = torch.stack([features for features, _ in pairs])
        queries = self.network.query_tokens.expand(len(pairs), -1, -1)
        width = max(len(ids) for _, ids in pairs)
        ids = torch.zeros((len(pairs), width), dtype=torch.long, device=images.device)
        mask = torch.zeros_like(ids)
        for row, (_, own) in enumerate(pairs):
            ids[row, : len(own)] = torch.tensor(own, device=images.device)
            mask[row, : len(own)] = 1
        out = self.network.qformer(
            input_ids=ids,
            attention_mask=torch.cat([mask.new_ones(queries.shape[:2]), mask], dim=1),
            query_embeds=queries,
            encoder_hidden_states=images,
            encoder_attention_mask=torch.ones(images.shape[:2], dtype=torch.long, device=images.device),
            return_dict=True,
        )
        taken = out.last_hidden_state[:, : queries.shape[1]]
        tokens: Tensor = self.network.language_projection(taken.to(self.network.language_projection.weight.dtype))
        return tokens
