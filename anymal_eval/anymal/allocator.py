"""Makes the C library return large blocks to the system as soon as they are freed.

As blocks that are mapped on their own are freed, glibc raises the size from which it maps, up to 32 MiB. Activations
then come from its heap, which a training step fragments and which keeps freed memory. On a CPU a step of the network of
``benchmarks/memory.py`` then holds a quarter more than its tensors take at once, and nearly all activations after they
are freed. With a fixed threshold the resident peak is that of the tensors, which ``memory.py`` estimates.
"""

import ctypes
import platform

LARGE = 1 << 20  # bytes from which on a block is mapped on its own
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of malloc.h
_MAPPINGS = 32_000  # at most; half of what Linux allows a process


def return_large_blocks() -> bool:
    """Fix the threshold for the whole process; to be called before the network is loaded.

    Returns:
        Whether it is fixed: only glibc allows it.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    settings = {_MMAP_THRESHOLD: LARGE, _TRIM_THRESHOLD: LARGE, _MMAP_MAX: _MAPPINGS}
    return all(library.mallopt(name, value) == 1 for name, value in settings.items())
