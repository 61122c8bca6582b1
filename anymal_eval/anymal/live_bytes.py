"""Counts the bytes of all tensors alive while something runs, on real tensors or on shapes alone."""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Every storage made inside ``with`` counts from when it is made until its last tensor is gone.

    Attributes:
        now: bytes alive.
        peak: the most there were.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        """``known``: tensors not to count, such as weights (an operator may give views of them)."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        # by the storage object, since tensors of shapes alone have no address
        self._alive = {tensor.untyped_storage()._cdata: 0 for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._saw(leaf)
        return out

    def restart(self) -> None:
        """Forget the peak, from what is alive now on."""
        self.peak = self.now

    def _saw(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive:
            return
        self._alive[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.now -= self._alive.pop(key, 0)
