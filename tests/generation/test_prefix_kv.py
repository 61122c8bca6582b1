"""Rows with a computed prefix get the answers that they get without, and using a prefix does not change it."""

from typing import Any

import pytest
import torch

from anymal_eval.generation import (
    BatchedPrefix,
    OptionRanker,
    TextGenerator,
    concatenated,
    forgetful_layers,
    left_padded,
    padded_embeddings,
    prefill,
)
from anymal_eval.records import Decoding
from tests.generation.conftest import gemma, llama

SUFFIXES = [[21, 22, 23], [31], [41, 42], [51, 52, 53, 54]]
ROWS = (1, 0, 1, 2)
OPTIONS = [[(7,), (8, 9, 10), (11, 12)]] * len(ROWS)


class Words:
    """A tokenizer whose tokens are numbers."""

    pad_token_id = 0

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        del skip_special_tokens
        return " ".join(map(str, ids))


def batch(model: Any, rows: list[list[int]]) -> dict[str, torch.Tensor]:
    single = [{"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids)).long()} for ids in rows]
    return left_padded(single, 0, model)


@pytest.mark.parametrize("together", [True, False], ids=["prefilled together", "prefilled alone"])
@pytest.mark.parametrize("beams", [1, 3])
def test_answers_are_those_without_a_prefix(together: bool, beams: int, prompts: list[list[int]]) -> None:
    model = llama()
    heads = prompts[:3]
    whole = [[*heads[row], *suffix] for row, suffix in zip(ROWS, SUFFIXES, strict=True)]
    starts = batch(model, [heads[row] for row in ROWS])
    if together:
        starts = {name: part[list(ROWS)] for name, part in batch(model, heads).items()}
    prefilled = [heads] if together else [[head] for head in heads]
    prefixes = tuple(prefill(model, batch(model, rows)) for rows in prefilled)
    before = [part.clone() for one in prefixes for layer in one.cache.layers for part in (layer.keys, layer.values)]
    inputs, prefix = concatenated(starts, batch(model, SUFFIXES)), BatchedPrefix(prefixes=prefixes, rows=ROWS)
    assert prefix.positions == starts["input_ids"].shape[1]
    generator, ranker = TextGenerator(model, Words()), OptionRanker(model, 0)
    decoding = Decoding(max_new_tokens=8, beams=beams)
    for _ in range(2):
        assert generator.generate(inputs, decoding, prefix) == generator.generate(batch(model, whole), decoding)
        for found, expected in zip(
            ranker.rank(inputs, OPTIONS, prefix), ranker.rank(batch(model, whole), OPTIONS), strict=True
        ):
            assert found == pytest.approx(expected, abs=1e-3)
    after = [part for one in prefixes for layer in one.cache.layers for part in (layer.keys, layer.values)]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_layers_that_forget_tokens_are_found() -> None:
    assert forgetful_layers(llama()) == []
    assert forgetful_layers(gemma()) == ["DynamicSlidingWindowLayer"]


def test_stop_strings_and_end_tokens() -> None:
    model = llama()
    generator = TextGenerator(model, Words())
    inputs = batch(model, [[5, 6, 7]])
    [free] = generator.generate(inputs, Decoding(max_new_tokens=6))
    assert (free.finish, free.new_tokens, free.text) == ("length", 6, " ".join(map(str, free.ids)))
    stop = f" {free.ids[2]}"
    [cut] = generator.generate(inputs, Decoding(max_new_tokens=6, stop=(stop,)))
    assert (cut.finish, cut.text) == ("stop", free.text[: free.text.index(stop)])
    assert cut.new_tokens < 6
    model.generation_config.eos_token_id = [2, free.ids[3]]
    [ended] = TextGenerator(model, Words()).generate(inputs, Decoding(max_new_tokens=6))
    place = free.ids.index(free.ids[3])
    assert (ended.finish, ended.ids, ended.new_tokens) == ("stop", free.ids[:place], place + 1)


@pytest.mark.parametrize("side", ["left", "right"])
def test_embeddings_are_padded_on_one_side(side: Any) -> None:
    rows = [torch.ones(2, 4), torch.full((3, 4), 2.0)]
    made = padded_embeddings(rows, side)
    assert made["inputs_embeds"].shape == (2, 3, 4)
    assert made["attention_mask"].tolist() == [[0, 1, 1] if side == "left" else [1, 1, 0], [1, 1, 1]]
    assert torch.equal(made["inputs_embeds"][0][made["attention_mask"][0].bool()], rows[0])
    assert made["inputs_embeds"][0][~made["attention_mask"][0].bool()].sum() == 0
