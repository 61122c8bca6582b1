"""A KV cache that grows in place gives the numbers of the one that is copied at every step."""

from typing import Any

import pytest
import torch
import transformers
from transformers import cache_utils
from transformers.cache_utils import DynamicCache

from anymal_eval.generation import BatchedPrefix, Row, TextGenerator, concatenated, growing_kv, prefill
from anymal_eval.generation.growing_kv import GrowingLayer, empty, growing
from anymal_eval.records import Decoding
from tests.generation.conftest import SIZES, gemma, llama, made
from tests.generation.test_prefix_kv import ROWS, SUFFIXES, Words, batch

STEPS = 9


def gpt2() -> Any:
    sizes: dict[str, Any] = {"n_embd": 64, "n_layer": 3, "n_head": 4}
    return made(transformers.GPT2Config(**sizes, vocab_size=500, pad_token_id=0, eos_token_id=2), torch.float32)


def eager() -> Any:
    return made(transformers.LlamaConfig(**SIZES | {"attn_implementation": "eager"}), torch.float32)


@pytest.fixture(params=[llama, eager, gpt2])
def model(request: pytest.FixtureRequest) -> Any:
    return request.param()


def logits(model: Any, ids: torch.Tensor, cache: Any) -> list[torch.Tensor]:
    """Of a prompt, and of steps of one token and of three."""
    found = []
    with torch.no_grad():
        for part in torch.split(ids, [7, 1, 1, 3, 1, 1], dim=1):
            found.append(model(input_ids=part, past_key_values=cache, use_cache=True).logits)
    return found


@pytest.mark.parametrize("block", [1, 2, 64])
def test_every_logit_is_that_of_a_copied_cache(model: Any, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing_kv, "BLOCK", block)
    ids = torch.randint(3, 500, (3, 14), generator=torch.Generator().manual_seed(2))
    own = empty(model, 14)
    assert [type(layer) for layer in own.layers] == [GrowingLayer] * 3
    expected = logits(model, ids, DynamicCache(config=model.config))
    assert all(map(torch.equal, logits(model, ids, own), expected))
    assert own.get_seq_length() == 14


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_generated_texts_are_the_same_with_and_without_a_prefix(
    model: Any, temperature: float, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing_kv, "BLOCK", 3)
    heads = prompts[:3]
    kv = prefill(model, batch(model, heads))
    before = [part.clone() for layer in kv.cache.layers for part in (layer.keys, layer.values)]
    starts = {name: part[list(ROWS)] for name, part in batch(model, heads).items()}
    inputs = concatenated(starts, batch(model, SUFFIXES))
    decoding = Decoding(max_new_tokens=STEPS, temperature=temperature, seed=3)
    found: dict[bool | None, list[Any]] = {}
    for grows in (None, True):
        generator = TextGenerator(model, Words())
        generator.grows_in_place = grows
        rows = [Row(name=name) for name in "abcd"]
        prefix = BatchedPrefix(prefixes=(kv,), rows=ROWS)
        found[grows] = [generator.generate(inputs, decoding, prefix, rows) for _ in range(2)]
        found[grows].append(generator.generate(inputs, decoding, None, rows))
    assert found[True] == found[None]
    after = [part for layer in kv.cache.layers for part in (layer.keys, layer.values)]
    assert all(map(torch.equal, before, after)), "the prefix, which others use, was written to"


def test_a_step_writes_in_place_and_no_room_is_made_beyond_the_most() -> None:
    layer: Any = GrowingLayer(10)
    layer.update(torch.ones(2, 1, 6, 4), torch.ones(2, 1, 6, 4))
    places = []
    for number in range(4):
        layer.update(torch.full((2, 1, 1, 4), float(number)), torch.zeros(2, 1, 1, 4))
        places.append(layer.keys.untyped_storage().data_ptr())
    assert len(set(places)) == 1
    assert layer.keys.untyped_storage().nbytes() == 2 * 10 * 4 * 4
    assert layer.keys[1, 0, :, 0].tolist() == [1.0] * 6 + [0.0, 1.0, 2.0, 3.0]
    layer.update(torch.full((2, 1, 1, 4), 4.0), torch.zeros(2, 1, 1, 4))  # more than was said: it grows on
    assert layer.keys.shape[-2] == 11


def test_keys_that_somebody_replaced_are_continued() -> None:
    layer: Any = GrowingLayer(64)
    library: Any = cache_utils
    plain = library.DynamicLayer()
    drawn = torch.Generator().manual_seed(0)
    for _ in range(3):
        keys, values = torch.randn(2, 3, 2, 1, 4, generator=drawn)
        for each in (layer, plain):
            each.update(keys, values)
            each.reorder_cache(torch.tensor([2, 0, 0]))
            each.batch_select_indices(torch.tensor([1, 0, 2]))
        assert torch.equal(layer.keys, plain.keys)
        assert torch.equal(layer.values, plain.values)
    for each in (layer, plain):
        each.crop(-1)
        each.update(keys, values)
    assert torch.equal(layer.values, plain.values)


def test_layers_that_forget_tokens_stay() -> None:
    model = gemma()
    kinds = {type(layer).__name__ for layer in growing(DynamicCache(config=model.config), 9).layers}
    assert kinds == {"DynamicSlidingWindowLayer", "GrowingLayer"}
