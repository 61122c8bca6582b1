"""[lora] of a preset reaches stage 2 through the checkpoint of stage 1; options come before it."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from anymal_eval.anymal import checkpoint, lora
from anymal_eval.anymal.config import LoraConfig
from anymal_eval.errors import NeedsExtra, WrongUse
from anymal_eval.training import resolve as resolving
from anymal_eval.training.memory import forecast_training
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


def test_targets_have_spaces_around_their_commas(folder: Path, whole: Path, tmp_path: Path) -> None:
    """The saved weights are of both, not only the settings."""
    made = instruct(folder, whole / "checkpoint", tmp_path / "out", lora_rank=2, lora_targets=" q_proj, v_proj")
    assert checkpoint.read(made).config.lora == LoraConfig(rank=2, targets=("q_proj", "v_proj"))
    names = load_file(made / "lora" / lora.WEIGHTS)
    assert {kind for name in names for kind in ("q_proj", "v_proj") if kind in name} == {"q_proj", "v_proj"}


LINEAR = "down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj"
HOW = "write names of linear layers, such as q_proj,v_proj, or all-linear alone"


@pytest.mark.parametrize(
    ("targets", "line"),
    [
        ("q_proj,foo", f"LoRA targets: the language model has no linear layer named foo; it has {LINEAR}"),
        ("foo,bar", f"LoRA targets: the language model has no linear layer named foo or bar; it has {LINEAR}"),
        ("self_attn", f"LoRA targets: the language model has no linear layer named self_attn; it has {LINEAR}"),
        ("all-linear,q_proj", f"LoRA targets 'all-linear,q_proj': {HOW}"),
        ("", f"LoRA targets '': a name is empty; {HOW}"),
        ("q_proj,", f"LoRA targets 'q_proj,': a name is empty; {HOW}"),
    ],
)
def test_targets_that_are_no_layers(folder: Path, whole: Path, tmp_path: Path, targets: str, line: str) -> None:
    with pytest.raises(WrongUse) as refused:
        instruct(folder, whole / "checkpoint", tmp_path / "out", lora_targets=targets)
    assert str(refused.value) == line
    plan = make_plan(
        stage="instruct",
        network=str(folder / "network.toml"),
        data=(),
        out=tmp_path,
        lora_targets=targets,
        device="cpu",
    )
    with pytest.raises(WrongUse) as refused:
        forecast_training(plan)
    assert str(refused.value) == line


def test_adapters_that_are_left_out_have_no_options(folder: Path, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongUse) as refused:
        instruct(folder, whole / "checkpoint", tmp_path, no_lora=True, lora_rank=8, lora_dropout=0.0)
    assert str(refused.value) == (
        "--no-lora: there are no adapters to have --lora-rank, --lora-dropout; leave one of them out"
    )


def test_an_optimizer_that_is_not_installed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the network is loaded."""
    monkeypatch.setattr(resolving, "find_spec", lambda name: None)
    with pytest.raises(NeedsExtra) as refused:
        align_job(folder, tmp_path, optim="adamw-8bit")
    assert str(refused.value) == (
        "--optim adamw-8bit needs bitsandbytes: pip install bitsandbytes, or give --optim adamw"
    )
