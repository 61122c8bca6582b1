"""Does a projector learn as well with an LLM in nf4 as in fp32? Same seed, same data, the last losses.

    python -m benchmarks.training_nf4 [--steps 150] [--examples 1000] [--folder DIR] [--write]

``train align`` twice from scratch on audio of the demo world's training half in AudioCaps' layout, over the frozen
parts of the demo model that is part of the package. The compared loss is the mean over the last 20 steps.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from anymal_eval import paths
from anymal_eval.training.demo_model.world import CAPTION
from benchmarks.measuring import write_section

LAST = 20
ALLOWED = 1.05
KINDS = {"none": "fp32", "nf4": "nf4"}
PARTS = {"llm": "llm", "image": "image", "audio": "audio", "video": "video", "imu": "imu.safetensors"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--folder", type=Path, help="Kept; a folder that is deleted where not given.")
    parser.add_argument("--write", action="store_true", help="Put the table into README.md.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        call("data", "draw", "audiocaps", "--examples", options.examples, "--data-root", folder / "world")
        found = {kind: trained(folder, kind, options) for kind in KINDS}
    ratio = found["nf4"][1] / found["none"][1]
    lines = [
        f"`python -m benchmarks.training_nf4 --write`; {options.steps} steps of 16 audio clips out of "
        f"{options.examples}, from scratch; losses are means of {LAST} steps.",
        "",
        "| the frozen language model in | loss of the first steps | of the last |",
        "|---|---|---|",
        *(f"| {name} | {found[kind][0]:.4f} | {found[kind][1]:.4f} |" for kind, name in KINDS.items()),
        "",
        f"nf4 against fp32 at the end: {ratio:.4f}; required: at most {ALLOWED}.",
    ]
    print("\n".join(lines))
    if options.write:
        write_section("training in nf4", "\n".join(lines))
    sys.exit(ratio > ALLOWED)


def trained(folder: Path, kind: str, options: argparse.Namespace) -> tuple[float, float]:
    """The mean losses of the first and of the last steps."""
    model, out, steps = paths.demo_model().parent, folder / kind, options.steps
    places = [word for part, name in PARTS.items() for word in ("--backbone", f"{part}={model / name}")]
    call(
        "train", "align", "demo", *places, "--data", f"audiocaps:{folder / 'world' / 'audiocaps' / 'train.csv'}",
        "--prompt", CAPTION, "--quantize", kind, "--steps", steps, "--batch-size", 16,
        "--learning-rate", options.rate, "--warmup", 10, "--log-every", 1, "--save-every", steps, "--device", "cpu",
        "--features", folder / "features", "--out", out,
    )  # fmt: skip
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    if len(losses) != steps:
        raise SystemExit(f"{out / 'log.jsonl'} holds {len(losses)} losses of {steps}; delete the folder")
    return float(np.mean(losses[:LAST])), float(np.mean(losses[-LAST:]))


def call(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "anymal_eval", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
