"""Weights that are computed with in bf16 and updated in fp32: an optimizer of fp32 copies, the master weights.

A step of AdamW changes a weight by about the learning rate, less than half of what separates two neighbours in bf16: a
weight of bf16 alone would stay as it is. The masters are a part of the optimizer's state, so that a saved training
resumes with the same numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

MASTERS = "masters"  # in the optimizer's state


class MasterWeights(torch.optim.Optimizer):
    """Updates fp32 copies of weights, and rounds them into the weights. Groups and states are those of the copies."""

    def __init__(self, groups: Sequence[dict[str, Any]], make: Callable[[list[dict[str, Any]]], Any]) -> None:
        """Copy the weights.

        Args:
            groups: of the weights, as an optimizer takes them.
            make: the optimizer of such groups.
        """
        self._weights = [value for group in groups for value in group["params"]]
        super().__init__(list(self._weights), {})
        self._masters = [nn.Parameter(value.detach().float().clone()) for value in self._weights]
        copies = iter(self._masters)
        self._inner = make([{**group, "params": [next(copies) for _ in group["params"]]} for group in groups])
        self.param_groups: Any = self._inner.param_groups
        self._has_gradients = False

    def clip(self, most: float) -> Tensor:
        """Clip the gradients of a step, in fp32.

        Returns:
            Their norm before.
        """
        self._take_gradients()
        return nn.utils.clip_grad_norm_(self._masters, most)

    def _take_gradients(self) -> None:
        for weight, master in zip(self._weights, self._masters, strict=True):
            master.grad = None if weight.grad is None else weight.grad.float()
        self._has_gradients = True

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update the copies, and round them into the weights."""
        del closure
        if not self._has_gradients:
            self._take_gradients()
        self._inner.step()
        for weight, master in zip(self._weights, self._masters, strict=True):
            master.grad = None
            weight.copy_(master)
        self._has_gradients = False

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of the weights."""
        for weight in self._weights:
            weight.grad = None if set_to_none or weight.grad is None else torch.zeros_like(weight)

    def state_dict(self) -> dict[str, Any]:
        """That of the inner optimizer, and the copies."""
        return {**self._inner.state_dict(), MASTERS: [master.detach() for master in self._masters]}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take both back, and round the copies into the weights."""
        rest = {name: value for name, value in state_dict.items() if name != MASTERS}
        for weight, master, value in zip(self._weights, self._masters, state_dict[MASTERS], strict=True):
            master.copy_(value)
            weight.copy_(master)
        self._inner.load_state_dict(rest)
        self.param_groups = self._inner.param_groups
