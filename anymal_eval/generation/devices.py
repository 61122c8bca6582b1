"""Host to device without waiting: from pinned memory, so that the copy runs beside what the device computes."""

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor


def to_device(tensor: Tensor, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """The same numbers on a device; nothing is copied that is there already.

    On a GPU the copy is asynchronous and what is computed from it waits for it by itself. It goes over in its own type
    and is converted there.
    """
    target = torch.device(device)
    # Shapes alone, of which memory.py makes its forecast, have nothing to pin.
    if target.type == "cuda" and tensor.device.type == "cpu" and not isinstance(tensor, FakeTensor):
        tensor = tensor.pin_memory().to(target, non_blocking=True)
    return tensor.to(target, dtype)
