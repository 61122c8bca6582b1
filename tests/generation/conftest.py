"""Tiny random language models, made in memory."""

from typing import Any

import pytest
import torch
import transformers

VOCABULARY = 500
SIZES: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": VOCABULARY, "max_position_embeddings": 256, "pad_token_id": 0,
    "eos_token_id": 2, "bos_token_id": 1,
}  # fmt: skip


def made(config: Any, dtype: torch.dtype) -> Any:
    """A model whose weights are so large that every token matters."""
    library: Any = transformers
    auto = library.AutoModelForSeq2SeqLM if config.is_encoder_decoder else library.AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = auto.from_config(config)
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=1.0 if "embed" in name or "head" in name else 0.2)
    return model.to(dtype).eval()


def llama(dtype: torch.dtype = torch.float32) -> Any:
    return made(transformers.LlamaConfig(**SIZES), dtype)


def gemma(dtype: torch.dtype = torch.float32) -> Any:
    """Logits capped softly at 30, and every second layer with a sliding window of four positions."""
    config = transformers.Gemma2Config(**SIZES, head_dim=16, sliding_window=4, final_logit_softcapping=30.0)
    return made(config, dtype)


def t5(dtype: torch.dtype = torch.float32) -> Any:
    sizes: dict[str, Any] = {"d_model": 64, "d_ff": 96, "num_layers": 2, "num_heads": 4, "d_kv": 16}
    start: dict[str, Any] = {"decoder_start_token_id": 0}
    return made(transformers.T5Config(**sizes, **start, vocab_size=VOCABULARY), dtype)


@pytest.fixture
def prompts() -> list[list[int]]:
    """Token ids of many lengths."""
    drawn = torch.Generator().manual_seed(1)
    return [torch.randint(3, VOCABULARY, (length,), generator=drawn).tolist() for length in (9, 4, 12, 7, 4, 10)]


ENDS = list(range(2, 500, 12))  # so many that rows of a random network end at different lengths


@pytest.fixture(scope="module")
def ending() -> Any:
    made = llama()
    made.generation_config.eos_token_id = ENDS
    return made


@pytest.fixture(scope="module")
def drawn_prompts() -> list[list[int]]:
    drawn = torch.Generator().manual_seed(4)
    return [torch.randint(3, 500, (2 + 3 * number % 11,), generator=drawn).tolist() for number in range(8)]
