"""A text-only language model of transformers as a model of one's own, with public names alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anymal_eval.generation import OptionRanker, TextGenerator, join_with_space, left_padded, option_token_ids
from anymal_eval.models import PLAIN_WORDING, PreparedRequest, answer_in_groups, require_context, respond
from anymal_eval.records import ALL_MEDIA, Request, Response


@dataclass(frozen=True, kw_only=True)
class Prompt(PreparedRequest):
    inputs: Mapping[str, Any]


class TextOnly:
    """Reads the text of a prompt and leaves its media out."""

    accepts = ALL_MEDIA
    opens_media = False
    wording = PLAIN_WORDING

    @dataclass(frozen=True, kw_only=True)
    class Options:
        checkpoint: str

    def __init__(self, options: Options) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.model: Any = AutoModelForCausalLM.from_pretrained(options.checkpoint)  # in evaluation mode
        self.generator = TextGenerator(self.model, AutoTokenizer.from_pretrained(options.checkpoint))
        self.ranker = OptionRanker(self.model, self.generator.pad_id, self.generator.timings)
        self.timings = self.generator.timings
        self.fingerprint = f"text-only:{Path(options.checkpoint).name}"

    def prepare(self, request: Request) -> Prompt:
        text = "".join(part for message in request.messages for part in message.parts if isinstance(part, str))
        text = join_with_space(text, request.answer_prefix)
        ids = self.generator.token_ids(text)
        with_option = [self.generator.token_ids(join_with_space(text, option)) for option in request.candidates]
        kept, options = option_token_ids(ids, with_option)
        require_context(request, kept, options, self.model.config.max_position_embeddings)
        import torch

        prompt = torch.tensor([ids[:kept]])
        inputs = {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)}
        return Prompt(request=request, option_token_ids=options, suffix_tokens=kept, inputs=inputs)

    def answer(self, batch: Sequence[Prompt]) -> list[Response]:
        return answer_in_groups(batch, self.compute)

    def compute(self, items: Sequence[Prompt]) -> list[Response]:
        inputs = left_padded([item.inputs for item in items], self.generator.pad_id, self.model)
        return respond(items, (self.generator, self.ranker), inputs)

    def close(self) -> None:
        pass
