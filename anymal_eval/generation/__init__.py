"""Text generation and option ranking with a language model of transformers.

It knows no benchmark and no wrapper. Importing it does not import torch.
"""

from anymal_eval.generation.batches import SEQUENCES, concatenated, left_padded, padded_embeddings, position_ids
from anymal_eval.generation.bounded_cache import BoundedCache
from anymal_eval.generation.compiled_self_test import drawn_rows, try_compiling
from anymal_eval.generation.compiled_step import CompiledStep, compile_fault
from anymal_eval.generation.devices import memory_guard, release_memory, to_device
from anymal_eval.generation.literal_text import LiteralText, PromptTokenizer
from anymal_eval.generation.logits import Traces, replaced_forward
from anymal_eval.generation.memory_forecast import MemoryForecast, RowShape
from anymal_eval.generation.open_generation import OpenGeneration
from anymal_eval.generation.option_ranker import OptionRanker
from anymal_eval.generation.prefix_kv import (
    BatchedPrefix,
    PrefixKV,
    forgetful_layers,
    forward_parameters,
    positions_of_whole_prompts,
    prefill,
)
from anymal_eval.generation.rows import Completion, Row
from anymal_eval.generation.text_generator import TextGenerator
from anymal_eval.generation.token_ids import OptionTokenIds, join_with_space, option_token_ids, shared_prefix_length

__all__ = [
    "SEQUENCES",
    "BatchedPrefix",
    "BoundedCache",
    "CompiledStep",
    "Completion",
    "LiteralText",
    "MemoryForecast",
    "OpenGeneration",
    "OptionRanker",
    "OptionTokenIds",
    "PrefixKV",
    "PromptTokenizer",
    "Row",
    "RowShape",
    "TextGenerator",
    "Traces",
    "compile_fault",
    "concatenated",
    "drawn_rows",
    "forgetful_layers",
    "forward_parameters",
    "join_with_space",
    "left_padded",
    "memory_guard",
    "option_token_ids",
    "padded_embeddings",
    "position_ids",
    "positions_of_whole_prompts",
    "prefill",
    "release_memory",
    "replaced_forward",
    "shared_prefix_length",
    "to_device",
    "try_compiling",
]
