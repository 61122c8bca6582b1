"""Batches of rows of different lengths.

Decoder-only models are padded on the left, so that generation continues each row right where it ends.

Shapes:  b rows · t positions · d width of the language model
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from anymal_eval.generation.devices import to_device

if TYPE_CHECKING:
    from torch import Tensor

# Inputs with one entry for each position of the text: these are padded with it.
SEQUENCES = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "cross_attention_mask")


def left_padded(rows: Sequence[Mapping[str, Any]], pad_id: int, model: Any) -> dict[str, Any]:
    """One batch out of the inputs of single requests.

    Args:
        rows: what a processor or tokenizer made of each request, with a batch dimension of its own.
        pad_id: the id to pad ``input_ids`` with; all other sequences are padded with 0.
        model: the batch goes to its device and, where it is floating point, its precision.

    Returns:
        The sequences (b, t), padded on the left; all other tensors concatenated.
    """
    import torch

    longest = max(row["input_ids"].shape[1] for row in rows)
    batch: dict[str, Any] = {}
    for name, first in rows[0].items():
        parts = [row[name] for row in rows]
        if name in SEQUENCES:
            filler = pad_id if name == "input_ids" else 0
            parts = [_left_padded(part, longest, filler) for part in parts]
        joint = torch.cat(parts) if torch.is_tensor(first) else first
        if torch.is_tensor(joint):
            joint = to_device(joint, model.device, model.dtype if joint.is_floating_point() else None)
        batch[name] = joint
    return batch


def padded_embeddings(rows: Sequence[Tensor], side: Literal["left", "right"] = "left") -> dict[str, Tensor]:
    """One batch out of rows of embeddings (t_i, d): ``inputs_embeds`` (b, t, d) and ``attention_mask`` (b, t)."""
    import torch
    from torch.nn.functional import pad

    longest = max(map(len, rows))
    gaps = [(0, 0, longest - len(row), 0) if side == "left" else (0, 0, 0, longest - len(row)) for row in rows]
    embeds = torch.stack([pad(row, gap) for row, gap in zip(rows, gaps, strict=True)])
    mask = torch.zeros(len(rows), longest, dtype=torch.long, device=embeds.device)
    for place, row in enumerate(rows):
        mask[place, slice(longest - len(row), None) if side == "left" else slice(len(row))] = 1
    return {"inputs_embeds": embeds, "attention_mask": mask}


def concatenated(*parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same rows' inputs one after the other: a prefix (b, t_1, ...) and what follows it (b, t_2, ...).

    Padding may end up between the parts; positions count tokens only, so it changes nothing.
    """
    import torch

    return {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}


def position_ids(mask: Tensor) -> Tensor:
    """(b, t) mask -> (b, t): each row counts its own tokens from 0, padding aside."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def _left_padded(part: Tensor, length: int, filler: int) -> Tensor:
    import torch

    shape = (part.shape[0], length - part.shape[1], *part.shape[2:])
    return torch.cat([part.new_full(shape, filler), part], dim=1)
