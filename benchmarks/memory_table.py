"""The table of docs/checkpoints.md: the memory of every preset, for answers and for a step of each stage.

    python -m benchmarks.memory_table [--preset NAME ...] [--write]

Every layer of a language model takes the same memory. The estimate is made for two small numbers of layers, from which
that for all of them follows; for 70 B this takes seconds instead of minutes.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from anymal_eval.anymal.config import AnyMALConfig, preset, preset_names
from anymal_eval.anymal.memory import Workload, estimate
from anymal_eval.checkpoints.loading import Loading
from benchmarks.measuring import write_section

PAGE = Path(__file__).parents[1] / "docs" / "checkpoints.md"
NAME = "memory of the presets"
TOY = ("demo", "tiny")
FEW, MORE = 3, 5  # layers
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Column:
    """What is estimated: ``adapters`` are trained besides the projectors."""

    title: str
    work: Workload
    adapters: bool = False


STEP = Workload(rows=4, text_tokens=400, new_tokens=112, train=True)
COLUMNS = (
    Column(title="answers, batch 1", work=Workload()),
    Column(title="stage 1, batch 4, 128 + 32 tokens", work=Workload(rows=4, train=True)),
    Column(title="stage 2, batch 4, 400 + 112 tokens", work=STEP, adapters=True),
    Column(title="the same with gradient checkpointing", work=replace(STEP, recompute=True), adapters=True),
)


def names() -> list[str]:
    """The presets of the paper's sizes, small ones first."""
    return sorted(set(preset_names()) - set(TOY), key=lambda name: (int(name.partition("b-")[0]), name))


def total(config: AnyMALConfig, column: Column) -> float:
    """GiB in nf4 with bf16 elsewhere."""
    own = config if column.adapters else replace(config, lora=None)
    shape = dict(own.llm.architecture or {})
    loading = Loading(precision=torch.bfloat16, quantize="nf4")

    def of(layers: int) -> int:
        llm = replace(own.llm, architecture={**shape, "num_hidden_layers": layers})
        return estimate(replace(own, llm=llm), loading, column.work).total

    few, more = of(FEW), of(MORE)
    return (few + (more - few) / (MORE - FEW) * (int(shape["num_hidden_layers"]) - FEW)) / GIB


def row(name: str) -> str:
    """A preset's line of the table."""
    return f"| {name} | {' | '.join(f'{total(preset(name), column):.1f}' for column in COLUMNS)} |"


def table(wanted: Sequence[str]) -> str:
    """The table, and what it holds for."""
    titles = [column.title for column in COLUMNS]
    lines = [
        "`python -m benchmarks.memory_table --write`, in GiB: nf4 with bf16 elsewhere, AdamW, adapters of rank 64 in "
        "stage 2, one medium of each kind in a row, by the operators of a processor.",
        "",
        f"| preset | {' | '.join(titles)} |",
        f"|{'---|' * (len(titles) + 1)}",
    ]
    for name in wanted:
        lines.append(row(name))
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", action="append", choices=names())
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    text = table(options.preset or names())
    if options.write:
        write_section(NAME, text, PAGE)


if __name__ == "__main__":
    main()
