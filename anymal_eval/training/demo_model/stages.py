"""Stage 1 and stage 2 of the demo model, by the commands that any other network is trained with."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from anymal_eval.anymal import checkpoint
from anymal_eval.checkpoints.loading import Loading
from anymal_eval.codec import read_json_lines
from anymal_eval.training.demo_model.recipe import Scale
from anymal_eval.training.demo_model.world import CAPTION, KINDS

NOTE = "the demo model"
LORA = ("--lora-rank", "16", "--lora-alpha", "32")


def run(stage: str, out: Path, scale: Scale, seed: int) -> list[float]:
    """Carry out ``align`` or ``instruct`` in ``out``; after the latter the checkpoint is ``out/model/checkpoint``.

    Returns:
        The last losses of its log, a mean of ten steps each.

    Raises:
        CalledProcessError: the command failed; what it said is on the terminal.
    """
    typed = [sys.executable, "-m", "anymal_eval", *command(stage, out, scale, seed)]
    subprocess.run(typed, env=environment(), check=True)
    if stage == "instruct":
        # Beside its backbones it names them from itself, so the whole folder can be shipped.
        network = checkpoint.load(out / "instruct" / "checkpoint", Loading())
        checkpoint.save(network, out / "model" / "checkpoint", note=NOTE)
    rows = [row for _, row in read_json_lines(out / stage / "log.jsonl")]
    return [float(row["loss"]) for row in rows if "loss" in row][-5:]


def environment() -> dict[str, str]:
    """Two threads: nothing else runs beside these stages."""
    return {**os.environ, "OMP_NUM_THREADS": "2"}


def command(stage: str, out: Path, scale: Scale, seed: int) -> Sequence[str]:
    """What is typed after ``anymal-eval``."""
    course = scale.courses[stage]
    world, model = out / "world", out / "model"
    shared = ["--steps", str(course.steps), "--batch-size", str(course.rows), "--learning-rate", f"{course.rate:g}"]
    shared += ["--warmup", "0.05", "--seed", str(seed), "--features", str(out / "features"), "--note", NOTE]
    shared += ["--out", str(out / stage)]
    if stage == "align":
        backbones = [f"{kind}={model / kind}" for kind in KINDS if kind != "imu"]
        backbones += [f"llm={model / 'llm'}", f"imu={model / 'imu.safetensors'}"]
        places = [word for name in backbones for word in ("--backbone", name)]
        data = [word for kind in KINDS for word in ("--data", f"pairs:{world / f'pairs-{kind}.jsonl'}")]
        return ["train", "align", "demo", *places, *data, "--prompt", CAPTION, *shared]
    data = ["--data", f"instructions:{world / 'instructions.jsonl'}"]
    return ["train", "instruct", str(out / "align" / "checkpoint"), *data, *LORA, *shared]
