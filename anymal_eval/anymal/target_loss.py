"""The cross-entropy of targets: logits are computed at the positions that predict one, and of few positions at a time.

All logits of a batch are by far the largest tensor of a training step: 4,096 positions of a vocabulary of 128,256 are
2 GiB in float32, and the loss keeps several of them. Captions and instructions have a target at few positions. Where
they have many, each part of them is computed again in the backward pass.

Shapes:  b rows · t positions · n targets · d width · v vocabulary
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from anymal_eval.generation import replaced_forward

PART_BYTES = 64 << 20  # of the logits, in float32, that are alive at once
# Head outputs by which a class shows what it does with them: exact in 16 bits, and large enough to be capped.
_PROBES = (-96.0, -3.0, -0.5, 0.25, 2.0, 96.0)
# Fields of configurations: by which logits are multiplied or divided, and at which they are capped.
_SCALES, _CAPS = ("logit_scale", "logits_scaling"), ("final_logit_softcapping", "logits_soft_cap", "softcap")

Kind = Literal["none", "multiply", "divide", "cap"]


@dataclass(frozen=True)
class Tail:
    """What a class computes of each number that its head gives: ``multiply``, ``divide``, ``cap``, or nothing."""

    kind: Kind = "none"
    number: float = 1.0

    def __call__(self, logits: Tensor) -> Tensor:
        """In the logits' own precision, as the classes do."""
        if self.kind == "cap":
            return torch.tanh(logits / self.number) * self.number
        if self.kind == "multiply":
            return logits * self.number
        return logits / self.number if self.kind == "divide" else logits


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
    tail = tail_of(model, head, inputs["inputs_embeds"])
    if tail is None:
        logits = _class_logits(model, head, inputs, predicting)
        return cross_entropy(logits.float(), targets.to(logits.device), reduction="none")
    hidden = _hidden(model, head, inputs).flatten(0, 1)
    # The head may lie on another device than the embeddings.
    hidden, targets = hidden[predicting.to(hidden.device)], targets.to(hidden.device)
    rows = max(1, PART_BYTES // (4 * int(head.out_features)))
    parts = list(zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True))
    if len(parts) < 2 or not torch.is_grad_enabled():
        return torch.cat([_losses(head, tail, *part) for part in parts])
    return torch.cat([checkpoint(_losses, head, tail, *part, use_reentrant=False) for part in parts])


def _losses(head: Any, tail: Tail, hidden: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(tail(head(hidden)).float(), targets, reduction="none")


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


def tail_of(model: Any, head: Any, embeds: Tensor) -> Tail | None:
    """What the class does with what its head gives; None where it is none of the known. Found once for each model.

    The known ones are compared with the class's own logits of a few numbers. In a memory estimate, too, where all other
    tensors have none: what comes after the head is computed outside of its mode.
    """
    if "_tail" not in vars(model):
        one = {
            "inputs_embeds": torch.zeros_like(embeds[:1, :1]),
            "attention_mask": torch.ones(1, 1, dtype=torch.long, device=embeds.device),
            "position_ids": torch.zeros(1, 1, dtype=torch.long, device=embeds.device),
        }
        # Dropout of adapters draws numbers: the training's own must stay the same with and without this pass.
        devices = [embeds.device] if embeds.device.type == "cuda" else []
        probes: list[Tensor] = []
        with ExitStack() as after_head:

            def forward(hidden: Tensor) -> Tensor:
                device = hidden.device
                if isinstance(hidden, FakeTensor):
                    after_head.enter_context(unset_fake_temporarily())
                    device = torch.device("cpu")
                probes.append(torch.tensor(_PROBES, dtype=hidden.dtype, device=device).expand(*hidden.shape[:-1], -1))
                return probes[0]

            with torch.no_grad(), torch.random.fork_rng(devices), replaced_forward(head, forward):
                found = model(**one, use_cache=False).logits
            model._tail = _matching(probes[0], found, model.config.get_text_config())
    tail: Tail | None = model._tail
    return tail


def _matching(probes: Tensor, found: Tensor, config: Any) -> Tail | None:
    if isinstance(found, FakeTensor) or found.shape != probes.shape:
        return None
    known = [Tail()]
    kinds: list[tuple[Kind, tuple[str, ...]]] = [("multiply", _SCALES), ("divide", _SCALES), ("cap", _CAPS)]
    for kind, names in kinds:
        numbers = [getattr(config, name, None) for name in names]
        known += [Tail(kind, number) for number in numbers if isinstance(number, int | float) and number]
    return next((tail for tail in known if torch.equal(tail(probes), found)), None)
