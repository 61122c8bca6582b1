"""The estimate of ``anymal/memory.py`` against the peak resident growth of a process that runs the workload.

    python benchmarks/memory.py [--layers 6] [--folder /tmp/anymal-memory]

Writes a random language model of more than 1 GB once, then runs each case in a process of its own: first imports and a
toy run, so that neither libraries nor first-use buffers count, then the peak (VmHWM, reset in between) of load and run.
Required to be within 15 %: fp32, and training with ``anymal/allocator.py``, which training uses. Only shown: training
without it, where glibc keeps freed memory (resident, but of no tensor); bf16 on a CPU, whose matrix products use
internal fp32 buffers; and a checkpoint stored in another type than it runs in, whose file is mapped in addition to the
converted weights (resident, but pages that the system may take back).
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

CASES = ["fp32-generate", "fp32-train", "plain-malloc-train", "bf16-generate", "bf16-from-fp32"]
SHAPE = {"hidden_size": 2048, "intermediate_size": 5504, "num_attention_heads": 16, "vocab_size": 8000}


def status(field: str) -> int:
    """A line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/anymal-memory"))  # noqa: S108
    parser.add_argument("--case", choices=CASES, help="One of them alone.")
    parser.add_argument("--here", action="store_true", help="Measure the case in this process.")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.case, options.folder, options.layers)))
        return
    write(options.folder, options.layers)
    failed = False
    for case in [options.case] if options.case else CASES:
        command = [
            sys.executable, __file__, "--here", "--case", case, "--folder", str(options.folder),
            "--layers", str(options.layers),
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.getcwd()}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        found = json.loads(done.stdout.splitlines()[-1])
        error = 100 * (found["estimate"] / found["grown"] - 1)
        estimated, grown = found["estimate"] / 2**20, found["grown"] / 2**20
        print(f"{case:<15} estimate {estimated:7.0f} MiB, resident growth {grown:7.0f} MiB, {error:+.1f} %")
        print(f"{'':<15} {found['parts']}", flush=True)
        failed |= case.startswith("fp32") and abs(error) > 15
    sys.exit(1 if failed else 0)


def config(folder: Path, layers: int, stored: str = "llm") -> "AnyMALConfig":  # noqa: F821
    """A large language model behind a toy IMU encoder."""
    from anymal_eval.anymal.config import read_config

    encoder = {"kind": "imu2clip", "path": str(folder / "imu.safetensors"), "width": 64}
    shape = {"model_type": "llama", "num_hidden_layers": layers, "max_position_embeddings": 1024, **SHAPE}
    return read_config(
        {
            "llm": {"path": str(folder / stored), "architecture": shape},
            "modalities": {"imu": {"encoder": encoder, "projector": {"kind": "linear"}}},
        },
        "benchmark",
    )


def write(folder: Path, layers: int) -> None:
    """Write both models, unless they exist."""
    from anymal_eval.anymal import tiny

    for place, size in ((folder, layers), (folder / "toy", 1)):
        own = config(place, size)
        if not (place / "llm" / "config.json").exists():
            tiny.write_llm(place / "llm", own.llm if place == folder else toy(place).llm)
            tiny.write_encoder(place / "imu.safetensors", own.modalities["imu"].encoder)
    if not (folder / "llm-bf16" / "config.json").exists():
        import torch
        import transformers

        transformers.AutoTokenizer.from_pretrained(folder / "llm").save_pretrained(folder / "llm-bf16")
        half = transformers.AutoModelForCausalLM.from_pretrained(folder / "llm", dtype=torch.bfloat16)
        half.save_pretrained(folder / "llm-bf16")


def toy(folder: Path) -> "AnyMALConfig":  # noqa: F821
    import dataclasses

    own = config(folder, 1)
    small = {**(own.llm.architecture or {}), "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    return dataclasses.replace(own, llm=dataclasses.replace(own.llm, architecture=small))


def measure(case: str, folder: Path, layers: int) -> dict[str, object]:
    """Estimate, run the toy, reset the peak, run the real model."""
    import gc

    import torch

    from anymal_eval.anymal.allocator import return_large_blocks
    from anymal_eval.anymal.memory import Workload, estimate
    from anymal_eval.checkpoints.loading import Loading

    precision, what = ("fp32", "train") if case == "plain-malloc-train" else case.split("-", 1)
    if case == "fp32-train":
        return_large_blocks()
    stored = "llm-bf16" if case == "bf16-generate" else "llm"
    loading = Loading(precision={"fp32": torch.float32, "bf16": torch.bfloat16}[precision])
    work = Workload(rows=4, text_tokens=256, new_tokens=8, train=what == "train")
    memory = estimate(config(folder, layers, stored), loading, work)
    run(toy(folder / "toy"), loading, work)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    run(config(folder, layers, stored), loading, work)
    parts = {
        "weights": memory.weight_bytes, "cache": memory.kv_cache, "activations": memory.activations,
        "working": memory.working, "gradients": memory.gradients, "optimiser": memory.optimiser,
    }  # fmt: skip
    return {
        "estimate": memory.total,
        "grown": status("VmHWM") - before,
        "parts": ", ".join(f"{name} {size / 2**20:.0f}" for name, size in parts.items()),
    }


def run(own: "AnyMALConfig", loading: "Loading", work: "Workload") -> None:  # noqa: F821
    """Load, then answer or train one step."""
    import torch

    from anymal_eval.anymal.conversation import Prompt
    from anymal_eval.anymal.model import create
    from anymal_eval.records import Decoding

    network = create(own, loading)
    windows = [torch.randn(1, 6, 1000) for _ in range(work.rows)]
    prompts = [Prompt(pieces=((), (5,) * (work.text_tokens - row)), media=("imu",)) for row in range(work.rows)]
    if not work.train:
        with torch.no_grad():
            tokens = network.project("imu", network.encode("imu", windows))
            how = Decoding(max_new_tokens=work.new_tokens, min_new_tokens=work.new_tokens)
            network.generate(network.rows(prompts, [[one] for one in tokens]), how)
        return
    network.train()
    optimiser = torch.optim.AdamW(network.projectors.parameters())
    for _ in range(2):
        tokens = network.project("imu", network.encode("imu", windows))
        answers = [(6,) * work.new_tokens] * work.rows
        network.loss(network.rows(prompts, [[one] for one in tokens], answers)).backward()
        optimiser.step()
        optimiser.zero_grad()


if __name__ == "__main__":
    main()
