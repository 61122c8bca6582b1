"""Has the C library give large blocks back to the system as soon as they are freed.

glibc raises its threshold for blocks of their own up to 32 MiB as such blocks are freed; from then on activations come
out of its heap, which is fragmented by a training step and keeps what was freed. On a CPU a step of the network of
``benchmarks/memory.py`` then holds a quarter more than its tensors ever take at once, and nearly all of the activations
after they are gone. With a fixed threshold the resident peak is that of the tensors, which ``memory.py`` foretells.
"""

import ctypes
import platform

LARGE = 1 << 20  # bytes from which on a block is mapped on its own
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of malloc.h
_MAPPINGS = 32_000  # at most; half of what Linux allows a process


def return_large_blocks() -> bool:
    """Fix the threshold, for the whole process; who trains calls this before the network is loaded.

    Returns:
        Whether it could be: the C library is glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    settings = {_MMAP_THRESHOLD: LARGE, _TRIM_THRESHOLD: LARGE, _MMAP_MAX: _MAPPINGS}
    return all(library.mallopt(name, value) == 1 for name, value in settings.items())
