"""Micro-batches that do not fit into memory are computed in halves; the batch of the step stays as it is.

An optimizer's step cannot be: where its states do not fit, the error names a smaller optimizer.
"""

from collections.abc import Callable
from types import MethodType
from typing import Any

from torch import Tensor

from anymal_eval.errors import OutOfMemory
from anymal_eval.generation import memory_guard, release_memory
from anymal_eval.training.batches import Batch
from anymal_eval.training.training_module import TrainingModule


class HalvedBatches:
    """Runs micro-batches in parts of at most ``rows`` rows, which halves where memory runs out.

    A pass that failed may have left a part of its gradients: the step's gradients are dropped, and its micro-batches
    are computed again. The loss is summed over targets, so that the parts add up to the same gradient.

    Attributes:
        rows: the most rows at once; None while memory has been enough.
    """

    def __init__(self, module: TrainingModule, processes: int) -> None:
        self.rows: int | None = None
        self._module, self._processes = module, processes
        self._before, self._tokens = dict(module.kinds.sums), module.tokens
        self._done: list[Batch] = []

    def start_step(self) -> None:
        """Begin a step, whose gradients are still none."""
        self._before, self._tokens, self._done = dict(self._module.kinds.sums), self._module.tokens, []

    def run(self, batch: Batch, compute: Callable[[Batch], Tensor]) -> Tensor:
        """Compute one micro-batch.

        Args:
            batch: the next of the step.
            compute: both passes of a part; its gradients are added to those there.

        Returns:
            The micro-batch's loss.

        Raises:
            OutOfMemory: for a single row, or in one of several processes, whose gradients are averaged as they come.
        """
        again: list[Batch] = []
        while True:
            try:
                with memory_guard("training"):
                    for each in again:
                        self._parts(each, compute)
                    loss = self._parts(batch, compute)
                self._done.append(batch)
                return loss
            except OutOfMemory as error:
                self._halve(max(len(each.ids) for each in [*self._done, batch]), str(error))
            release_memory()
            self._module.zero_grad(set_to_none=True)
            self._module.kinds.sums, self._module.tokens = dict(self._before), self._tokens
            again = self._done

    def _parts(self, batch: Batch, compute: Callable[[Batch], Tensor]) -> Tensor:
        first, *others = batch.split(self.rows)
        loss = compute(first)
        for part in others:
            loss = loss + compute(part)
        return loss

    def _halve(self, rows: int, what: str) -> None:
        at_once = min(rows, self.rows or rows)
        remedy = "--gradient-checkpointing on, or quantize the language model (--quantize nf4)"
        if at_once <= 1:
            raise OutOfMemory(f"{what} on one row: give {remedy}")
        if self._processes > 1:
            raise OutOfMemory(
                f"{what} on {at_once} rows in one of {self._processes} processes: more --accumulate, or {remedy}"
            )
        self.rows = (at_once + 1) // 2


def guard_step(optimizer: Any, name: str) -> None:
    """Have an optimizer's step, the first of which allocates its states, raise our error where memory runs out.

    Args:
        optimizer: of torch or bitsandbytes.
        name: as transformers writes it: ``adamw_torch``, ``adamw_bnb_8bit``, ``paged_adamw_8bit``.
    """
    step = optimizer.step
    smaller = ["--optim adamw-8bit"] * ("8bit" not in name)
    smaller += [f"--optim adamw-paged{'-8bit' * ('8bit' in name)}"] * ("paged" not in name)
    others = f"give {' or '.join(smaller)} with another --out, or " if smaller else ""

    def guarded(_: Any, *given: Any, **named: Any) -> Any:
        try:
            with memory_guard("updating the weights"):
                return step(*given, **named)
        except OutOfMemory as error:
            raise OutOfMemory(f"{error}: {others}quantize the language model (--quantize nf4)") from error

    optimizer.step = MethodType(guarded, optimizer)  # a method, of which torch's schedulers make their own
