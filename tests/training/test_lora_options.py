"""[lora] of a preset reaches stage 2 through the checkpoint of stage 1; options come before it."""

from pathlib import Path

from anymal_eval.anymal import checkpoint, lora
from anymal_eval.anymal.config import LoraConfig
from anymal_eval.training.plan import make_plan
from anymal_eval.training.resolve import resolve
from anymal_eval.training.run import train
from tests.training.conftest import RECIPE, align_job


def instruct(folder: Path, start: Path, out: Path, **options: object) -> Path:
    data = (f"instructions:{folder / 'data' / 'instructions.jsonl'}",)
    recipe = {**RECIPE, "steps": 1, "warmup": 0}
    return train(
        resolve(make_plan(stage="instruct", network=str(start), out=out, data=data, device="cpu", **recipe, **options))
    ).checkpoint


def test_the_preset_s_adapters_are_those_of_stage_2(folder: Path, tmp_path: Path) -> None:
    text = (folder / "network.toml").read_text(encoding="utf-8")
    preset = folder / "narrow.toml"
    wanted = LoraConfig(rank=3, alpha=7, targets=("q_proj", "v_proj"))
    lines = '[lora]\nrank = 3\nalpha = 7\ntargets = ["q_proj", "v_proj"]\n'
    preset.write_text(text.partition("[lora]")[0] + lines, encoding="utf-8")
    job = align_job(folder, tmp_path / "align", network=str(preset), steps=1, warmup=0)
    first = train(job)
    assert checkpoint.read(first.checkpoint).config.lora == wanted
    assert not checkpoint.read(first.checkpoint).adapters
    aligned = checkpoint.load(first.checkpoint, job.loading)
    assert not lora.is_attached(aligned.llm.model)

    second = instruct(folder, first.checkpoint, tmp_path / "instruct")
    assert checkpoint.read(second).adapters
    made = checkpoint.load(second, job.loading)
    assert made.config.lora == wanted
    shapes = {name: value.shape for name, value in made.llm.named_parameters() if "lora_A" in name}
    assert shapes
    assert all(("q_proj" in name or "v_proj" in name) and shape[0] == 3 for name, shape in shapes.items())
    # and once more, with nothing given
    assert checkpoint.read(instruct(folder, second, tmp_path / "again")).config.lora == wanted


def test_options_come_before_the_preset(folder: Path, whole: Path, tmp_path: Path) -> None:
    made = instruct(folder, whole / "checkpoint", tmp_path / "out", lora_rank=2, lora_targets="down_proj")
    # This network has no [lora]: alpha is AnyMAL's.
    assert checkpoint.read(made).config.lora == LoraConfig(rank=2, alpha=16, targets=("down_proj",))
