"""The optimizers that pre-train the demo model's parts: Muon for matrices, AdamW for the rest; warm-up and cosine."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

WARMUP = 0.06  # of all steps
CLIPPED = 1.0
MOMENTUM, DECAY = 0.95, 0.01
ITERATIONS = 5  # of Newton and Schulz
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Schedule:
    """Both optimizers under one learning rate; where it is given, parameters named as embeddings have their own.

    Muon (Jordan et al. 2024) updates the matrices inside the network, AdamW the embeddings, convolutions, norms and
    biases. ``torch.optim.Muon`` computes in bfloat16, where a step of a small network takes four times as long on a CPU
    as its forward and backward pass; this one computes in float32.
    """

    def __init__(self, network: nn.Module, *, rate: float, steps: int, embedding_rate: float | None = None) -> None:
        trained = [(name, value) for name, value in network.named_parameters() if value.requires_grad]
        inside = [v for name, v in trained if v.ndim == 2 and "embed" not in name and "head" not in name]
        known = {id(value) for value in inside}
        others: dict[float, list[Tensor]] = {}  # by their peak rate
        for name, value in trained:
            if id(value) not in known:
                peak = rate if embedding_rate is None or "embed" not in name else embedding_rate
                others.setdefault(peak, []).append(value)
        self._trained = [value for _, value in trained]
        self._rate, self._steps, self._done = rate, steps, 0
        groups = [{"params": values, "lr": peak, "peak": peak} for peak, values in others.items()]
        self._adam = torch.optim.AdamW(groups, betas=(0.9, 0.98))
        self._inside = inside
        self._momenta = [torch.zeros_like(value) for value in inside]

    def step(self, loss: Tensor) -> None:
        """One optimizer step on this loss."""
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._trained, CLIPPED)
        factor = self._factor()
        for group in self._adam.param_groups:
            group["lr"] = group["peak"] * factor
        self._adam.step()
        muon(self._inside, self._momenta, self._rate * factor)
        for value in self._trained:
            value.grad = None
        self._done += 1

    def _factor(self) -> float:
        """The fraction of the peak rate at this step."""
        warm = max(1, round(WARMUP * self._steps))
        if self._done < warm:
            return (self._done + 1) / warm
        return 0.02 + 0.98 * (1 + math.cos(math.pi * (self._done - warm) / max(1, self._steps - warm))) / 2


@torch.no_grad()
def muon(matrices: Sequence[Tensor], momenta: Sequence[Tensor], rate: float) -> None:
    """One step of Muon with Nesterov momentum, in float32, scaled to the size of an AdamW step of the same rate."""
    for matrix, momentum in zip(matrices, momenta, strict=True):
        if matrix.grad is None:
            continue
        momentum.lerp_(matrix.grad, 1 - MOMENTUM)
        direction = orthogonal(matrix.grad.lerp(momentum, MOMENTUM))
        matrix.mul_(1 - rate * DECAY)
        matrix.add_(direction, alpha=-rate * 0.2 * max(matrix.shape) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """Approximately the nearest matrix whose singular values are all 1; they end between 0.7 and 1.2.

    >>> found = torch.linalg.svdvals(orthogonal(torch.randn(8, 16, generator=torch.manual_seed(0))))
    >>> bool(found.min() > 0.5), bool(found.max() < 1.3)
    (True, True)
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        square: Tensor = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    found: Tensor = x.T if tall else x
    return found
