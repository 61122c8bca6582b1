"""The estimate of a training step against its measured peak, for every precision, stage and kind of backward pass.

    python -m benchmarks.estimates [--case fp32-align-plain ...] [--write]

Each case runs in a process of its own on a random LLaMA-shaped model of 1.25 GiB: first two steps on a toy model, whose
resident size is subtracted; then the weights, one step that makes Adam's states, and one that is measured, in two ways:
the bytes of all live tensors (``anymal/live_bytes.py``), and the growth of the resident size (VmHWM) without the pages
of the mapped checkpoint that no step reads. Tensors are what a GPU holds too. Resident are also what a processor's
products take for themselves, which bf16 needs most of. The estimate must be within 10 % of the tensors' peak.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import write_section
from benchmarks.memory import config, status, toy, write
from benchmarks.training_memory import forget_peak, give_back, resident, settle, size

if TYPE_CHECKING:
    from anymal_eval.anymal.memory import Workload
    from anymal_eval.anymal.model import AnyMAL

PAGE = Path(__file__).parents[1] / "docs" / "checkpoints.md"
STAGES = {"align": "stage 1", "instruct": "stage 2"}
CASES = [
    f"{kind}-{stage}-{how}" for kind in ("fp32", "bf16", "nf4") for stage in STAGES for how in ("plain", "checkpointed")
]
ROWS, TEXT, ANSWER, TOLERANCE = 2, 192, 64, 0.10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/anymal-memory"))  # noqa: S108
    parser.add_argument("--case", action="append", choices=CASES, help="These alone.")
    parser.add_argument("--here", action="store_true", help="Measure the case in this process.")
    parser.add_argument("--write", action="store_true", help="Put the table into docs/checkpoints.md.")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.case[0], options.folder, options.layers)))
        return
    write(options.folder, options.layers)
    lines = [
        f"`python -m benchmarks.estimates --write`: a step of AdamW on {ROWS} rows of {TEXT} text tokens and an answer "
        f"of {ANSWER}, on a CPU; a LLaMA-shaped model of {size(options.folder):.2f} GiB in fp32, adapters of rank "
        "64 in stage 2.",
        "",
        "| one step | estimate | measured: tensors | estimate is off by | measured: resident |",
        "|---|---|---|---|---|",
    ]
    missed = []
    for case in options.case or CASES:
        command = [
            sys.executable, "-m", "benchmarks.estimates", "--here", "--case", case, "--folder", str(options.folder),
            "--layers", str(options.layers),
        ]  # fmt: skip
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        kind, stage, how = case.split("-")
        name = f"{STAGES[stage]}, {kind}{', gradient checkpointing' * (how == 'checkpointed')}"
        off = found["estimate"] / found["tensors"] - 1
        cells = [f"{found[key] / 2**20:,.0f} MiB" for key in ("estimate", "tensors", "resident")]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {100 * off:+.1f} % | {cells[2]} |")
        print(lines[-1], json.dumps(found), flush=True)
        missed += [case] if abs(off) > TOLERANCE else []
    if options.write:
        write_section("measured memory", "\n".join(lines), PAGE)
    sys.exit(f"off by more than {TOLERANCE:.0%}: {', '.join(missed)}" if missed else 0)


def measure(case: str, folder: Path, layers: int) -> dict[str, Any]:
    import torch

    from anymal_eval.anymal.allocator import return_large_blocks
    from anymal_eval.anymal.config import LoraConfig
    from anymal_eval.anymal.memory import Workload, estimate
    from anymal_eval.anymal.model import create
    from anymal_eval.checkpoints.loading import Loading

    return_large_blocks()
    kind, stage, how = case.split("-")
    loading = Loading(
        precision=torch.float32 if kind == "fp32" else torch.bfloat16, quantize="nf4" if kind == "nf4" else "none"
    )
    adapters = LoraConfig() if stage == "instruct" else None
    own = replace(config(folder, layers), lora=adapters)
    work = Workload(rows=ROWS, text_tokens=TEXT, new_tokens=ANSWER, train=True, recompute=how == "checkpointed")
    memory = estimate(own, loading, work)
    Step(create(replace(toy(folder / "toy"), lora=adapters), loading), work).run(2)
    settle()
    before = status("VmRSS")
    network = create(own, loading)
    settle()
    file = folder / "llm" / "model.safetensors"
    give_back(file)
    for value in network.parameters():
        value.detach().sum()  # reads the used pages of the file again
    step = Step(network, work)
    step.run(1)
    unused = resident(file) if kind != "fp32" else 0  # converted: the file itself is not read again
    tensors = step.measured()
    parts = {
        name: getattr(memory, name) for name in ("weight_bytes", "activations", "working", "gradients", "optimiser")
    }
    grown = status("VmHWM") - before - unused
    return {"estimate": memory.total, "tensors": tensors, "resident": grown, "parts": parts, "counted": step.counted}


class Step:
    """Forward, backward and the optimiser."""

    def __init__(self, network: "AnyMAL", work: "Workload") -> None:
        import torch

        from anymal_eval.anymal.conversation import Prompt
        from anymal_eval.anymal.llm import recompute_activations

        self.network = network.train()
        for layer in recompute_activations(network.llm.model) if work.recompute else ():
            layer.training = True
        self.trained = [value for value in network.parameters() if value.requires_grad]
        self.optimiser = torch.optim.AdamW(self.trained, lr=1e-5, foreach=False)
        self.windows = [torch.randn(1, 6, 1000) for _ in range(work.rows)]
        rows = range(work.rows)
        self.prompts = [Prompt(pieces=((), (5,) * (work.text_tokens - row)), media=("imu",)) for row in rows]
        self.answers = [(7,) * work.new_tokens] * work.rows
        self.counted: dict[str, int] = {}

    def run(self, times: int) -> None:
        for _ in range(times):
            tokens = self.network.project("imu", self.network.encode("imu", self.windows))
            self.network.loss(self.network.rows(self.prompts, [[one] for one in tokens], self.answers)).backward()
            self.optimiser.step()
            self.optimiser.zero_grad()

    def measured(self) -> int:
        """The most bytes of live tensors in one step; the peak of the resident size is reset before it."""
        from anymal_eval.anymal.live_bytes import LiveBytes
        from anymal_eval.checkpoints.quantization import stored

        weights = [tensor for _, _, tensor in stored(self.network)]
        states = [each for state in self.optimiser.state.values() for each in state.values()]
        forget_peak()
        with LiveBytes([*weights, *states]) as live:
            self.run(1)
        self.counted = {
            "weights": sum(tensor.nbytes for tensor in weights),
            "states": sum(tensor.nbytes for tensor in states),
            "step": live.peak,
        }
        return sum(self.counted.values())


if __name__ == "__main__":
    main()
