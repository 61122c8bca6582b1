"""The frozen language model: any causal LM of transformers, with its tokenizer."""

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
    checkpoint_errors,
    freeze,
    library,
    quiet,
)
from anymal_eval.checkpoints.locating import locate
from anymal_eval.checkpoints.quantization import keep_layout
from anymal_eval.checkpoints.token_ids import TokenIds, resolve_token_ids
from anymal_eval.checkpoints.weights import fingerprint
from anymal_eval.errors import ContextTooLong, WrongUse
from anymal_eval.generation import CompiledStep, OptionRanker, TextGenerator, forgetful_layers


class LLM(nn.Module):
    """A frozen causal LM.

    Shapes:  b batch · t positions · d width · v vocabulary

    Attributes:
        context: the largest number of positions.
        width: d.
        weights: the fingerprint of the checkpoint.
        ends: the ids that end an answer.
        pad: the id to pad with.
        contradictions: of the checkpoint's metadata about these ids, and how each was resolved.
        timings: seconds spent so far in ``prefilling`` and ``decoding``.
        compiled_step: of its generators; None for the model's own.
    """

    def __init__(self, model: Any, chat: Chat, *, context: int, weights: str, ids: TokenIds) -> None:
        """``ids``: those that end an answer, and the one to pad with.

        The model's own decoding settings are dropped, because ``generate`` would fill them in silently.
        """
        super().__init__()
        self.model = model
        self.chat = chat
        self.context = context
        self.weights = weights
        self.vocabulary, self.width = map(int, model.get_input_embeddings().weight.shape)
        self.ends, self.pad, self.contradictions = ids.ends, ids.pad, ids.notes
        self.timings: dict[str, float] = dict.fromkeys(("encoding", "prefilling", "decoding"), 0.0)
        # Classes with an attention of their own may want keys and values as one piece.
        self._keeps_tokens = bool(getattr(model, "_supports_attention_backend", False)) and not forgetful_layers(model)
        self.compiled_step: CompiledStep | None = None
        model.generation_config = library().GenerationConfig(**ids.settings())

    @property
    def generator(self) -> TextGenerator:
        """Generates with the model as it is now: adapters may be attached after loading."""
        made = TextGenerator(self.model, self.chat.tokenizer, self.chat.lock, self.timings)
        made.grows_in_place, made.compiled_step = self._keeps_tokens, self.compiled_step
        return made

    @property
    def ranker(self) -> OptionRanker:
        """Ranks with the model as it is now."""
        return OptionRanker(self.model, self.pad, self.timings)

    def check_context(self, lengths: Sequence[int], new_tokens: int) -> None:
        """Refuse rows that do not fit.

        Raises:
            ContextTooLong: names the row and the lengths.
        """
        for row, length in enumerate(lengths):
            if length + new_tokens > self.context:
                raise ContextTooLong(
                    f"row {row}: a prompt of {length} tokens and {new_tokens} new ones make {length + new_tokens}, "
                    f"the model's context is {self.context}"
                )

    def embed(self, ids: Sequence[int]) -> Tensor:
        """Embed t ids: (t, d)."""
        table = self.model.get_input_embeddings()
        found: Tensor = table(torch.tensor(ids, dtype=torch.long, device=table.weight.device))
        return found

    @property
    def dtype(self) -> torch.dtype:
        """Of its embeddings, and so of its inputs."""
        found: torch.dtype = self.model.get_input_embeddings().weight.dtype
        return found

    @property
    def device(self) -> torch.device:
        """Of its embeddings, and so of its inputs."""
        found: torch.device = self.model.get_input_embeddings().weight.device
        return found

    def forward(self, **inputs: Any) -> Any:
        """The model's own forward."""
        return self.model(**inputs)


def layers_of(model: Any, needed_by: str = "") -> list[nn.Module]:
    """The layers of a causal LM that transformers marks as such, with or without adapters.

    Args:
        model: the causal LM.
        needed_by: the option that needs them, if one does.

    Raises:
        WrongUse: an option needs them, and there are none.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    found: list[nn.Module] = [each for each in model.modules() if isinstance(each, GradientCheckpointingLayer)]
    if needed_by and not found:
        raise WrongUse(f"{needed_by}: {type(model).__name__} has no layers that transformers marks as such")
    return found


def recompute_activations(model: Any) -> list[nn.Module]:
    """Recompute each layer of a causal LM in the backward pass instead of keeping its activations.

    Returns:
        The layers, which do so while their own ``training`` is set.
    """
    inner = model.get_base_model() if lora.is_attached(model) else model
    name = "activation" if hasattr(inner, "activation_checkpointing_enable") else "gradient"
    enable = getattr(inner, f"{name}_checkpointing_enable")
    enable(**{f"{name}_checkpointing_kwargs": {"use_reentrant": False}})
    return layers_of(inner)


def load_llm(config: LLMConfig, loading: Loading, media: Sequence[Medium], adapters: LoraConfig | None) -> LLM:
    """Load, quantize, freeze, and attach new adapters.

    Raises:
        BadCheckpoint: the folder is not a whole causal LM in safetensors with a tokenizer.
    """
    folder = locate(config.path, convert=True)
    weights = fingerprint(folder)
    model = backbone(library().AutoModelForCausalLM, str(folder), None, loading.backbone, **loading.arguments())
    with checkpoint_errors(f"{folder} has no tokenizer that can be read"), quiet():
        tokenizer = library().AutoTokenizer.from_pretrained(folder, padding_side="left")
    if config.template is not None:
        tokenizer.chat_template = config.template
    freeze(model)
    keep_layout(model)
    chat = Chat(tokenizer, style=config.chat, media=media)
    context = int(config.context or getattr(model.config, "max_position_embeddings", 0) or 2048)
    ids = resolve_token_ids(folder, model, tokenizer)
    if adapters is not None:
        model = lora.attach(model, adapters)
    return LLM(model, chat, context=context, weights=weights, ids=ids)


def llm_of_shapes(config: LLMConfig, loading: Loading) -> LLM:
    """The same without weights, on the meta device and without a tokenizer. Of files it reads ``config.json`` alone."""
    with torch.device("meta"), quiet():
        model = freeze(
            backbone(
                library().AutoModelForCausalLM,
                config.path,
                config.architecture,
                BackboneLoading(dtype=loading.precision, weights=False),
            )
        )
    return LLM(model, cast(Chat, None), context=1 << 62, weights="shapes only", ids=TokenIds(ends=(), pad=0))
