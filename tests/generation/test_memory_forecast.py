"""What a batch will take, against every tensor that real models then hold."""

import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import transformers

from anymal_eval.anymal.live_bytes import LiveBytes
from anymal_eval.engine.batching import BatchLimits, shape_of
from anymal_eval.engine.local import answer
from anymal_eval.errors import OutOfMemory
from anymal_eval.generation import MemoryForecast, OptionRanker, RowShape
from anymal_eval.models import PlainText, Prepared
from anymal_eval.records import Decoding, Message, Request, Response
from tests.conftest import ROOT
from tests.processors import needs_bf16_attention

hub: Any = transformers
SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 8}
COMMON = {**SIZES, "vocab_size": 1000, "bos_token_id": 1, "eos_token_id": 2}
MAKERS: dict[str, Callable[[], Any]] = {
    "t5": lambda: hub.T5ForConditionalGeneration(
        hub.T5Config(d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=8, vocab_size=1000,
                     decoder_start_token_id=0, pad_token_id=0, eos_token_id=1)),
    "bart": lambda: hub.BartForConditionalGeneration(
        hub.BartConfig(d_model=64, encoder_ffn_dim=128, decoder_ffn_dim=128, encoder_layers=2, decoder_layers=2,
                       encoder_attention_heads=8, decoder_attention_heads=8, vocab_size=1000)),
    "llama": lambda: hub.LlamaForCausalLM(hub.LlamaConfig(num_key_value_heads=2, **COMMON)),
    "llama-eager": lambda: hub.LlamaForCausalLM._from_config(
        hub.LlamaConfig(num_key_value_heads=2, **COMMON), attn_implementation="eager"),
    "qwen2-bf16": lambda: hub.Qwen2ForCausalLM(hub.Qwen2Config(num_key_value_heads=2, **COMMON)).to(torch.bfloat16),
    "opt": lambda: hub.OPTForCausalLM(
        hub.OPTConfig(hidden_size=64, ffn_dim=128, num_hidden_layers=2, num_attention_heads=8, vocab_size=1000,
                      max_position_embeddings=2048, word_embed_proj_dim=64)),
    "bloom": lambda: hub.BloomForCausalLM(hub.BloomConfig(hidden_size=64, n_layer=2, n_head=8, vocab_size=1000)),
}  # fmt: skip
BATCHES = [(1, 256, 1), (2, 256, 1), (3, 700, 1), (2, 256, 4), (8, 32, 1)]


def counted(model: Any, rows: int, prompt: int, beams: int) -> int:
    """The most bytes of tensors alive at once, weights aside."""
    drawn = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 999, (rows, prompt), generator=drawn)
    mask = torch.ones_like(ids)
    if rows > 1:
        mask[-1, -5:] = 0
    if not model.config.is_encoder_decoder:
        mask = mask.flip(1)
    with torch.no_grad(), LiveBytes([*model.parameters(), *model.buffers()]) as live:
        model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=4, min_new_tokens=4, num_beams=beams, do_sample=False,
            pad_token_id=0,
        )  # fmt: skip
    return int(live.peak)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_bf16_attention) if name.endswith("bf16") else name for name in MAKERS]
)
def test_it_is_never_short_and_seldom_far_off(name: str) -> None:
    torch.manual_seed(0)
    model = MAKERS[name]().eval()
    forecast = MemoryForecast(model, 1 << 30)
    for rows, prompt, beams in BATCHES:
        expected = forecast.bytes(rows, RowShape(prompt=prompt, new=4, beams=beams))
        held = counted(model, rows, prompt, beams)
        assert held <= expected <= 3.2 * held, (rows, prompt, beams, expected / held)


@pytest.mark.parametrize("name", ["t5", "llama"])
def test_rows_fill_the_budget_and_no_more(name: str) -> None:
    model = MAKERS[name]()
    for prompt in (10, 100, 1000, 10_000):
        shape = RowShape(prompt=prompt, new=8)
        budget = MemoryForecast(model, 0).bytes(5, shape)
        forecast = MemoryForecast(model, budget)
        assert forecast.rows(shape) == 5
        assert forecast.bytes(5, shape) <= budget < forecast.bytes(6, shape)
        assert MemoryForecast(model, budget - 1).rows(shape) == 4
    forecast = MemoryForecast(model, 1 << 20)
    with pytest.raises(OutOfMemory, match=r"prompt of 24000 tokens is too long: computing it takes about [\d.]+ GiB"):
        forecast.require(RowShape(prompt=24_000))
    forecast.require(RowShape(prompt=10))


def test_a_prompt_of_24000_tokens_on_flan_t5_xl() -> None:
    """The prompt of the report: 32 heads that each hold 24,000 x 24,000 numbers took a machine's memory."""
    config = hub.T5Config(
        d_model=2048, d_kv=64, d_ff=5120, num_layers=24, num_heads=32, decoder_start_token_id=0, pad_token_id=0
    )
    with torch.device("meta"):
        model = hub.T5ForConditionalGeneration(config)
    forecast = MemoryForecast(model, 64 << 30)
    one_matrix = 32 * 24_000**2 * 4
    assert forecast.bytes(1, RowShape(prompt=24_000)) > 2 * one_matrix
    assert forecast.rows(RowShape(prompt=24_000)) == 0
    assert forecast.rows(RowShape(prompt=512, new=10)) >= 64


def test_options_share_a_prompts_cache_only_as_far_as_it_fits() -> None:
    """64 options of one prompt of 4,000 tokens are 64 copies of its keys and values."""
    torch.manual_seed(0)
    model = MAKERS["llama"]().eval()
    keys = 2 * 2 * 2 * 8 * 4  # keys and values, layers, heads, width of a head, bytes
    forecast = MemoryForecast(model, 20 * 100 * keys)
    assert forecast.option_rows(100) == 10
    assert forecast.option_rows(1) == 64
    assert forecast.option_rows(100_000) == 1
    ids = torch.randint(3, 999, (1, 100), generator=torch.Generator().manual_seed(1))
    options = [[[number, number + 1] for number in range(3, 43)]]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    ranker = OptionRanker(model, 0)
    whole = ranker.rank(inputs, options)
    rows = []
    hook = model.register_forward_pre_hook(
        lambda _, args, given: rows.append(len(given["input_ids"])), with_kwargs=True
    )
    ranker.forecast = forecast
    parts = ranker.rank(inputs, options)
    hook.remove()
    assert rows == [1, 10, 10, 10, 10]
    assert parts[0] == pytest.approx(whole[0], abs=1e-4)


class Recorder:
    """A model that records the sizes of its batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def answer(self, batch: Sequence[Prepared]) -> list[Response]:
        self.sizes.append(len(batch))
        return [Response(id=item.request.id, answer="yes", finish="stop") for item in batch]


def test_the_engine_divides_what_does_not_fit_even_at_a_fixed_size() -> None:
    forecast = MemoryForecast(MAKERS["llama"](), 0)
    lengths = [900] * 3 + [10] * 13

    def request(number: int) -> Request:
        decoding = Decoding(max_new_tokens=4, beams=2 if number == 15 else 1)
        return Request(id=str(number), messages=(Message(role="user", parts=("x",)),), decoding=decoding)

    batch = [PlainText(request(number), suffix_tokens=length) for number, length in enumerate(lengths)]
    assert shape_of(batch) == RowShape(prompt=900, new=4, beams=2)
    forecast.budget = forecast.bytes(2, RowShape(prompt=900, new=4, beams=1))
    model: Any = Recorder()
    found = answer(model, batch, BatchLimits(16, forecast=forecast))
    assert [response.id for response in found] == [item.request.id for item in batch]
    assert model.sizes == [2, 2, 4, 8]
    for size, start in zip(model.sizes, (0, 2, 4, 8), strict=True):
        shape = shape_of(batch[start : start + size])
        assert shape is not None
        assert forecast.bytes(size, shape) <= forecast.budget


LIMITED = """
import resource, sys
from anymal_eval.generation.memory_forecast import SHARE_OF_HOST, _free, _free_of_host
import torch
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
print(_free_of_host(), _free(torch.device("cpu")))
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS"), reason="no such limit here")
def test_a_limit_of_the_process_is_no_more_than_it_can_take() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(8 << 30)], cwd=ROOT, text=True, capture_output=True, check=True
    )
    host, budget = map(int, done.stdout.split())
    assert 0 < host < 8 << 30
    assert 0 < budget <= host // 2
