"""Peak memory of the loss of one step at a vocabulary of 128,256: all logits at once, and those of targets in parts.

    python -m benchmarks.loss_memory [--rows 4] [--positions 512] [--write]

Each case runs in a process of its own on a random LLaMA-shaped model of two narrow layers, forward and backward. What
is printed is the growth of the resident size (VmHWM) over that of the loaded process.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

from benchmarks.measuring import write_section

CASES = {"all": "all logits, one cross-entropy", "parts": "logits of targets, in parts"}
VOCABULARY, WIDTH = 128_256, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--positions", type=int, default=512)
    parser.add_argument("--case", choices=CASES, help="Measure it in this process.")
    parser.add_argument("--targets", type=int, default=0, help="Of each row.")
    parser.add_argument("--write", action="store_true", help="Put the table into README.md.")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.case, options.rows, options.positions, options.targets)))
        return
    lines = [
        f"`python -m benchmarks.loss_memory --write`; one step on {options.rows} rows of {options.positions} "
        "positions, a vocabulary of 128,256, fp32 on a CPU; growth of the resident size at the peak.",
        "",
        "| targets of a row | all logits | logits of targets, in parts | ratio | same loss |",
        "|---|---|---|---|---|",
    ]
    for targets in (16, options.positions // 2, options.positions - 1):
        found = {case: run(case, options, targets) for case in CASES}
        grown = {case: value["grown"] for case, value in found.items()}
        same = abs(found["all"]["loss"] - found["parts"]["loss"]) <= 1e-5 * abs(found["all"]["loss"])
        lines.append(
            f"| {targets} | {grown['all'] / 2**20:,.0f} MiB | {grown['parts'] / 2**20:,.0f} MiB "
            f"| {grown['all'] / grown['parts']:.1f} | {'yes' if same else 'no'} |"
        )
        print(lines[-1], flush=True)
    if options.write:
        write_section("loss memory", "\n".join(lines))


def run(case: str, options: argparse.Namespace, targets: int) -> dict[str, float]:
    command = [
        sys.executable, "-m", "benchmarks.loss_memory", "--case", case, "--targets", str(targets),
        "--rows", str(options.rows), "--positions", str(options.positions),
    ]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(case: str, rows: int, positions: int, targets: int) -> dict[str, float]:
    import torch
    import transformers
    from torch.nn.functional import cross_entropy

    from anymal_eval.anymal.target_loss import target_losses
    from benchmarks.memory import status

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, vocab_size=VOCABULARY,
    )  # fmt: skip
    model: Any = transformers.LlamaForCausalLM(config).eval().requires_grad_(False)
    inputs = {
        "inputs_embeds": torch.randn(rows, positions, WIDTH, requires_grad=True),
        "attention_mask": torch.ones(rows, positions, dtype=torch.long),
        "position_ids": torch.arange(positions).repeat(rows, 1),
    }
    wanted = torch.full((rows, positions), -100)
    wanted[:, -targets:] = torch.randint(VOCABULARY, (rows, targets))
    before = status("VmRSS")
    if case == "all":
        logits = model(**inputs, use_cache=False).logits[:, :-1].flatten(0, 1)
        loss = cross_entropy(logits.float(), wanted[:, 1:].flatten(), ignore_index=-100, reduction="sum")
        del logits
    else:
        predicting = (wanted.flatten() != -100).nonzero().flatten() - 1
        loss = target_losses(model, inputs, predicting, wanted.flatten()[predicting + 1]).sum()
    loss.backward()
    return {"grown": status("VmHWM") - before, "loss": loss.item()}


if __name__ == "__main__":
    main()
