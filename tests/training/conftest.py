"""A toy network, toy pictures and sounds, and trainings of a few steps."""

import gc
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from anymal_eval.anymal import tiny
from anymal_eval.training.plan import make_plan
from anymal_eval.training.resolve import ResolvedTraining, resolve
from anymal_eval.training.run import train

COLOURS = {"red": (200, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 200)}
RECIPE = {"steps": 6, "batch_size": 6, "learning_rate": 1e-2, "warmup": 2}
Rows = list[dict[str, Any]]


@pytest.fixture(scope="session", autouse=True)
def _quick_collection() -> Iterator[None]:
    """What was imported is left out of garbage collection, which accelerate has run whole after every training."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``network.toml`` beside its backbones, ``data/pairs.jsonl`` and ``data/instructions.jsonl``."""
    root = tmp_path_factory.mktemp("training")
    tiny.write(root)
    preset = Path(tiny.__file__).parent / "presets" / "tiny.toml"
    text = preset.read_text(encoding="utf-8").partition("[modalities.video.encoder]")[0]
    for name in ("llm", "clip", "clap"):
        text = text.replace(f'path = "{name}"', f'path = "backbones/{name}"')
    (root / "network.toml").write_text(text, encoding="utf-8")
    (root / "data").mkdir()
    write_data(root / "data")
    return root


@pytest.fixture(scope="session")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stage 1 of ``align_job``, never stopped; logged and saved at every step."""
    out = tmp_path_factory.mktemp("whole")
    train(every_step(align_job(folder, out)))
    return out


def write_data(folder: Path, count: int = 20) -> None:
    rng = np.random.default_rng(0)
    pairs, instructions = [], []
    for number in range(count):
        if number % 4 == 3:
            tone = 0.3 * np.sin(np.arange(24_000) * (0.02 + 0.01 * number))
            soundfile.write(folder / f"{number}.wav", tone, 48_000)
            pairs.append({"id": f"p{number}", "audio": f"{number}.wav", "caption": f"a sound of kind {number}"})
            continue
        name = list(COLOURS)[number % 3]
        pixels = np.full((32, 32, 3), COLOURS[name]) + rng.integers(0, 40, (32, 32, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        pairs.append({"id": f"p{number}", "image": f"{number}.png", "caption": f"a {name} picture"})
        instructions.append(
            {"id": f"i{number}", "image": f"{number}.png", "instruction": "what color is it", "response": name}
        )
    instructions.append({"id": "text", "instruction": "say yes", "response": "yes"})
    for name, rows in (("pairs", pairs), ("instructions", instructions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def align_job(folder: Path, out: Path, **changed: Any) -> ResolvedTraining:
    """Stage 1 from scratch on pictures and sounds; options of ``train`` may be changed by name."""
    data = (f"pairs:{folder / 'data' / 'pairs.jsonl'}",)
    options = {"network": str(folder / "network.toml"), "data": data, "device": "cpu", **RECIPE, **changed}
    return resolve(make_plan(stage="align", out=out, **options))


def instruct_job(folder: Path, checkpoint: Path, out: Path, **changed: Any) -> ResolvedTraining:
    """Stage 2 from a checkpoint."""
    data = (f"instructions:{folder / 'data' / 'instructions.jsonl'}",)
    options = {"data": data, "device": "cpu", "lora_rank": 4, "lora_alpha": 8, **RECIPE, **changed}
    return resolve(make_plan(stage="instruct", network=str(checkpoint), out=out, **options))


def saving(job: ResolvedTraining, **changed: Any) -> ResolvedTraining:
    """The same training, saved, logged and evaluated in another way."""
    return replace(job, plan=replace(job.plan, saving=replace(job.plan.saving, **changed)))


def logged(out: Path) -> Rows:
    return [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def losses(out: Path) -> list[float]:
    return [row["loss"] for row in logged(out) if "loss" in row]


def assert_close(one: Sequence[float], other: Sequence[float], within: float = 1e-6) -> None:
    assert len(one) == len(other)
    np.testing.assert_allclose(one, other, rtol=within, atol=within)


def every_step(job: ResolvedTraining) -> ResolvedTraining:
    """Logged and saved at every step."""
    return saving(job, log_every=1, save_every=1, keep=0)


Stopper = Callable[..., dict[str, float]]


class Stopped(Exception):
    """What a test stops a training with."""


def stop_at(step: int) -> Stopper:
    """An ``evaluate`` that stops a training after a step."""

    def evaluate(network: object, now: int) -> dict[str, float]:
        del network
        if now == step:
            raise Stopped
        return {}

    return evaluate


def write_pictures(shard: Path, pictures: Sequence[bytes]) -> None:
    with tarfile.open(shard, "w") as archive:
        for number, picture in enumerate(pictures):
            for name, body in ((f"{number}.png", picture), (f"{number}.txt", b"red")):
                entry = tarfile.TarInfo(name)
                entry.size = len(body)
                archive.addfile(entry, io.BytesIO(body))


def content(out: Path, name: str = "training.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / name).read_text(encoding="utf-8"))
    return found
