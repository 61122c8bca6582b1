"""The lines of a memory estimate, and the options that one takes, for ``train`` and ``checkpoints``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from anymal_eval.anymal.recomputation import StepMemory

GIB = 2**30
# Without a value it is "on", as the flag that it was.
CHECKPOINTING = click.option(
    "--gradient-checkpointing",
    type=click.Choice(["auto", "on", "off"]),
    is_flag=False,
    flag_value="on",
    default="auto",
    help="Recompute the language model's activations; auto: where the device's memory is too small without it.",
)
MEMORY = click.option(
    "--memory", type=click.FloatRange(min=0, min_open=True), metavar="GIB", help="Of the device; else a GPU's own."
)
_NOT_COUNTED = {
    "cpu": "what a processor's products take for themselves (most in bf16), and the mapped file of the weights",
    "cuda": "the GPU's context and libraries, what its allocator rounds up and keeps, and the buckets in which "
    "several processes average gradients",
}


def lines(title: str, found: "StepMemory", *, device: str, train: bool) -> Iterator[str]:
    """The title, a line for each part, and what was decided or not counted."""
    memory = found.estimate
    yield title
    parts = [(part, kind, size) for part, kinds in memory.weights.items() for kind, size in kinds.items()]
    rows = [(f"weights: {part}, {kind}", size) for part, kind, size in parts]
    rows += [
        ("KV cache", memory.kv_cache),
        ("activations", memory.activations),
        ("gradients, and for a moment" if train else "for a moment", memory.working),
        ("optimizer", memory.optimiser),
        ("total", memory.total),
    ]
    yield from (f"  {name:<34}{size / GIB:>9.2f} GiB" for name, size in rows if size)
    yield from (f"  {line}" for line in (found.line * train, found.work, found.warning) if line)
    yield f"  not counted: {_NOT_COUNTED[device]}"
