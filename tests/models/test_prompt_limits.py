"""Prompts that are too long for a model or for the memory: one error row each, before anything is computed."""

import json
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.anymal import tiny
from anymal_eval.engine import EngineSettings
from anymal_eval.engine.local import run_requests
from anymal_eval.errors import ContextTooLong, OutOfMemory
from anymal_eval.generation import RowShape
from anymal_eval.models import choose_model
from anymal_eval.models._prompt_limits import PromptLimits
from anymal_eval.records import Decoding, Response
from tests.models import tiny_models
from tests.models.example_requests import request

WORDS = "red dog on a table "


class Config:
    """What the limits read of a configuration."""

    def __init__(self, **keys: Any) -> None:
        self.is_encoder_decoder = True
        self.model_type = "t5"
        self.hidden_size, self.num_attention_heads, self.num_hidden_layers, self.vocab_size = 64, 8, 2, 100
        self.__dict__ |= keys

    def get_text_config(self) -> "Config":
        return self


class Network:
    def __init__(self, **keys: Any) -> None:
        import torch

        self.config, self.dtype, self.device = Config(**keys), torch.float32, torch.device("cpu")

    def forward(self) -> None: ...


class Tokenizer:
    def __init__(self, length: object) -> None:
        self.model_max_length = length


@pytest.mark.parametrize(
    ("keys", "length", "context", "expected"),
    [
        ({}, 512, 0, 2048),  # FlanT5: relative positions, trained with 512 tokens
        ({"n_positions": 1024}, 512, 0, 4096),
        ({}, 10**30, 0, 2048),  # a tokenizer that knows no length
        ({}, None, 0, 2048),
        ({"max_position_embeddings": 1024}, 10**30, 0, 1024),  # BART: positions that are stored
        ({}, 512, 9000, 9000),
        ({"max_position_embeddings": 1024}, 512, 300, 300),
    ],
)
def test_encoder_decoders_have_a_bound(keys: dict[str, int], length: object, context: int, expected: int) -> None:
    limits = PromptLimits(Network(**keys), Tokenizer(length), context, 1 << 40)
    asking = request("1", [], "what", decoding=Decoding(max_new_tokens=5000))
    assert limits.context == expected
    limits.require(asking, expected)  # the answer has positions of its own
    with pytest.raises(ContextTooLong, match=rf"{expected + 1} tokens is too long: the model reads {expected} "):
        limits.require(asking, expected + 1)


def test_decoders_leave_room_for_the_answer() -> None:
    limits = PromptLimits(
        Network(is_encoder_decoder=False, max_position_embeddings=100, model_type="llama"), Tokenizer(512), 0, 1 << 40
    )
    asking = request("1", [], "what", decoding=Decoding(max_new_tokens=8))
    limits.require(asking, 92)
    with pytest.raises(ContextTooLong, match=r"too long: its 93 tokens and 8 new ones make 101, .* context is 100"):
        limits.require(asking, 93)


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blip2") / "t5"
    tiny_models.blip2(folder, "t5")
    return folder


@pytest.mark.parametrize("candidates", [(), ("yes", "no")])
def test_24000_tokens_on_an_encoder_decoder_are_one_error_row(t5: Path, candidates: tuple[str, ...]) -> None:
    model = choose_model(f"blip2:{t5}", {}).load()
    requests = [
        request(str(number), [], text, candidates=candidates)
        for number, text in enumerate(("what is this", WORDS * 6000, "is it red"))
    ]
    found: dict[str, Response] = {}
    run_requests(requests, model, lambda got: found.update({one.id: one for one in got}), EngineSettings())
    model.close()
    failure = found["1"].failure
    assert failure is not None
    assert failure.kind == "context"
    assert "is too long: the model reads 2048 (4 times its trained length of 512; -o context=N" in failure.message
    assert found["0"].failure is None
    assert found["2"].failure is None


def test_the_option_sets_the_bound(t5: Path) -> None:
    model = choose_model(f"blip2:{t5}", {"context": "6"}).load()
    with pytest.raises(ContextTooLong, match=r"the model reads 6 \(-o context\)"):
        model.prepare(request("1", [], "what is this red dog on a table"))
    model.close()


@pytest.mark.parametrize("kind", ["blip2", "anymal"])
def test_a_prompt_that_memory_does_not_hold_is_refused_and_others_are_divided(
    t5: Path, tmp_path: Path, kind: str
) -> None:
    typed = f"blip2:{t5}" if kind == "blip2" else f"anymal:{tiny.write(tmp_path)}"
    model: Any = choose_model(typed, {}).load()
    calls: list[int] = []
    real: Any = model.answer
    real_each: Any = getattr(model, "answer_each", None)  # which BLIP-2 lacks

    def counting(batch: Any) -> Any:
        calls.append(len(batch))
        return real(batch)

    def counting_each(batch: Any, more: Any) -> Any:
        calls.append(len(batch))
        return real_each(batch, more)

    model.answer = counting
    if real_each is not None:
        model.answer_each = counting_each
    requests = [request(str(number), [], text) for number, text in enumerate(["red dog"] * 8 + [WORDS * 30])]
    short = max(model.prepare(one).prefix_tokens + model.prepare(one).suffix_tokens for one in requests[:8])
    shape = RowShape(prompt=short, new=requests[0].decoding.max_new_tokens)
    model.memory_forecast.budget = model.memory_forecast.bytes(3, shape)
    found: dict[str, Response] = {}
    run_requests(requests, model, lambda got: found.update({one.id: one for one in got}), EngineSettings(batch_size=8))
    model.close()
    failure = found["8"].failure
    assert failure is not None
    assert failure.kind == OutOfMemory.kind
    assert "is too long: computing it takes about" in failure.message
    # Three rows fit. A batch of eight is halved until it does; where rows leave, the others come again in new batches.
    assert calls == ([2, 2, 2, 2] if kind == "blip2" else [2, 3, 3])
    assert all(found[str(number)].failure is None for number in range(8))
    assert json.dumps(failure.message).isascii()
