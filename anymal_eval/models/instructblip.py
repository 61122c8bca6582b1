"""InstructBLIP with Vicuna or FlanT5, as its transformers class answers with a protocol (arXiv:2305.06500)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from anymal_eval.checkpoints.transformers_folder import CheckpointOptions, fetch, read_config, require_processor
from anymal_eval.errors import ContextTooLong
from anymal_eval.models._blip import TAKES, Blip, PreparedBlip, nothing_seen
from anymal_eval.models._protocols import PLAIN_WORDING, Model
from anymal_eval.models._wrapper_for import require
from anymal_eval.protocols import Phrase, Wording
from anymal_eval.records import Decoding, MediaKind

if TYPE_CHECKING:
    from torch import Tensor

NAME = "instructblip"
FRAMES = 4  # uniformly sampled, the paper, section 2.5
PAIRS = 64  # pictures with their questions that the Q-Former reads at once

# After the released configurations (LAVIS lavis/projects/instructblip).
WORDING: Wording = {
    "caption": Phrase(
        user="A short image caption.",
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
            Protocols say nothing of it, so there is none here; another value stands in the signature.
    """

    repetition_penalty: float = 1.0


def accepts(options: Options) -> frozenset[MediaKind]:
    """Pictures, and clips as frames; reads ``config.json`` alone and refuses what is no InstructBLIP."""
    require(read_config(options), NAME, options.checkpoint)
    return TAKES


def load(options: Options) -> Model:
    """Load the network.

    Raises:
        BadCheckpoint: it is not whole, or of another architecture.
    """
    accepts(options)
    checkpoint = fetch(options)
    require_processor(checkpoint, ("qformer_tokenizer",))
    from transformers import InstructBlipForConditionalGeneration

    from anymal_eval.checkpoints.transformers_model import load_model, load_processor
    from anymal_eval.models._media import media_reader

    processor = load_processor(checkpoint, options)
    loaded = load_model(InstructBlipForConditionalGeneration, checkpoint, options, NAME, processor)
    model = _InstructBlip(loaded, media_reader(options.media_timeout), WORDING)
    if options.repetition_penalty != 1.0:
        said = f"repetition_penalty={options.repetition_penalty:g}"
        model.speaker.repetition_penalty = options.repetition_penalty
        model.remark = ", ".join(filter(None, (model.remark, said)))
        model.fingerprint += f":{said}"
    return model


class _InstructBlip(Blip):
    """Its Q-Former reads the question with the picture, so only what the vision tower sees is shared."""

    def reads(self, text: str) -> tuple[int, ...]:
        """The prompt in the Q-Former's own ids.

        Raises:
            ContextTooLong: it is longer than the Q-Former's positions.
        """
        with self.lock:
            ids: list[int] = self.processor.qformer_tokenizer(text)["input_ids"]
        longest = self.network.config.qformer_config.max_position_embeddings
        if len(ids) > longest:
            raise ContextTooLong(f"the Q-Former reads at most {longest} tokens of text, the prompt has {len(ids)}")
        return tuple(ids)

    def look(self, pixels: Tensor) -> Tensor:
        """(1, 3, height, width) -> (patches, width of the vision tower)."""
        seen: Tensor = self.network.vision_model(pixel_values=pixels, return_dict=True).last_hidden_state[0]
        return seen

    def tokens(self, items: Sequence[PreparedBlip], features: dict[str, Tensor]) -> list[Tensor]:
        """(k * q, d) of each row: every frame with the same question, one after the other."""
        import torch

        pairs = [(features[key], item.reads) for item in items for key, _ in item.pictures]
        found: list[Tensor] = []
        for begin in range(0, len(pairs), PAIRS):
            found.extend(self._query(pairs[begin : begin + PAIRS]))
        rest = iter(found)
        return [
            torch.cat([next(rest) for _ in item.pictures]) if item.pictures else nothing_seen(self.network)
            for item in items
        ]

    def _query(self, pairs: Sequence[tuple[Tensor, tuple[int, ...]]]) -> Tensor:
        """(pairs, q, d): what the Q-Former takes from each picture for its question."""
        import torch

        seen = torch.stack([features for features, _ in pairs])
        queries = self.network.query_tokens.expand(len(pairs), -1, -1)
        width = max(len(ids) for _, ids in pairs)
        ids = torch.zeros((len(pairs), width), dtype=torch.long, device=seen.device)
        mask = torch.zeros_like(ids)
        for row, (_, own) in enumerate(pairs):
            ids[row, : len(own)] = torch.tensor(own, device=seen.device)
            mask[row, : len(own)] = 1
        out = self.network.qformer(
            input_ids=ids,
            attention_mask=torch.cat([mask.new_ones(queries.shape[:2]), mask], dim=1),
            query_embeds=queries,
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device),
            return_dict=True,
        )
        taken = out.last_hidden_state[:, : queries.shape[1]]
        tokens: Tensor = self.network.language_projection(taken.to(self.network.language_projection.weight.dtype))
        return tokens
