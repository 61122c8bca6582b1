"""Memory of one training step with the LLM frozen in nf4, in fp32, and fine-tuned whole; beside what is foretold.

    python -m benchmarks.training_memory [--layers 6] [--rows 1] [--text 64] [--write]

Each case runs in a process of its own on a random LLaMA-shaped model of more than 1 GB: a first step on a toy, so that
neither libraries nor first-use buffers count, then load, forget the peak (VmHWM), step and compare. What loading takes
for a moment is not counted. The last row is a forecast alone, of AnyMAL's largest network on one 80 GB GPU.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.measuring import write_section
from benchmarks.memory import config, status, toy, write

CASES = {"nf4": "stage 1, nf4", "fp32": "stage 1, fp32", "full": "full fine-tuning, fp32"}
ANSWER = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--text", type=int, default=64)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/anymal-memory"))  # noqa: S108
    parser.add_argument("--case", choices=CASES, help="Measure it in this process.")
    parser.add_argument("--write", action="store_true", help="Put the table into README.md.")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.case, options)))
        return
    write(options.folder, options.layers)
    lines = [
        f"`python -m benchmarks.training_memory --write`; {options.rows} row of {options.text} text tokens, AdamW, "
        "on a CPU; a LLaMA-shaped model of 1.3 GB in fp32.",
        "",
        "| one step | measured | foretold |",
        "|---|---|---|",
    ]
    for case, name in CASES.items():
        command = [
            sys.executable, "-m", "benchmarks.training_memory", "--case", case, "--folder", str(options.folder),
            "--layers", str(options.layers), "--rows", str(options.rows), "--text", str(options.text),
        ]  # fmt: skip
        done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ})
        found = json.loads(done.stdout.splitlines()[-1])
        lines.append(f"| {name} | {found['grown'] / 2**20:,.0f} MiB | {found['said'] / 2**20:,.0f} MiB |")
        print(lines[-1], flush=True)
    lines.append(f"| 70b-image-vit-l, stage 1, nf4, bf16, batch 4 | not measured | {forecast() / 2**30:.1f} GiB |")
    print(lines[-1])
    if options.write:
        write_section("training memory", "\n".join(lines))


def forecast() -> int:
    """Bytes of the paper's claim: 70B at batch 4 on one 80 GB GPU."""
    import dataclasses

    import torch

    from anymal_eval.anymal.config import preset
    from anymal_eval.anymal.llm import Loading
    from anymal_eval.anymal.memory import Workload, estimate

    own = dataclasses.replace(preset("70b-image-vit-l"), lora=None)
    loading = Loading(precision=torch.bfloat16, quantise="nf4", device="cuda")
    return estimate(own, loading, Workload(rows=4, text_tokens=64, new_tokens=ANSWER, train=True)).total


def measure(case: str, options: Any) -> dict[str, int]:
    import torch

    from anymal_eval.anymal.allocator import return_large_blocks
    from anymal_eval.anymal.llm import Loading
    from anymal_eval.anymal.memory import Workload, estimate
    from anymal_eval.anymal.model import create

    return_large_blocks()
    loading = Loading(precision=torch.float32, quantise="nf4" if case == "nf4" else "none")
    work = Workload(rows=options.rows, text_tokens=options.text, new_tokens=ANSWER, train=True)
    own = config(options.folder, options.layers)
    said = estimate(own, loading, work)
    total = said.total
    if case == "full":  # the language model's gradients and Adam's two states come on top
        total += 3 * sum(said.weights["llm"].values())
    step(create(toy(options.folder / "toy"), loading), work, full=case == "full")
    gc.collect()
    before = status("VmRSS")
    network = create(own, loading)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    step(network, work, full=case == "full")
    return {"said": total, "grown": status("VmHWM") - before}


def step(network: Any, work: Any, *, full: bool) -> None:
    """Forward, backward and the optimiser's first step."""
    import torch

    from anymal_eval.anymal.conversation import Prompt

    if full:
        network.llm.requires_grad_(True)
    network.train()
    trained = [value for value in network.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-5, foreach=False)
    windows = [torch.randn(1, 6, 1000) for _ in range(work.rows)]
    prompts = [Prompt(pieces=((), (5,) * (work.text_tokens - row)), media=("imu",)) for row in range(work.rows)]
    tokens = network.project("imu", network.encode("imu", windows))
    answers = [(7,) * work.new_tokens] * work.rows
    network.loss(network.rows(prompts, [[one] for one in tokens], answers)).backward()
    optimiser.step()


if __name__ == "__main__":
    main()
