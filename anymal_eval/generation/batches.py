"""One batch of what a processor made of several prompts.

Shapes:  b rows · t positions
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# What has a value for each position of the text, and so is padded with it.
SEQUENCES = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "cross_attention_mask")


def _left_padded(part: Tensor, length: int, filler: int) -> Tensor:
    import torch

    shape = (part.shape[0], length - part.shape[1], *part.shape[2:])
    return torch.cat([part.new_full(shape, filler), part], dim=1)


def joint_batch(rows: Sequence[Mapping[str, Any]], pad: int, like: Any) -> dict[str, Any]:
    """One batch: (b, t) sequences padded on the left, everything else one after the other.

    Args:
        rows: what the processor made of each request.
        pad: the id to pad with.
        like: the model, for its device and precision.
    """
    import torch

    from anymal_eval.generation.devices import to_device

    longest = max(row["input_ids"].shape[1] for row in rows)
    batch: dict[str, Any] = {}
    for name, first in rows[0].items():
        parts = [row[name] for row in rows]
        if name in SEQUENCES:
            filler = pad if name == "input_ids" else 0
            parts = [_left_padded(part, longest, filler) for part in parts]
        joint = torch.cat(parts) if torch.is_tensor(first) else first
        if torch.is_tensor(joint):
            joint = to_device(joint, like.device, like.dtype if joint.is_floating_point() else None)
        batch[name] = joint
    return batch
