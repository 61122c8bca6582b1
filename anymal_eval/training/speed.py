"""Samples and tokens a second, and the memory of a training, for a line of its log."""

import resource
import sys
import time

import torch


class Speed:
    """Counts what was trained on since the last line.

    Attributes:
        samples: of this process so far.
    """

    def __init__(self, device: str = "cpu") -> None:
        """``device``: the type of the one that computes, whose memory counts."""
        self.samples, self._device = 0, device
        self._last = (time.perf_counter(), 0, 0)

    def leave_out(self, seconds: float) -> None:
        """Do not count seconds in which the network was evaluated or saved."""
        before, samples, tokens = self._last
        self._last = (before + seconds, samples, tokens)

    def since_last(self, tokens: int, processes: int) -> dict[str, float]:
        """The rates since the last call, over all processes if each is as fast, and the peak of this one's memory.

        Args:
            tokens: of this process so far.
            processes: how many there are.
        """
        now = time.perf_counter()
        (before, samples, earlier), self._last = self._last, (now, self.samples, tokens)
        seconds = max(now - before, 1e-9) / processes
        return {
            "samples_per_s": round((self.samples - samples) / seconds, 2),
            "tokens_per_s": round((tokens - earlier) / seconds, 1),
            "memory_gib": round(peak_memory(self._device) / 2**30, 3),
        }


def peak_memory(device: str = "cpu") -> int:
    """The most bytes so far: those allocated on a GPU, else the resident size of this process."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib if sys.platform == "darwin" else 1024 * kib
