"""Windows through an encoder, so that features depend on their own window alone.

A kernel's order of additions follows the shape of its input and the number of threads, so a window's last bits would
depend on what is encoded beside it. On a CPU every window is therefore a call of its own with one thread, and several
windows run side by side: bitwise the same in any order, batch and process, on one kind of processor and one version of
torch. For encoders of real size this takes as long as one call for many windows.

On another device that would leave it idle. There every call has the same shape: the windows of several media, filled up
with zeros. The same kernels run in every call; no more is promised.

Shapes:  w windows · n tokens of a window · e encoder width
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from anymal_eval.anymal.encoders import Encoder
from anymal_eval.generation import to_device

TOGETHER = 8  # windows in every call on a device other than the CPU


def encode_windows(encoder: Encoder, windows: Sequence[Tensor]) -> tuple[Tensor, int]:
    """Encode windows.

    Args:
        encoder: frozen; gradients are not computed.
        windows: w of the encoder's ``window_shape`` each, of any media.

    Returns:
        (w, n, e) on the encoder's device, and how often the encoder was called.
    """
    parameter = next(encoder.parameters())
    with torch.no_grad():
        if parameter.device.type != "cpu":
            return in_calls_of_one_shape(encoder, windows, TOGETHER)
        threads = min(torch.get_num_threads(), len(windows))
        if isinstance(parameter, FakeTensor):  # a memory estimate: as many windows are alive as threads run
            return _in_calls(windows, threads, lambda own: encoder(torch.stack(list(own))))
        with _one_thread():
            if threads == 1:
                features = [_alone(encoder, window) for window in windows]
            else:
                with ThreadPoolExecutor(threads, thread_name_prefix="encode") as pool:
                    features = list(pool.map(lambda window: _alone(encoder, window), windows))
    return torch.cat(features), len(windows)


def in_calls_of_one_shape(encoder: Encoder, windows: Sequence[Tensor], size: int) -> tuple[Tensor, int]:
    """The same in calls of exactly ``size`` windows, the last one filled up with zeros."""
    device = next(encoder.parameters()).device

    def encoded(own: Sequence[Tensor]) -> Tensor:
        filled = torch.stack([*own, *[torch.zeros_like(own[0])] * (size - len(own))])
        features: Tensor = encoder(to_device(filled, device))
        return features[: len(own)]

    return _in_calls(windows, size, encoded)


def _in_calls(windows: Sequence[Tensor], size: int, encode: Callable[[Sequence[Tensor]], Tensor]) -> tuple[Tensor, int]:
    starts = range(0, len(windows), size)
    parts: list[Tensor] = []
    for number, start in enumerate(starts):
        if parts and isinstance(parts[0], FakeTensor) and _is_like_the_first(number, len(starts)):
            parts.append(_as_large(parts[0]))
        else:
            parts.append(encode(windows[start : start + size]))
    return torch.cat(parts), len(parts)


def _is_like_the_first(number: int, calls: int) -> bool:
    """Whether a memory estimate need not compute a call: it takes no more than the last two, when most is alive."""
    return 0 < number < calls - 2


def _as_large(features: Tensor) -> Tensor:
    """Of the same shape, in a storage of the same size."""
    whole = features.new_empty(features.untyped_storage().nbytes() // features.element_size())
    return whole.as_strided(features.shape, features.stride(), features.storage_offset())


def _alone(encoder: Encoder, window: Tensor) -> Tensor:
    with torch.no_grad():  # it holds for one thread only
        # A copy, because a window inside of its medium may start anywhere in memory, and kernels read by alignment.
        features: Tensor = encoder(window[None].clone())
        return features


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute with one thread, also in threads that start meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
