"""``python -m anymal_eval.training.demo_model``: make the demo model from nothing but the demo world.

Each part is made in a process of its own. Parts that do not need each other run side by side, one thread each: on two
cores that is faster than two threads. Finished parts are kept, so an interrupted recipe resumes.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import click

from anymal_eval.codec import read_json_lines
from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.training.demo_model import recipe
from anymal_eval.training.demo_model.recipe import SCALES, STAGES, Figures, Scale
from anymal_eval.training.demo_model.world import CAPTION, KINDS

NOTE = "the demo model"
# The last: a checkout that is not installed is found in the working folder.
ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "MKL_NUM_THREADS": "1", "PYTHONSAFEPATH": ""}


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The work folder; the same one resumes.")
@click.option("--scale", type=click.Choice(sorted(SCALES)), default="full", help="small: a quick check of all parts.")
@click.option("--seed", default=0, help="Seed of stages 1 and 2; all else has seed 0.")
@click.option("--part", help="Make this part only, in this process.")
def main(out: Path, scale: str, seed: int, part: str | None) -> None:
    """Make the demo model from the demo world's training split: tokenizer, LLM, four encoders, stage 1, stage 2."""
    if part is not None:
        _make(out, part, SCALES[scale], seed)
        return
    out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(recipe.LANES)) as pool:
        list(pool.map(partial(_make_each, out, scale, seed), recipe.LANES))
    _make_each(out, scale, seed, STAGES)
    click.echo(f"the checkpoint is {out / 'model' / 'checkpoint'}")


def _make_each(out: Path, scale: str, seed: int, parts: Sequence[str]) -> None:
    for part in parts:
        if part not in recipe.finished_parts(out):
            command = [sys.executable, "-m", "anymal_eval.training.demo_model", "--out", str(out), "--part", part]
            command += ["--scale", scale, "--seed", str(seed)]
            threads = {"OMP_NUM_THREADS": "2" if part in STAGES else "1"}  # nothing runs beside a stage
            subprocess.run(command, env={**os.environ, **ENVIRONMENT, **threads}, check=True)


def _make(out: Path, part: str, scale: Scale, seed: int) -> None:
    import torch

    from anymal_eval.training.demo_model import language, towers, world

    figures = Figures(out, part, scale.courses.get(part))
    if part in STAGES:
        _train_stage(part, out, scale, seed)
        losses = [row["loss"] for _, row in read_json_lines(out / part / "log.jsonl") if "loss" in row]
        for step, loss in enumerate(losses[-5:]):
            figures.log(step, float(loss))
        figures.close()
        return
    torch.set_num_threads(1)
    counts = {kind: count if kind in recipe.needed_scenes(part) else 0 for kind, count in scale.scenes.items()}
    scenes = world.draw(counts, scale.texts, seed=0)
    if part == "world":
        world.write(scenes, out / "world", seed=0)
    elif part == "llm":
        language.save(*language.train(scenes, scale.courses["llm"], 0, figures.log), out / "model" / "llm")
    else:
        (kind,) = recipe.needed_scenes(part)
        towers.train(recipe.network(out), kind, scenes.pairs[kind], scale.courses[part], figures.log)
    figures.close()


def _train_stage(stage: str, out: Path, scale: Scale, seed: int) -> None:
    """As ``anymal-eval train`` trains any other network."""
    from anymal_eval.anymal import checkpoint
    from anymal_eval.checkpoints.loading import Loading
    from anymal_eval.training import run
    from anymal_eval.training.plan import make_plan
    from anymal_eval.training.resolve import resolve

    course, world = scale.courses[stage], out / "world"
    shared = {
        "stage": stage, "out": out / stage, "steps": course.steps, "batch_size": course.rows, "warmup": 0.05,
        "learning_rate": course.rate, "seed": seed, "features": out / "features", "note": NOTE,
    }  # fmt: skip
    if stage == "align":
        data = tuple(f"pairs:{world / f'pairs-{kind}.jsonl'}" for kind in KINDS)
        parts = tuple(f"{part}={path}" for part, path in recipe.backbones(out).items())
        weights = tuple(recipe.ALIGNED[kind] for kind in KINDS)
        plan = make_plan(network="demo", data=data, weights=weights, backbones=parts, prompt=CAPTION, **shared)
    else:
        data = (f"instructions:{world / 'instructions.jsonl'}",)
        network = str(out / "align" / "checkpoint")
        plan = make_plan(network=network, data=data, lora_rank=16, lora_alpha=32, **shared)
    finished = run.train(resolve(plan), _Console())
    if stage == "instruct":
        # Saved beside its backbones, with paths relative to itself, so that the whole folder can be shipped.
        checkpoint.save(checkpoint.load(finished.checkpoint, Loading()), out / "model" / "checkpoint", note=NOTE)


class _Console(SilentConsole):
    def message(self, text: str) -> None:
        print(text, flush=True)


if __name__ == "__main__":
    main()
