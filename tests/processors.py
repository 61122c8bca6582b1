"""What the processor under the tests can do, as torch sees it."""

import functools

import pytest
import torch


@functools.cache
def has_bf16_attention() -> bool:
    """Whether torch computes attention in bf16 over many positions.

    It does everywhere but where ``ATEN_CPU_CAPABILITY`` forbids AVX-512 on a processor with AMX: torch then picks a
    kernel that it has not compiled, and raises.
    """
    query = torch.zeros(1, 1, 64, 16, dtype=torch.bfloat16)
    try:
        torch.nn.functional.scaled_dot_product_attention(query, query, query)
    except RuntimeError:
        return False
    return True


needs_bf16_attention = pytest.mark.skipif(
    not has_bf16_attention(), reason="torch has no attention in bf16 under this ATEN_CPU_CAPABILITY"
)
