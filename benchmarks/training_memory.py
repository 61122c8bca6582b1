"""Memory of one training step with the LLM frozen in nf4, frozen in fp32, and fine-tuned, next to the estimate.

    python -m benchmarks.training_memory [--layers 6] [--rows 4] [--text 64] [--write]

Each case runs in a process of its own on a random LLaMA-shaped model of more than 1 GB: imports and two steps on a toy
model, whose resident size is subtracted; then load, one step that creates Adam's states, reset the peak (VmHWM), and
one step. The temporary peak of loading does not count. Neither do pages of the mapped checkpoint that no step reads:
they belong to the file, and the system takes them back when it needs memory. They stay resident until then, because the
embeddings are read from the mapping; they are released here and shown in a column of their own. The last row is only an
estimate, of AnyMAL's largest network on one 80 GB GPU.
"""

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.measuring import write_section
from benchmarks.memory import config, status, toy, write

CASES = {"nf4": "stage 1, nf4", "fp32": "stage 1, fp32", "full": "full fine-tuning, fp32"}
ANSWER = 16
MADV_PAGEOUT = 21  # of Linux's mman.h


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rows", type=int, default=4)
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
        f"`python -m benchmarks.training_memory --write`; a step on {options.rows} rows of {options.text} text tokens "
        f"and an answer of {ANSWER}, AdamW, fp32 on a CPU; a LLaMA-shaped model of {size(options.folder):.2f} GiB. "
        "Resident growth at the step's peak over the same process before it loads; the pages of the mapped checkpoint "
        "that no step reads are apart: the system may take them back.",
        "",
        "| one step | measured | estimate | in addition, mapped and unused |",
        "|---|---|---|---|",
    ]
    for case, name in CASES.items():
        command = [
            sys.executable, "-m", "benchmarks.training_memory", "--case", case, "--folder", str(options.folder),
            "--layers", str(options.layers), "--rows", str(options.rows), "--text", str(options.text),
        ]  # fmt: skip
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        cells = [f"{found[key] / 2**20:,.0f} MiB" for key in ("grown", "estimate", "unused")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], json.dumps(found), flush=True)
    lines.append(f"| 70b-image-vit-l, stage 1, nf4, bf16, batch 4 | not run | {forecast() / 2**30:.1f} GiB | |")
    print(lines[-1])
    if options.write:
        write_section("training memory", "\n".join(lines))


def size(folder: Path) -> float:
    """GiB of the language model's weights."""
    return sum(file.stat().st_size for file in (folder / "llm").glob("*.safetensors")) / 2**30


def forecast() -> int:
    """Bytes of the paper's claim: 70B at batch 4 on one 80 GB GPU."""
    import dataclasses

    import torch

    from anymal_eval.anymal.config import preset
    from anymal_eval.anymal.memory import Workload, estimate
    from anymal_eval.checkpoints.loading import Loading

    own = dataclasses.replace(preset("70b-image-vit-l"), lora=None)
    loading = Loading(precision=torch.bfloat16, quantize="nf4")
    return estimate(own, loading, Workload(rows=4, text_tokens=64, new_tokens=ANSWER, train=True)).total


def measure(case: str, options: Any) -> dict[str, int]:
    import torch

    from anymal_eval.anymal.allocator import return_large_blocks
    from anymal_eval.anymal.memory import Workload, estimate
    from anymal_eval.anymal.model import create
    from anymal_eval.checkpoints.loading import Loading

    return_large_blocks()
    loading = Loading(precision=torch.float32, quantize="nf4" if case == "nf4" else "none")
    work = Workload(rows=options.rows, text_tokens=options.text, new_tokens=ANSWER, train=True)
    own = config(options.folder, options.layers)
    memory = estimate(own, loading, work)
    total = memory.total
    if case == "full":  # plus the language model's gradients and Adam's two states
        total += 3 * sum(memory.weights["llm"].values())
    steps(create(toy(options.folder / "toy"), loading), work, full=case == "full")
    settle()
    before = status("VmRSS")
    network = create(own, loading)
    settle()
    file = options.folder / "llm" / "model.safetensors"
    mapped = resident(file)
    give_back(file)
    for value in network.parameters():
        value.detach().sum()  # reads the used pages of the file again
    used = resident(file)
    steps(network, work, full=case == "full", warmed=forget_peak)
    return {"estimate": total, "grown": status("VmHWM") - before, "unused": max(mapped - used, 0)}


def settle() -> None:
    """Free unused memory and return it to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def forget_peak() -> None:
    settle()
    Path("/proc/self/clear_refs").write_text("5")


def mappings(file: Path) -> Iterator[tuple[int, int, int]]:
    """Address, length and resident bytes of each mapping of a file."""
    found = None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line.split()[0].count("-") == 1 and ":" not in line.split()[0]:
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            found = (start, end - start) if line.endswith(f" {file}") else None
        elif line.startswith("Rss:") and found is not None:
            yield *found, int(line.split()[1]) * 1024


def resident(file: Path) -> int:
    return sum(rss for _, _, rss in mappings(file))


def give_back(file: Path) -> None:
    """Make the system reclaim a mapped file's pages, as it does under memory pressure; changed pages stay."""
    library = ctypes.CDLL(None, use_errno=True)
    for start, length, _ in list(mappings(file)):
        if library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), MADV_PAGEOUT):
            raise OSError(ctypes.get_errno(), "madvise")


def steps(network: Any, work: Any, *, full: bool, warmed: Callable[[], None] = lambda: None) -> None:
    """Forward, backward and the optimiser, twice; ``warmed`` is called between."""
    import torch

    from anymal_eval.anymal.conversation import Prompt

    if full:
        network.llm.requires_grad_(True)
    network.train()
    trained = [value for value in network.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-5, foreach=False)
    windows = [torch.randn(1, 6, 1000) for _ in range(work.rows)]
    prompts = [Prompt(pieces=((), (5,) * (work.text_tokens - row)), media=("imu",)) for row in range(work.rows)]
    answers = [(7,) * work.new_tokens] * work.rows
    for number in range(2):
        if number:
            warmed()
        tokens = network.project("imu", network.encode("imu", windows))
        network.loss(network.rows(prompts, [[one] for one in tokens], answers)).backward()
        optimiser.step()
        optimiser.zero_grad()


if __name__ == "__main__":
    main()
