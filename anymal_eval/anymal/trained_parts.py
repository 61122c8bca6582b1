"""The parts of a network that a training may train: the projector of each medium, and the adapters."""

import torch
from torch import nn

LORA = "lora"


def part_of(name: str) -> str:
    """The part that a weight belongs to; empty for one that is always frozen.

    >>> part_of("network.projectors.image.proj.weight"), part_of("network.llm.model.0.q_proj.lora_A.default.weight")
    ('image', 'lora')
    """
    if "lora_" in name:
        return LORA
    return name.partition("projectors.")[2].partition(".")[0]


def to_bf16(network: nn.Module) -> None:
    """Turn the trained weights, which take gradients, into bf16."""
    for value in network.parameters():
        if value.requires_grad:
            value.data = value.data.to(torch.bfloat16)
