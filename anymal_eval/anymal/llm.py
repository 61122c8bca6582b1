"""The language model: any causal LM that transformers loads, with its tokenizer."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from anymal_eval.anymal import lora
from anymal_eval.anymal.config import LLMConfig, LoraConfig
from anymal_eval.anymal.conversation import Chat
from anymal_eval.anymal.encoders import Medium
from anymal_eval.checkpoints.loading import (
    BackboneLoading,
    Loading,
    backbone,
    freeze,
    library,
    plain_generation,
    quiet,
)
from anymal_eval.checkpoints.locating import locate
from anymal_eval.checkpoints.quantization import keep_layout
from anymal_eval.checkpoints.weights import fingerprint
from anymal_eval.errors import BadCheckpoint


class LLM(nn.Module):
    """A frozen causal LM.

    Shapes:  b batch · t positions · d width · v vocabulary

    Attributes:
        context: how many positions it takes.
        width: d.
        weights: the fingerprint of what it was loaded from.
        ends: the ids that end an answer.
    """

    def __init__(
        self, model: Any, chat: Chat, *, context: int, weights: str, endings: tuple[tuple[int, ...], int]
    ) -> None:
        """``endings``: the ids that end an answer, and the one to pad with."""
        super().__init__()
        self.model = model
        self.chat = chat
        self.context = context
        self.weights = weights
        self.width = int(model.get_input_embeddings().weight.shape[1])
        self.ends, self.pad = endings

    def embed(self, ids: Sequence[int]) -> Tensor:
        """T ids -> (t, d)."""
        table = self.model.get_input_embeddings()
        found: Tensor = table(torch.tensor(ids, dtype=torch.long, device=table.weight.device))
        return found

    @property
    def dtype(self) -> torch.dtype:
        """Of its embeddings, and so of what it takes."""
        found: torch.dtype = self.model.get_input_embeddings().weight.dtype
        return found

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        found: torch.device = self.model.get_input_embeddings().weight.device
        return found

    def forward(self, **inputs: Any) -> Any:
        """Straight to transformers' forward."""
        return self.model(**inputs)


def load_llm(config: LLMConfig, loading: Loading, media: Sequence[Medium], adapters: LoraConfig | None) -> LLM:
    """Load, quantize, freeze, and attach fresh adapters.

    Raises:
        BadCheckpoint: the folder is not a whole causal LM in safetensors with a tokenizer.
    """
    folder = locate(config.path)
    weights = fingerprint(folder)
    model = backbone(library().AutoModelForCausalLM, str(folder), None, loading.backbone, **loading.arguments())
    try:
        with quiet():
            tokenizer = library().AutoTokenizer.from_pretrained(folder, padding_side="left")
    except (OSError, ValueError) as error:
        raise BadCheckpoint(f"{folder} has no tokenizer: {error}") from error
    freeze(model)
    keep_layout(model)
    chat = Chat(tokenizer, style=config.chat, media=media)
    context = int(config.context or getattr(model.config, "max_position_embeddings", 0) or 2048)
    plain_generation(model)
    endings = _endings(model, tokenizer)
    if adapters is not None:
        model = lora.attach(model, adapters)
    return LLM(model, chat, context=context, weights=weights, endings=endings)


def llm_of_shapes(config: LLMConfig, loading: Loading) -> LLM:
    """The same without numbers, on the meta device. It has no tokenizer and reads no more than ``config.json``."""
    with torch.device("meta"), quiet():
        model = freeze(
            backbone(
                library().AutoModelForCausalLM,
                config.path,
                config.architecture,
                BackboneLoading(dtype=loading.precision, weights=False),
            )
        )
    return LLM(model, cast(Chat, None), context=1 << 62, weights="shapes only", endings=((), 0))


def _endings(model: Any, tokenizer: Any) -> tuple[tuple[int, ...], int]:
    """All ids that end an answer, the model's and the tokenizer's; and one to pad with."""
    own = model.generation_config.eos_token_id
    found = [own] if isinstance(own, int) else list(own or [])
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in found:
        found.append(tokenizer.eos_token_id)
    pad = tokenizer.pad_token_id
    if pad is None:
        pad = found[0] if found else 0
    return tuple(found), int(pad)
