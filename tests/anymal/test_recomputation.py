"""Gradient checkpointing: on where the device is too small without it, and the same gradients either way."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from anymal_eval.anymal import checkpoint
from anymal_eval.anymal.backbones import placed
from anymal_eval.anymal.config import LoraConfig
from anymal_eval.anymal.conversation import Prompt
from anymal_eval.anymal.llm import recompute_activations
from anymal_eval.anymal.memory import Estimate
from anymal_eval.anymal.model import create
from anymal_eval.anymal.recomputation import GIB, Setting, choose, device_memory
from anymal_eval.checkpoints.loading import Loading


def estimate_of(recompute: bool) -> Estimate:
    """52 GiB where activations are recomputed, 155 where they are kept."""
    kept = (12 if recompute else 115) * GIB
    return Estimate(
        weights={"llm": {"nf4": 40 * GIB}}, kv_cache=0, activations=kept, working=0, gradients=0, optimiser=0
    )


@pytest.mark.parametrize(
    ("setting", "memory", "recompute", "line", "warning"),
    [
        ("auto", 80, True, "gradient checkpointing: on; without it a step takes 155.0 GiB of 80.0 GiB", ""),
        ("auto", 192, False, "gradient checkpointing: off", ""),
        ("auto", 160, True, "gradient checkpointing: on; without it a step takes 155.0 GiB of 160.0 GiB", ""),
        ("auto", 48, True, "on; without it", "52.0 GiB are more than the device's 48.0 GiB: compute fewer rows"),
        ("auto", 54, True, "on; without it", "52.0 GiB are nearly all of the device's 54.0 GiB"),
        ("auto", None, False, "gradient checkpointing: off; with --memory GIB it is on where it is needed", ""),
        ("off", 80, False, "gradient checkpointing: off", "155.0 GiB are more than the device's 80.0 GiB"),
        ("on", 192, True, "gradient checkpointing: on", ""),
    ],
)
def test_it_is_on_where_it_is_needed(
    setting: Setting, memory: int | None, recompute: bool, line: str, warning: str
) -> None:
    found = choose(estimate_of, setting, memory and memory * GIB)
    assert (found.recompute, found.estimate) == (recompute, estimate_of(recompute))
    assert line in found.line
    assert found.warning.startswith(warning)
    assert bool(found.warning) == bool(warning)


def test_the_memory_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_memory("cuda", 80.0) == 80 * GIB
    assert device_memory("cpu", 0.5) == GIB // 2
    assert device_memory("cpu", None) is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_memory("cuda", None) is None


def gradients(folder: Path, recompute: bool) -> dict[str, Tensor]:
    config = placed(checkpoint.read(folder))
    image: Any = {"image": config.modalities["image"]}
    torch.manual_seed(0)
    own = replace(config, modalities=image, lora=LoraConfig(rank=2, alpha=4, dropout=0.5))
    network = create(own, Loading()).train()
    for name, value in network.named_parameters():
        if "lora_B" in name:  # zeros at first, which would hide the gradients of lora_A
            torch.nn.init.normal_(value)
    for layer in recompute_activations(network.llm.model) if recompute else ():
        layer.training = True
    torch.manual_seed(1)
    tokens = network.project("image", network.encode("image", [torch.randn(1, 3, 32, 32)]))
    network.loss(network.rows([Prompt(pieces=((), (5, 6)), media=("image",))], [tokens], [(7, 8)])).backward()  # type: ignore[no-untyped-call]
    return {name: value.grad for name, value in network.named_parameters() if value.grad is not None}


def test_gradients_are_the_same(tiny_folder: Path) -> None:
    plain, recomputed = (gradients(tiny_folder / "checkpoint", recompute) for recompute in (False, True))
    assert plain.keys() == recomputed.keys()
    assert sum("lora_" in name for name in plain) > 10
    for name, value in plain.items():
        assert value.abs().max() > 0, name
        torch.testing.assert_close(recomputed[name], value, rtol=0, atol=1e-7)
