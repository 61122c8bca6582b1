"""The loss of targets equals that over all logits of the class, and few logits are alive at once."""

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import cross_entropy

from anymal_eval.anymal import target_loss
from anymal_eval.anymal.config import LoraConfig
from anymal_eval.anymal.lora import attach
from anymal_eval.anymal.target_loss import Tail

SIZES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 97, "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
CLASSES: dict[str, dict[str, Any]] = {
    "llama": {},
    "gemma2": {"head_dim": 8, "final_logit_softcapping": 2.0},  # capped
    "cohere": {"logit_scale": 0.25},  # scaled
    "granite": {"logits_scaling": 3.0},
    "qwen3": {"head_dim": 8},
}
ROWS, POSITIONS = 3, 11


def model_of(name: str, precision: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(name, **SIZES, **CLASSES[name])
    made: Any = transformers.AutoModelForCausalLM
    return made.from_config(config, dtype=precision).eval()


def batch() -> tuple[dict[str, Tensor], Tensor]:
    """Rows of 11, 7 and 4 tokens, padded on the left, and their targets; the second row answers twice."""
    torch.manual_seed(2)
    mask = torch.ones(ROWS, POSITIONS, dtype=torch.long)
    mask[1, :4], mask[2, :7] = 0, 0
    targets = torch.full((ROWS, POSITIONS), -100)
    for row, places in enumerate(([8, 9, 10], [6, 9, 10], [10])):
        targets[row, places] = torch.randint(1, 97, (len(places),))
    inputs = {
        "inputs_embeds": torch.randn(ROWS, POSITIONS, 32, requires_grad=True),
        "attention_mask": mask,
        "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
    }
    return inputs, targets


def by_all_logits(model: Any, inputs: dict[str, Tensor], targets: Tensor) -> Tensor:
    logits = model(**inputs, use_cache=False).logits
    return cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=-100, reduction="none")


def of_targets(model: Any, inputs: dict[str, Tensor], targets: Tensor) -> Tensor:
    predicting = (targets.flatten() != -100).nonzero().flatten() - 1
    return target_loss.target_losses(model, inputs, predicting, targets.flatten()[predicting + 1])


@pytest.mark.parametrize("part", [1, 1 << 30])
@pytest.mark.parametrize("name", sorted(CLASSES))
def test_equals_the_loss_over_all_logits(name: str, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_loss, "PART_BYTES", part)
    model, (inputs, targets) = model_of(name), batch()
    whole = by_all_logits(model, inputs, targets)
    (wanted,) = torch.autograd.grad(whole.sum(), inputs["inputs_embeds"])
    found = of_targets(model, inputs, targets)
    (gradient,) = torch.autograd.grad(found.sum(), inputs["inputs_embeds"])
    torch.testing.assert_close(found, whole[targets[:, 1:].flatten() != -100], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-7)
    assert "forward" not in vars(model.get_output_embeddings())


def test_adapters_on_the_head_are_part_of_it() -> None:
    model, (inputs, targets) = model_of("llama"), batch()
    model = attach(model, LoraConfig(rank=2, alpha=4, targets=("lm_head", "q_proj"), dropout=0.0))
    for name, value in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(value)
    whole = by_all_logits(model, inputs, targets)[targets[:, 1:].flatten() != -100]
    found = of_targets(model, inputs, targets)
    torch.testing.assert_close(found, whole, rtol=1e-6, atol=1e-6)
    weights = [value for value in model.parameters() if value.requires_grad]
    for one, other in zip(
        torch.autograd.grad(found.sum(), weights), torch.autograd.grad(whole.sum(), weights), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_few_logits_are_computed_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_loss, "PART_BYTES", 2 * 4 * 97)
    model, (inputs, targets) = model_of(name), batch()
    rows: list[int] = []
    model.lm_head.register_forward_hook(lambda layer, given, made: rows.append(made.shape[0]))
    of_targets(model, inputs, targets).sum().backward()  # type: ignore[no-untyped-call]
    rows = rows[2:]  # before: a look at what the class does with its logits, and the pass that gives hidden states
    assert rows[:4] == [2, 2, 2, 1]
    assert sorted(rows[4:]) == [1, 2, 2, 2]  # once more in the backward pass, and never more


def tail_in(model: Any, embeds: Tensor) -> Tail | None:
    return target_loss.tail_of(model, model.get_output_embeddings(), embeds)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_what_classes_do_with_their_logits(precision: torch.dtype) -> None:
    """An estimate, whose tensors have no numbers, finds the same."""
    wanted = {"cohere": Tail("multiply", 0.25), "gemma2": Tail("cap", 2.0), "granite": Tail("divide", 3.0)}
    for name in CLASSES:
        embeds = torch.zeros(1, 1, 32, dtype=precision)
        assert tail_in(model_of(name, precision), embeds) == wanted.get(name, Tail())
        with FakeTensorMode():
            assert tail_in(model_of(name, precision), torch.zeros(1, 1, 32, dtype=precision)) == wanted.get(
                name, Tail()
            )


def test_unknown_tails_take_the_logits_of_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that has a known field, and does another thing with it."""
    granite = type(model_of("granite"))
    forward = granite.forward

    def other(self: Any, **given: Any) -> Any:
        made = forward(self, **given)
        made.logits = made.logits.sinh()
        return made

    monkeypatch.setattr(granite, "forward", other)
    monkeypatch.setattr(target_loss, "PART_BYTES", 1)
    model, (inputs, targets) = model_of("granite"), batch()
    whole = by_all_logits(model, inputs, targets)[targets[:, 1:].flatten() != -100]
    torch.testing.assert_close(of_targets(model, inputs, targets), whole, rtol=1e-6, atol=1e-6)
    assert tail_in(model, inputs["inputs_embeds"]) is None
    with FakeTensorMode():
        assert tail_in(model_of("granite"), torch.zeros(1, 1, 32)) is None
