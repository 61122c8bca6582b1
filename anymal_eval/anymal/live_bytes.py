"""Counts the bytes of all live tensors while code runs, on real tensors or on the meta device."""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside ``with``, every new storage counts from its creation until its last tensor is freed.

    Attributes:
        now: live bytes.
        peak: the most live bytes so far.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        """``known``: tensors that are not counted, such as weights (an operator may return views of them)."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        # by the storage object, since tensors on the meta device have no address
        self._alive = {tensor.untyped_storage()._cdata: 0 for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf)
        return out

    def restart(self) -> None:
        """Measure the peak from here on."""
        self.peak = self.now

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive:
            return
        self._alive[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, key)

    def _freed(self, key: int) -> None:
        self.now -= self._alive.pop(key, 0)
