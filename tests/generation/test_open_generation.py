"""Rows join others that are being generated, and each has the answer that it has alone."""

from typing import Any

import pytest
import torch
import transformers

from anymal_eval.generation import (
    BatchedPrefix,
    CompiledStep,
    Completion,
    OpenGeneration,
    Row,
    TextGenerator,
    compiled_step,
    concatenated,
    growing_kv,
    prefill,
)
from anymal_eval.records import Decoding
from tests.generation.conftest import SIZES, made
from tests.generation.test_open_rows import HOW, Thinking, counted, generated
from tests.generation.test_prefix_kv import Words, batch

NAMES = "abcdefgh"
# How many rows are there at first, and how many join after which step.
PLANS = {"one by one": (1, {1: 1, 2: 1, 3: 1, 5: 1, 9: 1, 10: 1, 30: 1}), "in two batches": (3, {2: 3, 7: 2})}


def joined(
    model: Any,
    prompts: list[list[int]],
    decoding: Decoding,
    plan: tuple[int, dict[int, int]],
    *,
    shared: bool = False,
    step: Any = None,
) -> list[Completion]:
    """The answers of rows that join while others are generated; shared: each with a computed prefix."""
    thinks = decoding.thinking == "on"
    generator = TextGenerator(model, Thinking() if thinks else Words())
    generator.grows_in_place, generator.compiled_step = True, step
    generation = OpenGeneration(generator, decoding)
    rows = [Row(name=name, opened="<think>" if thinks and name > "b" else "") for name in NAMES]
    waiting = list(zip(prompts, rows, strict=True))
    found: dict[str, Completion] = {}
    known: dict[int, Row] = {}

    def join(count: int) -> None:
        own = [waiting.pop(0) for _ in range(count)]
        inputs, prefix = batch(model, [prompt for prompt, _ in own]), None
        if shared:
            heads = batch(model, [prompt[:-1] for prompt, _ in own])
            inputs = concatenated(heads, batch(model, [prompt[-1:] for prompt, _ in own]))
            prefix = BatchedPrefix(prefixes=(prefill(model, heads),), rows=tuple(range(count)))
        numbers = generation.join(inputs, prefix, [row for _, row in own])
        known.update(zip(numbers, (row for _, row in own), strict=True))

    first, later = plan
    with torch.no_grad(), generator.compiled(decoding):
        join(first)
        at = 0
        while not generation.is_empty or waiting:
            if not generation.is_empty:
                for number, ids in generation.advance().items():
                    found[known[number].name] = generator.completion(ids, decoding, known[number].opened)
            at += 1
            if at in later:
                join(later[at])
    return [found[name] for name in NAMES]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("how", HOW)
def test_a_row_that_joins_has_its_own_answer(
    ending: Any,
    drawn_prompts: list[list[int]],
    how: str,
    shared: bool,
    plan: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(growing_kv, "BLOCK", 5)
    alone = [
        generated(ending, [prompt], HOW[how], name, grows=False)[0]
        for prompt, name in zip(drawn_prompts, NAMES, strict=True)
    ]
    assert joined(ending, drawn_prompts, HOW[how], PLANS[plan], shared=shared) == alone
    assert len({one.new_tokens for one in alone}) > 2


def test_a_compiled_step_computes_rows_that_join(
    ending: Any,
    drawn_prompts: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiled_step, "BACKEND", "eager")
    alone = [generated(ending, [prompt], HOW["greedy"], "a", grows=False)[0] for prompt in drawn_prompts]
    step = CompiledStep(ending)
    for plan in PLANS.values():
        assert joined(ending, drawn_prompts, HOW["greedy"], plan, step=step) == alone
    assert step.steps > 2 * max(one.new_tokens for one in alone)


def test_a_step_computes_the_rows_that_are_open(ending: Any, drawn_prompts: list[list[int]]) -> None:
    lengths = [generated(ending, [prompt], HOW["greedy"], "a", grows=False)[0].new_tokens for prompt in drawn_prompts]
    first, later = PLANS["in two batches"]
    with counted(ending) as rows:
        joined(ending, drawn_prompts, HOW["greedy"], (first, later))
    # by the step after which each row is there, and that before which it has ended
    starts = [0] * first + [at for at, count in later.items() for _ in range(count)]
    spans = list(zip(starts, lengths, strict=True))
    last = max(start + length for start, length in spans)
    expected = [sum(start < at < start + length for start, length in spans) for at in range(1, last)]
    assert rows == [count for count in expected if count]


def test_what_ended_leaves_nothing_behind(ending: Any, drawn_prompts: list[list[int]]) -> None:
    generator = TextGenerator(ending, Words())
    generator.grows_in_place = True
    generation = OpenGeneration(generator, HOW["sampled"])
    with torch.no_grad():
        for _ in range(3):
            generation.join(batch(ending, drawn_prompts), None, [Row(name=name) for name in NAMES])
            while not generation.is_empty:
                generation.advance()
    assert generation._choose._names == {}
    assert generation._choose._sampling is not None
    assert generation._choose._sampling._generators == {}
    assert generation._generated == {}


def test_the_memory_of_rows_that_left_is_free_before_others_are_prefilled(
    ending: Any, drawn_prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = TextGenerator(ending, Words())
    generator.grows_in_place = True
    generation = OpenGeneration(generator, HOW["greedy"])
    held: list[tuple[int, int]] = []
    generate = ending.generate

    def watched(**given: Any) -> Any:
        if generation._open is not None:
            rows = generation._open._cache.layers[0].keys.untyped_storage().nbytes()
            held.append((rows, generation._open._cache.layers[0].keys.nbytes))
        return generate(**given)

    monkeypatch.setattr(ending, "generate", watched)
    with torch.no_grad():
        generation.join(batch(ending, drawn_prompts), None, ())
        while len(generation._generated) > 3:
            generation.advance()
        generation.join(batch(ending, drawn_prompts[:2]), None, ())
    ((room, used),) = held
    length = generation._open._cache.get_seq_length() if generation._open else 0
    assert room <= used * (length + growing_kv.BLOCK) / length


def test_no_row_joins_where_rotary_embeddings_depend_on_the_length_of_the_batch() -> None:
    greedy = HOW["greedy"]
    for kind, joins in (("default", True), ("linear", True), ("dynamic", False)):
        scaled = {} if kind == "default" else {"factor": 2.0}
        config = transformers.LlamaConfig(**SIZES, rope_parameters={"rope_type": kind, "rope_theta": 1e4, **scaled})
        generator = TextGenerator(made(config, torch.float32), Words())
        generator.grows_in_place = True
        assert generator.rows_leave(greedy)
        assert generator.rows_join(greedy) is joins
    generator.grows_in_place = False
    assert not generator.rows_join(greedy)
