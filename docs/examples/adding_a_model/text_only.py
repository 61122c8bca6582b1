"""A language model of transformers without media: what a benchmark's questions alone give away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anymal_eval.checkpoints.transformers_folder import CheckpointOptions, fetch
from anymal_eval.generation import (
    OptionRanker,
    TextGenerator,
    join_with_space,
    left_padded,
    memory_guard,
    option_token_ids,
)
from anymal_eval.models import (
    PLAIN_WORDING,
    Model,
    Prepared,
    PreparedRequest,
    answer_in_groups,
    nbytes,
    require_context,
    respond,
)
from anymal_eval.records import ALL_MEDIA, MediaKind, Message, Request, Response

if TYPE_CHECKING:
    from anymal_eval.checkpoints.transformers_model import LoadedModel

opens_media = False  # tasks need no media files


@dataclass(frozen=True, kw_only=True)
class Options(CheckpointOptions):
    """``checkpoint`` comes from ``--model text_only:PATH`` or ``text_only:OWNER/NAME``."""


def accepts(options: Options) -> frozenset[MediaKind]:
    """Every kind of medium, since it opens none."""
    del options
    return ALL_MEDIA


def load(options: Options) -> Model:
    """Load tokenizer and weights.

    Raises:
        BadCheckpoint: a file or a weight is missing.
    """
    import transformers

    from anymal_eval.checkpoints.transformers_model import load_model, load_processor

    checkpoint = fetch(options)
    tokenizer = load_processor(checkpoint, options)
    return TextOnly(load_model(transformers.AutoModelForCausalLM, checkpoint, options, "text_only", tokenizer))


@dataclass(frozen=True, kw_only=True)
class PreparedText(PreparedRequest):
    """``inputs`` are ``input_ids`` and ``attention_mask``, (1, t)."""

    inputs: Mapping[str, Any]


class TextOnly:
    """Generates text and ranks options by the words of a prompt."""

    accepts = ALL_MEDIA
    wording = PLAIN_WORDING

    def __init__(self, loaded: LoadedModel) -> None:
        """Hold a loaded model with its tokenizer."""
        self.fingerprint, self.provenance, self.remark = loaded.fingerprint, loaded.provenance, loaded.remark
        self._network = loaded.model
        self._generator = TextGenerator(loaded.model, loaded.processor)
        self.timings = self._generator.timings
        self._ranker = OptionRanker(loaded.model, self._generator.pad_id, self.timings)

    def prepare(self, request: Request) -> PreparedText:
        """Render the chat template and tokenise; called from many threads."""
        import torch

        text, guard = self._render(request), self._generator.guard
        prompt, *with_option = map(
            self._ids, [text, *(join_with_space(text, guard(each)) for each in request.candidates)]
        )
        kept, options = option_token_ids(prompt, with_option) if with_option else (len(prompt), ())
        require_context(request, kept, options, getattr(self._network.config, "max_position_embeddings", None))
        ids = torch.tensor([prompt[:kept]])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        return PreparedText(
            request=request,
            option_token_ids=options,
            suffix_tokens=kept,
            nbytes=nbytes(inputs.values()),
            inputs=inputs,
        )

    def answer(self, batch: Sequence[Prepared]) -> list[Response]:
        """Generate or rank; requests with other decoding settings are computed in other batches."""
        import torch

        items = [item for item in batch if isinstance(item, PreparedText)]
        with torch.no_grad(), memory_guard(f"answering {len(items)} requests"):
            return answer_in_groups(items, self._compute)

    def close(self) -> None:
        """Nothing is open."""

    def _compute(self, items: Sequence[PreparedText]) -> list[Response]:
        inputs = left_padded([item.inputs for item in items], self._generator.pad_id, self._network)
        return respond(items, (self._generator, self._ranker), inputs)

    def _render(self, request: Request) -> str:
        messages = [
            {"role": message.role, "content": self._generator.guard("".join(_texts(message)))}
            for message in request.messages
        ]
        with self._generator.lock:
            text = self._generator.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return join_with_space(text, self._generator.guard(request.answer_prefix))

    def _ids(self, text: str) -> list[int]:
        return self._generator.prompt_ids(text, add_special_tokens=False)  # the template has written them


def _texts(message: Message) -> list[str]:
    return [part for part in message.parts if isinstance(part, str)]
