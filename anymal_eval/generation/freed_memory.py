"""Keeps memory that a network on the CPU frees, for its next step.

A step of decoding allocates a new KV cache and frees the old one. With its own settings glibc gives such blocks back to
the system, which clears every page before it is used again: a third of the time of a small network.
"""

import ctypes
import os
import sys

# Of glibc's malloc.h; 32 MiB is the largest threshold that it takes.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST_FROM_HEAP = 32 << 20
MOST_KEPT = 512 << 20


def keep_freed_memory() -> bool:
    """Have malloc keep up to ``MOST_KEPT`` bytes at the end of the heap, and take blocks of up to 32 MiB from the heap.

    Returns:
        Whether that was set: not where the user sets malloc himself, nor where it is not glibc's.
    """
    own = [name for name in os.environ if name.startswith("MALLOC_") or name in ("GLIBC_TUNABLES", "LD_PRELOAD")]
    if own or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST_FROM_HEAP) and mallopt(TRIM_THRESHOLD, MOST_KEPT))
