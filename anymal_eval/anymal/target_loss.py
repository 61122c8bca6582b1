"""The cross-entropy of targets: logits are computed at the positions that predict one, and of few positions at a time.

All logits of a batch are by far the largest tensor of a training step: 4,096 positions of a vocabulary of 128,256 are
2 GiB in float32, and the loss keeps several of them. Captions and instructions have a target at few positions. Where
they have many, each part of them is computed again in the backward pass.

Shapes:  b rows · t positions · n targets · d width · v vocabulary
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from anymal_eval.generation import replaced_forward

PART_BYTES = 64 << 20  # of the logits, in float32, that are alive at once
_PROBE = 96.0  # exact in 16 bits; no class that caps or scales its logits leaves it as it is


def target_losses(model: Any, inputs: Mapping[str, Tensor], predicting: Tensor, targets: Tensor) -> Tensor:
    """The cross-entropy of each target.

    Args:
        model: a causal LM with an output head, with or without adapters.
        inputs: of its forward pass; (b, t, ...).
        predicting: (n,), positions counted through all rows, each before its target.
        targets: (n,).

    Returns:
        (n,) in float32, with gradients.
    """
    head = model.get_output_embeddings()
    if not _ends_with(model, head, inputs["inputs_embeds"]):
        logits = _class_logits(model, head, inputs, predicting)
        return cross_entropy(logits.float(), targets.to(logits.device), reduction="none")
    hidden = _hidden(model, head, inputs).flatten(0, 1)
    # The head may lie on another device than the embeddings.
    hidden, targets = hidden[predicting.to(hidden.device)], targets.to(hidden.device)
    rows = max(1, PART_BYTES // (4 * int(head.out_features)))
    parts = list(zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True))
    if len(parts) < 2 or not torch.is_grad_enabled():
        return torch.cat([_losses(head, *part) for part in parts])
    return torch.cat([checkpoint(_losses, head, *part, use_reentrant=False) for part in parts])


def _losses(head: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(head(hidden).float(), targets, reduction="none")


def _hidden(model: Any, head: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """What the output head takes: (b, t, d)."""
    taken: list[Tensor] = []

    def forward(hidden: Tensor) -> Tensor:
        taken.append(hidden)
        return hidden[..., :1]

    with replaced_forward(head, forward):
        model(**inputs, use_cache=False)
    return taken[0]


def _class_logits(model: Any, head: Any, inputs: Mapping[str, Tensor], predicting: Tensor) -> Tensor:
    """The class's own logits at the positions: (n, v)."""
    own = head._old_forward if hasattr(head, "_hf_hook") else head.forward

    def forward(hidden: Tensor) -> Tensor:
        logits: Tensor = own(hidden.flatten(0, 1)[predicting.to(hidden.device)].unsqueeze(0))
        return logits

    with replaced_forward(head, forward):
        logits: Tensor = model(**inputs, use_cache=False).logits
    return logits[0]


def _ends_with(model: Any, head: Any, embeds: Tensor) -> bool:
    """Whether the class returns what its head gives, instead of scaling or capping it; found once for each model."""
    known = vars(model).get("_ends_with_head")
    if known is None:
        one = {
            "inputs_embeds": torch.zeros_like(embeds[:1, :1]),
            "attention_mask": torch.ones(1, 1, dtype=torch.long, device=embeds.device),
            "position_ids": torch.zeros(1, 1, dtype=torch.long, device=embeds.device),
        }
        # Dropout of adapters draws numbers: the training's own must stay the same with and without this pass.
        devices = [embeds.device] if embeds.device.type == "cuda" else []
        with (
            torch.no_grad(),
            torch.random.fork_rng(devices),
            replaced_forward(head, lambda hidden: torch.full_like(hidden[..., :2], _PROBE)),
        ):
            found = model(**one, use_cache=False).logits
        known = model._ends_with_head = _is_probe(found)
    return bool(known)


def _is_probe(found: Tensor) -> bool:
    from torch._subclasses.fake_tensor import FakeTensor

    # An estimate has no numbers. Nearly all classes end with their head.
    return isinstance(found, FakeTensor) or bool((found == _PROBE).all())
