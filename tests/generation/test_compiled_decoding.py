"""Compiled decoding: the same tokens as the model's own steps, few shapes, and off where it does not work."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import transformers
from transformers.cache_utils import DynamicCache

from anymal_eval.generation import (
    BatchedPrefix,
    CompiledStep,
    MemoryForecast,
    Row,
    RowShape,
    TextGenerator,
    compiled_step,
    concatenated,
    drawn_rows,
    fixed_kv,
    prefill,
    try_compiling,
)
from anymal_eval.generation.compiled_step import obstacle
from anymal_eval.generation.fixed_kv import FixedKV, view_of
from anymal_eval.generation.growing_kv import keep_rows
from anymal_eval.generation.self_test import ON
from anymal_eval.records import Decoding
from tests.generation.conftest import SIZES, gemma, llama, made, t5
from tests.generation.test_prefix_kv import ROWS, SUFFIXES, Words, batch

NEW = 14
HOW = (
    Decoding(max_new_tokens=NEW, min_new_tokens=NEW),
    Decoding(max_new_tokens=NEW, temperature=1.0, seed=3, stop=("1", "44")),
    Decoding(max_new_tokens=4, beams=2),
)


@pytest.fixture(autouse=True)
def _traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A step is traced whole and runs as it was traced: a C++ compiler takes minutes."""
    monkeypatch.setattr(compiled_step, "BACKEND", "eager")
    yield
    torch.compiler.reset()


def small() -> Any:
    return made(transformers.LlamaConfig(**SIZES | {"num_hidden_layers": 2}), torch.float32)


def test_texts_are_those_of_the_model_with_and_without_a_prefix_and_in_few_shapes(
    prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixed_kv, "LEAST_POSITIONS", 16)
    monkeypatch.setattr(fixed_kv, "AHEAD", 4)
    model = small()
    kv = prefill(model, batch(model, prompts[:3]))
    starts = {name: part[list(ROWS)] for name, part in batch(model, prompts[:3]).items()}
    inputs = concatenated(starts, batch(model, SUFFIXES))
    prefix = BatchedPrefix(prefixes=(kv,), rows=ROWS)
    rows = [Row(name=name) for name in "abcd"]
    before = [part.clone() for layer in kv.cache.layers for part in (layer.keys, layer.values)]
    found = []
    step = CompiledStep(model)
    torch._dynamo.utils.counters.clear()
    for used, leave in ((None, None), (step, None), (step, True)):
        generator = TextGenerator(model, Words())
        generator.compiled_step, generator.grows_in_place = used, leave
        step.clear()  # another cache of the same shape needs no other code
        found.append([generator.generate(inputs, how, given, rows) for how in HOW for given in (None, prefix)])
    assert found[0] == found[1] == found[2]
    assert len({one.new_tokens for one in found[0][2]}) > 2, "rows leave at other steps"
    assert len({one.text for one in found[0][0]}) == len(rows)
    assert inputs["input_ids"].shape == (4, 16)
    assert step.shapes == {(4, 24), (4, 32)}, "one when it starts, one when it grows"
    assert step.steps >= 2 * (NEW - 1)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    after = [part for layer in kv.cache.layers for part in (layer.keys, layer.values)]
    assert all(map(torch.equal, before, after)), "the prefix, which others use, was written to"


def cache_of(model: Any, rows: int, positions: int, seed: int) -> Any:
    cache = DynamicCache(config=model.config)
    ids = torch.randint(3, 500, (rows, positions), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        model(input_ids=ids, past_key_values=cache, use_cache=True)
    return cache


def same(one: Any, other: Any) -> bool:
    return all(
        torch.equal(a.keys, b.keys) and torch.equal(a.values, b.values)
        for a, b in zip(one.layers, other.layers, strict=True)
    )


def test_a_fixed_cache_holds_one_batch_and_gives_back_what_the_one_before_still_needs() -> None:
    model = small()
    first, second = (cache_of(model, rows, length, rows) for rows, length in ((3, 9), (4, 5)))
    copies = [copy.deepcopy(each) for each in (first, second)]
    fixed = FixedKV(first, 4, 32)
    fixed.take(first)
    assert same(first, copies[0])
    assert first.get_seq_length() == 9
    assert view_of(first) is not None
    fixed.take(second)
    assert same(first, copies[0])
    assert view_of(first) is None, "its keys are its own again"
    assert same(second, copies[1])
    for each in (second, copies[1]):
        keep_rows(each, [0, 3, 2], 2)
    assert same(second, copies[1])
    assert view_of(second) is not None, "rows left in place"
    fixed.take(second)
    assert same(second, copies[1])
    second.reorder_cache(torch.tensor([1, 0, 2]))
    copies[1].reorder_cache(torch.tensor([1, 0, 2]))
    assert view_of(second) is None, "somebody replaced its keys"
    fixed.take(second)
    assert same(second, copies[1])


def test_a_step_sees_its_own_tokens_alone_and_a_padded_row_its_own_place() -> None:
    fixed = FixedKV(cache_of(small(), 1, 1, 1), 4, 32)
    cache = cache_of(small(), 3, 6, 1)
    fixed.take(cache)
    view = view_of(cache)
    assert view is not None
    given = torch.tensor([[0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1], [1, 0, 1, 1, 1, 1, 1]])
    for mask in (torch.ones(3, 7), given):
        fixed.aim(view, mask)
    assert fixed.mask[:3, 0, 0, :7].long().equal(given)
    assert fixed.mask[3, 0, 0, :7].tolist() == [False] * 6 + [True]
    assert not fixed.mask[..., 7:].any()


def test_the_self_test_turns_it_on_and_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        del inputs
        return lambda *given: [each * 1.01 if each.is_floating_point() else each for each in graph(*given)]

    def broken(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        del graph, inputs
        raise OSError("no compiler\nwas found")

    lines = []
    for backend in ("eager", wrong, broken):
        monkeypatch.setattr(compiled_step, "BACKEND", backend)
        generator = TextGenerator(small(), Words())
        lines.append(try_compiling(generator, drawn_rows(500), exact=True))
        assert (generator.compiled_step is not None) == (lines[-1] == ON)
        torch.compiler.reset()
    assert lines[0] == ON
    assert lines[1].startswith("off: self-test failed, log-probabilities differ by ")
    assert lines[2] == "off: torch cannot compile a step of 4 rows and 128 positions: no compiler"


def test_a_shorter_precision_is_compared_with_what_batching_changes() -> None:
    generator = TextGenerator(small().to(torch.bfloat16), Words())
    assert try_compiling(generator, drawn_rows(500), exact=False) == ON


def test_classes_that_cannot_have_it() -> None:
    flash = small()
    flash.config._attn_implementation = "flash_attention_2"
    found = [obstacle(model) for model in (llama(), gemma(), t5(), flash)]
    assert found == [
        None,
        "its cache has layers that do not keep every token (DynamicSlidingWindowLayer)",
        "an encoder reads the prompt",
        "its attention (flash_attention_2) takes no mask of one shape",
    ]


def test_batches_are_sized_with_the_fixed_cache() -> None:
    forecast, shape = MemoryForecast(llama(), 1 << 24), RowShape(prompt=40, new=9)
    before = [
        forecast.bytes(2, each) for each in (shape, RowShape(prompt=40, new=9, beams=2), RowShape(prompt=40, options=3))
    ]
    forecast.fixed_cache = True
    layers, heads, width, item = 3, 2, 16, 4
    padded = (
        2 * heads * width * item * layers * fixed_kv.padded_rows(3) * fixed_kv.padded_positions(40 + fixed_kv.AHEAD)
    )
    assert forecast.bytes(3, shape) - before[0] >= padded
    assert [
        forecast.bytes(2, each) for each in (RowShape(prompt=40, new=9, beams=2), RowShape(prompt=40, options=3))
    ] == before[1:]
