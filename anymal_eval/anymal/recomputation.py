"""Whether a training step recomputes activations (gradient checkpointing): where a device is too small without it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from anymal_eval.anymal.memory import Estimate

Setting = Literal["auto", "on", "off"]
GIB = 1 << 30
USABLE = 0.9  # of a device: an estimate may be off by a tenth


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """The memory of a step as it will run.

    Attributes:
        estimate: its memory.
        recompute: whether it recomputes activations.
        line: that, and why.
        work: the operations of a training, and the hours that they take; else empty.
        warning: what to do where it is too much for the device all the same; else empty.
    """

    estimate: Estimate
    recompute: bool
    line: str
    warning: str = ""
    work: str = ""


def choose(estimate_of: Callable[[bool], Estimate], setting: Setting, memory: int | None) -> StepMemory:
    """Estimate a step, without recomputation where that fits.

    Args:
        estimate_of: the memory of the step, given whether it recomputes.
        setting: ``auto`` recomputes only where the device is too small without it.
        memory: bytes of the device; None where they are not known, which ``auto`` takes for enough.
    """
    recompute = setting == "on"
    found = estimate_of(recompute)
    line = f"gradient checkpointing: {'on' if recompute else 'off'}"
    if setting == "auto" and memory is None:
        line += "; with --memory GIB it is on where it is needed"
    elif setting == "auto" and memory is not None and found.total > USABLE * memory:
        without, recompute, found = found.total, True, estimate_of(True)
        line = f"gradient checkpointing: on; without it a step takes {_gib(without)} of {_gib(memory)}"
    return StepMemory(estimate=found, recompute=recompute, line=line, warning=_too_much(found, memory))


def device_memory(device: str, given: float | None) -> int | None:
    """Bytes of a device: those given in GiB, else a GPU's own; None for a processor, whose memory others use too."""
    import torch

    if given is not None:
        return int(given * GIB)
    if device.startswith("cuda") and torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    return None


def _too_much(found: Estimate, memory: int | None) -> str:
    if memory is None or found.total <= USABLE * memory:
        return ""
    scarce = "more than" if found.total > memory else "nearly all of"
    more = "compute fewer rows at once, or quantize the language model"
    return f"{_gib(found.total)} are {scarce} the device's {_gib(memory)}: {more}"


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
