"""How long a training step waits for its input, and how many pictures a second it reads, against the loop before.

    python -m benchmarks.training_input [--before CHECKOUT] [--steps 20] [--write]

Cached: stage 1 of a network of about 30 M parameters at batch 256 with the features of its pictures in packed shards;
the log's ``input_wait``, which is the fraction of a step in which the trainer waits. Uncached: photographs of 12
megapixels, 2 threads, an encoder and a language model that take little beside decoding; steps a second of this version,
exact and reduced, and of a checkout of the version before, each in a process of its own, interleaved in one run. Wall
time depends on what else runs on the machine, so the processor seconds of each process are beside it.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.measuring import write_section

ROOT = Path(__file__).parents[1]
LARGE = """
[llm]
path = "backbones/llm"
[llm.architecture]
model_type = "llama"
vocab_size = 512
hidden_size = 512
intermediate_size = 1408
num_hidden_layers = 9
num_attention_heads = 8
num_key_value_heads = 8
max_position_embeddings = 1024
[modalities.image.encoder]
kind = "clip"
path = "backbones/clip"
[modalities.image.encoder.architecture]
model_type = "clip_vision_model"
hidden_size = 128
intermediate_size = 256
num_hidden_layers = 3
num_attention_heads = 4
image_size = 112
patch_size = 8
[modalities.image.projector]
kind = "perceiver"
tokens = 16
layers = 2
width = 128
heads = 2
head_size = 32
"""
SIDES = {"cached": (160, 120), "uncached": (4032, 3024)}
BATCH = {"cached": 256, "uncached": 16}
PICTURES = {"cached": 1024, "uncached": 96}
CHILD = """
import json, sys, time
from anymal_eval.cli.main import main
ahead, *sys.argv[1:] = sys.argv[1:]
from anymal_eval.cli._progress import Terminal
opened = Terminal.opened
def patched(terminal):
    from anymal_eval.training import features, run  # imported as the command does, after its own settings
    if ahead == "no":  # as where features take more memory than there is: in the loop itself
        features.FeatureEncoder.encode_ahead = lambda *_: None
    real = run._fit
    def fit(*arguments):
        start, processor = time.perf_counter(), time.process_time()
        real(*arguments)
        print(json.dumps([time.perf_counter() - start, time.process_time() - processor]))
    run._fit = fit
    return opened(terminal)
Terminal.opened = patched
main()
"""


def write(folder: Path, kind: str, rows: int = 0) -> None:
    """Backbones with random weights, pictures, and their table: a row each, or so many, each of a file of its own."""
    from anymal_eval.anymal import tiny
    from anymal_eval.anymal.config import read_toml

    (folder / "network.toml").write_text(LARGE if kind == "cached" else _small(), encoding="utf-8")
    config = read_toml(folder / "network.toml")
    tiny.write_llm(folder / "backbones" / "llm", config.llm)
    tiny.write_encoder(folder / "backbones" / "clip", config.modalities["image"].encoder)
    rng = np.random.default_rng(0)
    width, height = SIDES[kind]
    noise = rng.integers(-10, 10, (height, width, 3))
    for number in range(PICTURES[kind]):
        small = Image.fromarray(rng.integers(0, 255, (height // 24 + 1, width // 24 + 1, 3), np.uint8))
        pixels = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(int) + noise
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.jpg", quality=90)
    for number in range(PICTURES[kind], rows):
        os.link(folder / f"{number % PICTURES[kind]}.jpg", folder / f"{number}.jpg")
    table = [
        {"id": str(number), "image": f"{number}.jpg", "caption": f"picture number {number} of many"}
        for number in range(rows or PICTURES[kind])
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")


def _small() -> str:
    return (
        LARGE.replace("hidden_size = 512", "hidden_size = 64")
        .replace("intermediate_size = 1408", "intermediate_size = 128")
        .replace("num_hidden_layers = 9", "num_hidden_layers = 2")
        .replace("hidden_size = 128", "hidden_size = 32")
        .replace("intermediate_size = 256", "intermediate_size = 64")
        .replace("image_size = 112", "image_size = 224")
        .replace("patch_size = 8", "patch_size = 28")
    )


def trained(folder: Path, kind: str, name: str, steps: int, checkout: Path = ROOT, **options: Any) -> dict[str, float]:
    """Seconds and processor seconds of the steps of one training, in a process of its own."""
    out = folder / "out" / f"{name}-{time.time_ns()}"
    plan = {
        "data": f"pairs:{folder / 'pairs.jsonl'}", "out": out, "device": "cpu", "steps": steps,
        "batch-size": BATCH[kind], "learning-rate": 1e-3, "log-every": 1, "save-every": 1000, "threads": 2, **options,
    }  # fmt: skip
    given = [text for option, value in plan.items() for text in (f"--{option}", str(value))]
    ahead = "yes" if kind == "cached" else "no"
    command = [sys.executable, "-c", CHILD, ahead, "train", "align", str(folder / "network.toml"), *given]
    here = os.environ | {"PYTHONPATH": paths_with(checkout), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=here, cwd=checkout, check=True, stdout=subprocess.PIPE, text=True)
    seconds, processor = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("[")))
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    waits = [row["input_wait"] for row in rows if "input_wait" in row]
    return {"seconds": seconds, "processor": processor, "wait": float(np.mean(waits)) if waits else float("nan")}


def packed(folder: Path, steps: int, **options: Any) -> dict[str, float]:
    """Encode the pictures of a folder, pack their features, and train so many steps with them."""
    given = {"features": str(folder / "features"), **options}
    time.sleep(2.5)  # files that were just written are not remembered by their digests
    trained(folder, "cached", "fill", 1, **given)
    subprocess.run(
        [sys.executable, "-c", "import sys; from pathlib import Path; from anymal_eval.anymal.features import "
         "FeatureCache; FeatureCache(Path(sys.argv[1])).pack()", given["features"]],
        env=os.environ | {"PYTHONPATH": paths_with(ROOT)}, check=True,
    )  # fmt: skip
    return trained(folder, "cached", "read", steps, **given)


def paths_with(checkout: Path) -> str:
    """PYTHONPATH with a checkout before the rest."""
    return os.pathsep.join(filter(None, (str(checkout), os.environ.get("PYTHONPATH"))))


def losses(out: Path) -> list[float]:
    """Those of a training's log."""
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def cached(steps: int) -> list[str]:
    """The fraction of a step that waits for cached features."""
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), "cached")
        found = packed(Path(name), steps)
    step = found["seconds"] / steps
    return [
        f"| input wait, {BATCH['cached']} cached features a step of {step:.1f} s | {found['wait']:.1%} | under 10 % |"
    ]


def uncached(steps: int, before: Path | None, rounds: int) -> list[str]:
    """Samples a second against the loop before, in one run."""
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, "uncached", BATCH["uncached"] * steps)
        for _ in range(rounds):
            if before is not None:
                found.setdefault("before", []).append(trained(folder, "uncached", "before", steps, before))
            for decode in ("exact", "reduced"):
                found.setdefault(decode, []).append(trained(folder, "uncached", decode, steps, decode=decode))
    count, lines = BATCH["uncached"] * steps, []
    base = found.get("before", found["exact"])
    for kind, rows in found.items():
        wall = np.median([row["seconds"] for row in rows])
        processor = np.median([row["processor"] for row in rows])
        faster = np.median([one["seconds"] / row["seconds"] for one, row in zip(base, rows, strict=True)])
        cheaper = np.median([one["processor"] / row["processor"] for one, row in zip(base, rows, strict=True)])
        required = "at least 3x" if kind == "reduced" else ""
        lines.append(
            f"| 12 megapixels uncached, {kind}: {count / wall:.1f} samples a second, {processor / count * 1e3:.0f} ms "
            f"of processor each | {faster:.2f}x, processor {cheaper:.2f}x | {required} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="A checkout of the version to compare with.")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=["cached", "uncached"])
    parser.add_argument("--write", action="store_true", help="Put the table into README.md.")
    options = parser.parse_args()
    lines = ["| what | measured | required |", "|---|---|---|"]
    if options.only != "uncached":
        lines += cached(options.steps)
    if options.only != "cached":
        lines += uncached(options.steps, options.before, options.rounds)
    load = os.getloadavg()[0]
    given = f" --before CHECKOUT --rounds {options.rounds}" if options.before else ""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    about = (
        f"`python -m benchmarks.training_input{given} --steps {options.steps} --write`; {os.cpu_count()} cores, "
        f"load {load:.1f}; peak of the children {peak:,.0f} MB."
    )
    print("\n".join([about, "", *lines]))
    if options.write:
        write_section("training input", "\n".join([about, "", *lines]))


if __name__ == "__main__":
    main()
