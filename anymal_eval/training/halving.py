"""Micro-batches that do not fit into memory are computed in halves; the batch of the step stays as it is."""

from collections.abc import Callable

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
