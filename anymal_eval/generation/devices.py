"""Tensors on their way to a device, and memory that runs out there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from anymal_eval.errors import OutOfMemory

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def to_device(tensor: Tensor, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """Move a tensor to a device, without a copy if it is there already.

    From the CPU to a GPU it goes through pinned memory, so that the copy overlaps with computation; kernels that read
    the result wait for it. It is copied in its own type and converted on the device.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensor

    target = torch.device(device)
    # A memory estimate (anymal/memory.py) runs on fake tensors, which cannot be pinned.
    if target.type == "cuda" and tensor.device.type == "cpu" and not isinstance(tensor, FakeTensor):
        tensor = tensor.pin_memory().to(target, non_blocking=True)
    return tensor.to(target, dtype)


@contextmanager
def memory_guard(doing: str, free: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Turn torch's errors about exhausted memory into ours.

    Args:
        doing: what, for the message.
        free: called when memory is exhausted; gives back what is kept for later.

    Raises:
        OutOfMemory: names what was being done.
    """
    import torch

    try:
        yield
    except OutOfMemory:
        free()
        raise
    except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU allocator has no error class of its own
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        free()
        raise OutOfMemory(f"out of memory while {doing}") from error


def release_memory() -> None:
    """Give back what torch keeps of a computation that failed, to the collector and to the GPU."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
