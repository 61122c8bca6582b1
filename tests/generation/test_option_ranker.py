"""Options are scored in float32 whatever the model computes in, and by the class's own rules."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch.nn.functional import linear

from anymal_eval.errors import BadLogits
from anymal_eval.generation import OptionRanker, left_padded
from anymal_eval.generation.logits import float32_head
from tests.generation.conftest import VOCABULARY, gemma, llama, t5

BF16 = torch.bfloat16
Model = Callable[[torch.dtype], Any]


def batch(model: Any, prompts: Sequence[list[int]]) -> dict[str, torch.Tensor]:
    rows = [{"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids)).long()} for ids in prompts]
    return left_padded(rows, 0, model)


def scored(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Log p from hidden states: the head in float32, then the cap that the configuration names."""
    logits = linear(hidden.float(), model.get_output_embeddings().weight.float())
    cap = getattr(model.config, "final_logit_softcapping", None)
    return (logits if cap is None else cap * torch.tanh(logits / cap)).log_softmax(dim=-1)


@pytest.mark.parametrize("make", [llama, gemma])
@torch.no_grad()
def test_bf16_scores_are_those_of_a_float32_head(make: Model, prompts: list[list[int]]) -> None:
    model = make(BF16)
    inputs = batch(model, prompts)
    options = [[(token,), (token + 1,)] for token in range(10, 10 + len(prompts))]
    positions = (inputs["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)
    first = scored(model, model.model(**inputs, position_ids=positions).last_hidden_state[:, -1])
    expected = [[float(first[row, token]) for (token,) in own] for row, own in enumerate(options)]
    torch.testing.assert_close(
        torch.tensor(OptionRanker(model, 0).rank(inputs, options)), torch.tensor(expected), rtol=0, atol=1e-5
    )


@torch.no_grad()
def test_bf16_scores_of_longer_options(prompts: list[list[int]]) -> None:
    model = llama(BF16)
    options = [(11, 21, 31), (12, 22, 32)]
    inputs = batch(model, prompts[:1])
    prefill = model.model(**inputs, use_cache=True)
    cache = prefill.past_key_values
    cache.batch_select_indices(torch.tensor([0, 0]))
    given = torch.tensor([option[:-1] for option in options])
    rest = scored(model, model.model(input_ids=given, past_key_values=cache).last_hidden_state)
    first = scored(model, prefill.last_hidden_state[0, -1])
    expected = tuple(
        float(first[option[0]] + rest[row, 0, option[1]] + rest[row, 1, option[2]])
        for row, option in enumerate(options)
    )
    [found] = OptionRanker(model, 0).rank(inputs, [options])
    assert found == pytest.approx(expected, abs=1e-5)
    whole = model.model(input_ids=torch.tensor([[*prompts[0], *options[0]]])).last_hidden_state[0, -4:-1]
    alone = float(scored(model, whole)[range(3), options[0]].sum())
    [by_whole_prompts] = OptionRanker(model, 0).rank_whole_prompts(inputs, options[:1])
    assert by_whole_prompts == pytest.approx(alone, abs=1e-5)


@torch.no_grad()
def test_bf16_scores_of_an_encoder_decoder(prompts: list[list[int]]) -> None:
    model = t5(BF16)
    ids = torch.tensor(prompts[:1])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    options = [(11, 1), (12, 1)]
    encoded = model.get_encoder()(**inputs)
    given = torch.tensor([[0, option[0]] for option in options])
    decoded = model.get_decoder()(
        input_ids=given, encoder_hidden_states=encoded.last_hidden_state[[0, 0]],
        encoder_attention_mask=inputs["attention_mask"][[0, 0]],
    ).last_hidden_state  # fmt: skip
    if model.config.tie_word_embeddings:
        decoded = decoded * model.model_dim**-0.5
    scores = scored(model, decoded)
    expected = [float(scores[row, 0, option[0]] + scores[row, 1, option[1]]) for row, option in enumerate(options)]
    [found] = OptionRanker(model, 0).rank(inputs, [options])
    assert found == pytest.approx(expected, abs=1e-5)


def ties(scores: Sequence[Sequence[float]]) -> int:
    return sum(len(set(sorted(own)[-2:])) == 1 for own in scores)


@torch.no_grad()
def test_float32_scores_tie_less() -> None:
    drawn = torch.Generator().manual_seed(2)
    model = llama(BF16)
    head = model.get_output_embeddings().weight
    # Tokens share much of their logits, as in trained models.
    head.mul_(0.1).add_(torch.randn(head.shape[1], generator=drawn).to(BF16))
    prompts = torch.randint(3, VOCABULARY, (400, 8), generator=drawn).tolist()
    inputs = batch(model, prompts)
    options = [[(int(token),) for token in torch.randperm(VOCABULARY, generator=drawn)[:4]] for _ in prompts]
    logits = model(**inputs).logits[:, -1].float().log_softmax(dim=-1)
    before = ties([[float(logits[row, token]) for (token,) in own] for row, own in enumerate(options)])
    after = ties(OptionRanker(model, 0).rank(inputs, options))
    print(f"ties of the two best of four options in {len(prompts)} rows: {before} with a bf16 head, {after} in float32")
    assert before > 4
    assert after == 0


@pytest.mark.parametrize("make", [llama, gemma])
@torch.no_grad()
def test_float32_models_are_left_alone(make: Model, prompts: list[list[int]]) -> None:
    model = make(torch.float32)
    with float32_head(model):
        assert "forward" not in vars(model.get_output_embeddings())
    inputs = batch(model, prompts)
    positions = (inputs["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)
    scores = model(**inputs, position_ids=positions, logits_to_keep=1).logits[:, -1].log_softmax(dim=-1)
    found = OptionRanker(model, 0).rank(inputs, [[(7,), (8,)]] * len(prompts))
    assert found == [(float(row[7]), float(row[8])) for row in scores]


@torch.no_grad()
def test_the_head_is_restored_after_an_error(prompts: list[list[int]]) -> None:
    model = llama(BF16)
    inputs = batch(model, prompts[:2])
    embeds = model.get_input_embeddings()(inputs.pop("input_ids"))
    embeds[1, -1] = torch.nan
    with pytest.raises(BadLogits, match=r"rows \[1\] of 2"):
        OptionRanker(model, 0).rank({**inputs, "inputs_embeds": embeds}, [[(5,)]] * 2)
    assert "forward" not in vars(model.get_output_embeddings())
    assert model(input_ids=torch.tensor([[5]])).logits.dtype == BF16


@torch.no_grad()
def test_a_head_that_accelerate_offloads(prompts: list[list[int]]) -> None:
    accelerate: Any = pytest.importorskip("accelerate")
    options = [[(11,), (12, 13)]] * len(prompts)
    plain = llama(BF16)
    expected = OptionRanker(plain, 0).rank(batch(plain, prompts), options)
    offloaded = accelerate.cpu_offload(llama(BF16), execution_device=torch.device("cpu"))
    assert offloaded.get_output_embeddings().weight.device.type == "meta"
    inputs = batch(plain, prompts)
    ranker = OptionRanker(offloaded, 0)
    assert ranker.rank(inputs, options) == expected
    assert ranker.rank(inputs, options) == expected
