"""The estimate of a training whose language model is sharded, and of one whose weights are bf16; its operations."""

from dataclasses import replace

import pytest
import torch

from anymal_eval.anymal.config import LoraConfig, preset
from anymal_eval.anymal.memory import Workload, estimate
from anymal_eval.checkpoints.loading import Loading

CONFIG = replace(preset("tiny"), lora=LoraConfig(rank=8))
SHAPE = CONFIG.llm.architecture or {}
LAYERS, WIDTH, INNER = (int(SHAPE[name]) for name in ("num_hidden_layers", "hidden_size", "intermediate_size"))
KEYS = WIDTH * int(SHAPE["num_key_value_heads"]) // int(SHAPE["num_attention_heads"])
LAYER = 2 * WIDTH * WIDTH + 2 * WIDTH * KEYS + 3 * WIDTH * INNER  # without its two norms
WORK = Workload(rows=2, text_tokens=40, new_tokens=10, train=True)


@pytest.fixture(scope="module")
def whole() -> int:
    return estimate(CONFIG, Loading(precision=torch.bfloat16), WORK).weights["llm"]["bf16"]


def test_each_process_keeps_its_part_of_the_layers(whole: int) -> None:
    found = estimate(CONFIG, Loading(precision=torch.bfloat16, sharded=True), replace(WORK, shards=8))
    layers = 2 * LAYERS * (LAYER + 2 * WIDTH)
    assert whole - layers == 2 * (2 * int(SHAPE["vocab_size"]) * WIDTH + WIDTH)
    assert found.weights["llm"]["bf16"] == whole - layers * 7 // 8
    # The layer that is computed and the next one are there as a whole.
    assert found.working > 2 * layers // LAYERS


def test_masters_and_operations() -> None:
    one, other = (estimate(CONFIG, Loading(), replace(WORK, masters=masters)) for masters in (False, True))
    numbers = one.gradients // 4
    assert (other.gradients, one.optimiser, other.optimiser) == (2 * numbers, 8 * numbers, 12 * numbers)
    assert other.weights["lora"] == {"bf16": one.weights["lora"]["fp32"] // 2}
    tokens = one.operations // (2 * 2 * LAYERS * LAYER)
    assert one.operations == other.operations == 4 * LAYERS * LAYER * tokens
    assert tokens > 2 * 50
