"""Rows that end leave the batch, and nothing of it is seen in the answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from transformers import cache_utils

from anymal_eval.errors import BadLogits
from anymal_eval.generation import BatchedPrefix, Completion, Row, TextGenerator, concatenated, growing_kv, prefill
from anymal_eval.generation.growing_kv import GrowingLayer, growing, keep_rows
from anymal_eval.records import Decoding
from tests.generation.test_prefix_kv import Words, batch

STEPS = 40


class Thinking(Words):
    """Every ninth word ends the thinking."""

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        del skip_special_tokens
        return " ".join("</think>" if number % 9 == 0 else str(number) for number in ids)


@contextmanager
def counted(model: Any) -> Iterator[list[int]]:
    """How many rows each step computed."""
    rows: list[int] = []

    def count(_: Any, args: Any, given: dict[str, Any]) -> None:
        if given["input_ids"] is not None and given["input_ids"].shape[1] == 1:
            rows.append(len(given["input_ids"]))

    hook = model.register_forward_pre_hook(count, with_kwargs=True)
    yield rows
    hook.remove()


def generated(
    model: Any, prompts: list[list[int]], decoding: Decoding, names: str, *, grows: bool, shared: int = 0
) -> list[Completion]:
    """Of a batch; its first ``shared`` rows each have a computed prefix, their prompts but the last token."""
    thinks = decoding.thinking == "on"
    generator = TextGenerator(model, Thinking() if thinks else Words())
    generator.grows_in_place = grows
    inputs, prefix = batch(model, prompts), None
    if shared:
        heads = batch(model, [prompt[:-1] for prompt in prompts])
        inputs = concatenated(heads, batch(model, [prompt[-1:] for prompt in prompts]))
        prefix = BatchedPrefix(prefixes=(prefill(model, heads),), rows=tuple(range(len(prompts))))
    rows = [Row(name=name, opened="<think>" if thinks and name > "b" else "") for name in names]
    with torch.no_grad():
        return generator.generate(inputs, decoding, prefix, rows)


HOW = {
    "greedy": Decoding(max_new_tokens=STEPS),
    "sampled": Decoding(max_new_tokens=STEPS, temperature=1.5, top_p=0.9, seed=3),
    "least": Decoding(max_new_tokens=STEPS, min_new_tokens=5),
    "stopped": Decoding(max_new_tokens=STEPS, stop=("7", "33")),
    "thinking": Decoding(max_new_tokens=4, thinking="on", thinking_tokens=20),
}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("how", HOW)
def test_every_row_has_its_own_answer_and_leaves_when_it_ends(
    ending: Any, drawn_prompts: list[list[int]], how: str, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing_kv, "BLOCK", 5)
    names = "abcdefgh"
    alone = [
        generated(ending, [prompt], HOW[how], name, grows=False)[0]
        for prompt, name in zip(drawn_prompts, names, strict=True)
    ]
    with counted(ending) as rows:
        found = generated(ending, drawn_prompts, HOW[how], names, grows=True, shared=shared)
    assert found == alone
    lengths = [one.new_tokens for one in alone]
    assert len(set(lengths)) > 2
    prefilled = 1 if shared else 0  # its last token is one too
    assert rows[prefilled:] == [sum(length > step for length in lengths) for step in range(1, max(lengths))]


def test_rows_of_transformers_own_search_have_no_padding(ending: Any, drawn_prompts: list[list[int]]) -> None:
    """A stop string ends a row; what ``generate`` appends to it is no part of the answer."""
    decoding = HOW["stopped"]
    found = generated(ending, drawn_prompts, decoding, "abcdefgh", grows=False)
    assert found == [generated(ending, [prompt], decoding, "a", grows=False)[0] for prompt in drawn_prompts]


def test_a_broken_row_is_named_by_its_place_in_the_batch(
    ending: Any, drawn_prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = [one.new_tokens for one in generated(ending, drawn_prompts, HOW["greedy"], "abcdefgh", grows=True)]
    last = max(range(8), key=lengths.__getitem__)
    forward = ending.forward

    def breaking(*args: Any, **given: Any) -> Any:
        out = forward(*args, **given)
        if len(out.logits) == 1:
            out.logits[:] = torch.nan
        return out

    monkeypatch.setattr(ending, "forward", breaking)
    with pytest.raises(BadLogits, match=rf"rows \[{last}\] of 8"):
        generated(ending, drawn_prompts, HOW["greedy"], "abcdefgh", grows=True)


@pytest.mark.parametrize("replaced", [False, True])
def test_kept_rows_are_those_of_a_copied_cache(replaced: bool) -> None:
    library: Any = cache_utils
    drawn = torch.Generator().manual_seed(0)
    own, plain = growing(library.DynamicCache(), 20), library.DynamicCache()
    for order, start in (([0, 3, 2], 2), ([2, 1], 0), ([0, 1], 1), ([1], 3)):
        for _ in range(4):
            keys, values = torch.randn(2, 4, 2, 1, 3, generator=drawn)
            for cache in (own, plain):
                rows = 4 if not cache.layers or not cache.get_seq_length() else len(cache.layers[0].keys)
                cache.update(keys[:rows], values[:rows], 0)
        if replaced:
            own.layers[0].keys = own.layers[0].keys.clone()
        keep_rows(own, order, start)
        for name in ("keys", "values"):
            expected = getattr(plain.layers[0], name)[order][..., start:, :]
            setattr(plain.layers[0], name, expected)
            assert torch.equal(getattr(own.layers[0], name), expected)
    assert own.get_seq_length() == plain.get_seq_length()


def test_a_row_that_leaves_costs_one_row() -> None:
    layer: Any = GrowingLayer(8)
    layer.update(torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 6, 1), torch.zeros(4, 1, 6, 1))
    place = layer.keys.untyped_storage().data_ptr()
    layer.keep([0, 3, 2], 1)
    assert layer.keys.untyped_storage().data_ptr() == place
    assert layer.keys[:, 0, :, 0].tolist() == [[0.0] * 5, [3.0] * 5, [2.0] * 5]
