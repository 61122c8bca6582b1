"""Parts of the network with a rate of their own, or left as they are; losses by kind; batches in halves."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from anymal_eval.errors import NeedsExtra, OtherRun, OutOfMemory, WrongUse
from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.training.load import load_network
from anymal_eval.training.loss_plot import plot
from anymal_eval.training.memory import forecast_training
from anymal_eval.training.parts import parameter_groups
from anymal_eval.training.plan import make_plan
from anymal_eval.training.resolve import resolve
from anymal_eval.training.run import train
from anymal_eval.training.training_module import LossesByKind, TrainingModule
from tests.training.conftest import (
    RECIPE,
    Stopped,
    align_job,
    assert_close,
    every_step,
    instruct_job,
    logged,
    losses,
    saving,
    stop_at,
)
from tests.training.test_loop import saved_weights

STEPS = 6


def test_a_frozen_projector_stays_and_a_rate_is_the_parts_own(folder: Path, tmp_path: Path) -> None:
    train(every_step(align_job(folder, tmp_path / "a", freeze=("audio",), rate=("image=0.005",))))
    saved = saved_weights(tmp_path / "a", STEPS)
    assert saved
    assert all(name.startswith("projectors.image") for name in saved)
    # The same rate as the whole recipe's: the same weights, whichever way it is given.
    train(every_step(align_job(folder, tmp_path / "b", freeze=("audio",), learning_rate=0.005)))
    other = saved_weights(tmp_path / "b", STEPS)
    assert all(torch.equal(value, other[name]) for name, value in saved.items())
    rows = [row for row in logged(tmp_path / "a") if "loss" in row]
    assert [row["learning_rate_image"] for row in rows] == [row["learning_rate"] / 2 for row in rows]  # of 1e-2


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"freeze": ("video",)}, "video: there is no such part to train; there are audio, image"),
        (
            {"rate": ("lora=1e-5",)},
            "lora: there is no such part to train; there are audio, image; train instruct has adapters",
        ),
        ({"freeze": ("image", "audio")}, "--freeze audio, image: nothing is left to train"),
        ({"rate": ("image=fast",)}, "--rate image=fast: write PART=RATE, such as lora=1e-5, once for each part"),
        (
            {"optim": "adamw-paged-8bit"},
            "--optim adamw-paged-8bit: only a GPU's memory is paged; give --optim adamw-8bit",
        ),
        (
            {"rate": ("image=1e-3",), "freeze": ("image",)},
            "--rate image: --freeze image leaves it as it is; give one of them",
        ),
        ({"learning_rate": float("nan")}, "--learning-rate nan: it must be a finite number"),
        ({"warmup": float("nan")}, "--warmup nan: it must be a finite number"),
        ({"weight_decay": float("inf")}, "--weight-decay inf: it must be a finite number"),
        ({"max_grad_norm": float("nan")}, "--max-grad-norm nan: it must be a finite number"),
        ({"rate": ("image=-1",)}, "--rate image=-1: a learning rate must be above 0"),
    ],
)
def test_parts_that_cannot_be(folder: Path, tmp_path: Path, options: dict[str, Any], line: str) -> None:
    with pytest.raises(WrongUse) as refused:
        train(align_job(folder, tmp_path, **options))
    assert str(refused.value) == line


def test_the_order_of_options_says_nothing(folder: Path, tmp_path: Path) -> None:
    """AdamW's states are saved by the place of their weights, so a part's place must not follow the command."""
    one = align_job(folder, tmp_path, rate=("image=1e-3", "audio=2e-3"))
    other = align_job(folder, tmp_path, rate=("audio=2e-3", "image=1e-3"))
    module = torch.nn.ModuleDict(
        {"projectors": torch.nn.ModuleDict({name: torch.nn.Linear(2, 2, bias=False) for name in ("image", "audio")})}
    )
    ones, others = (parameter_groups(module, [], 0.0, job.recipe.rates) for job in (one, other))
    assert [group.get("lr") for group in ones] == [group.get("lr") for group in others]
    assert [[id(value) for value in group["params"]] for group in ones] == [
        [id(value) for value in group["params"]] for group in others
    ]
    frozen = [align_job(folder, tmp_path, freeze=freeze).recipe.identity for freeze in (("audio",), ("audio", "audio"))]
    assert frozen[0] == frozen[1]


def test_losses_by_kind_continue_in_fewer_processes() -> None:
    kinds = LossesByKind()
    kinds.add_numbers({"image": (3.0, 2), "text": (1.0, 1)})
    kinds.add_numbers({"image": (1.0, 2)})
    assert kinds.numbers() == {"image": (4.0, 4), "text": (1.0, 1)}


def test_losses_by_kind_are_means_over_their_own_targets(folder: Path, whole: Path, tmp_path: Path) -> None:
    """In stage 2 rows have a picture or none; the loss of all is their mean by the number of targets."""
    job = every_step(instruct_job(folder, whole / "checkpoint", tmp_path / "a", learning_rate=1e-4))
    train(job)
    mixed = [row for row in logged(tmp_path / "a") if "loss_text" in row]
    assert mixed
    for row in mixed:
        low, high = sorted((row["loss_image"], row["loss_text"]))
        assert low - 1e-6 <= row["loss"] <= high + 1e-6
    # A kind that came before is logged where it is the only one, too.
    every = [row for row in logged(tmp_path / "a") if "loss" in row]
    alone = [row for row in every[every.index(mixed[0]) :] if "loss_text" not in row]
    assert alone
    assert [row["loss_image"] for row in alone] == pytest.approx([row["loss"] for row in alone], rel=1e-6)
    # Logged every third step, a line's losses are over three steps: stopped and resumed, they are the same.
    train(saving(instruct_job(folder, whole / "checkpoint", tmp_path / "b", learning_rate=1e-4), log_every=3))
    rows = [row for row in logged(tmp_path / "b") if "loss" in row]
    assert all("loss_image" in row for row in rows)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_out_of_memory_halves_the_rows_and_keeps_the_batch(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    """A backward pass that fails after its first gradients, for more than two rows."""
    wanted = align_job(folder, tmp_path / "wanted", accumulate=accumulate)
    train(every_step(wanted))
    forward = TrainingModule.forward
    sizes: list[int] = []

    def scarce(module: TrainingModule, batch: Any) -> Tensor:
        loss = forward(module, batch)
        sizes.append(len(batch.ids))
        if len(batch.ids) > 2:
            first = next(value for value in module.parameters() if value.requires_grad)
            first.grad = torch.full_like(first, 7.0)  # what the failed pass had added
            loss.register_hook(_fail)  # type: ignore[no-untyped-call]
        return loss

    monkeypatch.setattr(TrainingModule, "forward", scarce)
    messages: list[str] = []
    monkeypatch.setattr(SilentConsole, "message", lambda _, line: messages.append(line))
    train(every_step(align_job(folder, tmp_path / "found", accumulate=accumulate)))
    halved, whole = losses(tmp_path / "found"), losses(tmp_path / "wanted")
    assert_close(halved[:2], whole[:2])
    # Halves add in another order, which every step of AdamW makes larger: by how much differs between processors.
    assert_close(halved, whole, within=1e-3)
    assert any("out of memory" in line for line in messages)
    assert [row["rows_at_once"] for row in logged(tmp_path / "found") if "rows_at_once" in row][-1] <= 2
    assert max(sizes[max(at for at, size in enumerate(sizes) if size > 2) + 1 :]) == 2  # never tried again
    assert sum(size > 2 for size in sizes) == 3 - accumulate  # 6, then 3 rows; or 3 rows at once
    kinds, before = ([by_kind(row) for row in logged(tmp_path / out) if "loss" in row] for out in ("found", "wanted"))
    for one, other in zip(kinds, before, strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def by_kind(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name.startswith("loss_")}


def _fail(gradient: Tensor) -> Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_out_of_memory_on_one_row_names_the_remedy(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(module: TrainingModule, batch: Any) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TrainingModule, "forward", never)
    with pytest.raises(OutOfMemory) as failed:
        train(align_job(folder, tmp_path))
    assert str(failed.value) == (
        "out of memory while training on one row: give --gradient-checkpointing on, or quantize the language model "
        "(--quantize nf4)"
    )


def test_states_of_8_bits_resume(folder: Path, tmp_path: Path) -> None:
    """bitsandbytes keeps 32 bits for tensors below 4,096 numbers: a wider projector has larger ones."""
    text = (folder / "network.toml").read_text(encoding="utf-8")
    assert "width = 32\n" in text
    (folder / "wide.toml").write_text(text.replace("width = 32\n", "width = 64\n"), encoding="utf-8")
    options = {"network": str(folder / "wide.toml"), "optim": "adamw-8bit"}
    train(every_step(align_job(folder, tmp_path / "whole", **options)))
    assert losses(tmp_path / "whole")[-1] < losses(tmp_path / "whole")[0]
    stopped = saving(every_step(align_job(folder, tmp_path / "stopped", **options)), eval_every=1)
    with pytest.raises(Stopped):
        train(replace(stopped, evaluate=stop_at(3)))
    train(saving(stopped, eval_every=0))
    assert_close(losses(tmp_path / "stopped"), losses(tmp_path / "whole"))
    state = torch.load(tmp_path / "whole" / "steps" / "checkpoint-6" / "optimizer.pt", weights_only=True)
    kept = [value for value in tree_leaves(state["state"]) if torch.is_tensor(value)]
    assert any(value.dtype == torch.uint8 and value.numel() >= 4096 for value in kept)
    with pytest.raises(OtherRun, match=r"recipe\.optim was 'adamw-"):
        train(align_job(folder, tmp_path / "whole", network=options["network"]))


def test_attention_kernels_give_the_same_losses(folder: Path, tmp_path: Path) -> None:
    for attn in ("sdpa", "eager"):
        train(every_step(align_job(folder, tmp_path / attn, attn=attn)))
    # From the third step on Adam, which divides a gradient by its own size, has enlarged what rounding differs by.
    assert_close(losses(tmp_path / "eager")[:2], losses(tmp_path / "sdpa")[:2], within=1e-5)
    with pytest.raises(NeedsExtra) as refused:
        align_job(folder, tmp_path / "flash", attn="flash")
    assert str(refused.value) == (
        "--attn flash: needs a GPU and the Python package flash-attn; --attn sdpa gives the same numbers"
    )


def test_speed_and_memory_are_logged_and_the_losses_drawn(folder: Path, tmp_path: Path) -> None:
    train(every_step(align_job(folder, tmp_path)))
    rows = [row for row in logged(tmp_path) if "loss" in row]
    for row in rows:
        # Each of the six samples has eight tokens of its medium, and text besides.
        assert row["tokens_per_s"] > 8 * row["samples_per_s"] > 0
        assert row["memory_gib"] > 0.1
    lines = plot(tmp_path)
    assert [line.split()[0] for line in lines] == ["loss", "loss_audio", "loss_image"]
    first, course, last = lines[0].split()[1:]
    assert (float(first), float(last)) == (float(f"{rows[0]['loss']:.4g}"), float(f"{rows[-1]['loss']:.4g}"))
    assert len(course) == 6
    assert course[[row["loss"] for row in rows].index(max(row["loss"] for row in rows))] == "█"


def test_a_plot_of_what_was_logged(tmp_path: Path) -> None:
    """A training of fewer steps than --log-every has no log; one that was cut or edited is no reason to fail."""
    assert plot(tmp_path) == []
    rows = [{"step": step, "loss": 1 / step, "eval_next_qa/answer_accuracy": 12.345 * step} for step in range(1, 200)]
    text = "".join(json.dumps(row) + "\n" for row in rows) + '[1]\n{"step": 200, "lo'
    (tmp_path / "log.jsonl").write_text(text, encoding="utf-8")
    lines = plot(tmp_path, 80)
    assert [line.split()[0] for line in lines] == ["loss", "next_qa/answer_accuracy"]
    assert [len(line.split()[2]) for line in lines] == [40, 40]
    assert all(len(line) <= 80 for line in lines)
    assert all(len(line) <= 60 for line in plot(tmp_path, 60))


@pytest.mark.parametrize("width", [80, 40, 20])
def test_a_plot_fits_the_terminal(tmp_path: Path, width: int) -> None:
    long = "some_very_long_benchmark_name_of_a_user/harmonic_mean_of_types"
    rows = [{"step": step, "loss": 1e-7 * step, f"eval_{long}": step * 1e9} for step in range(30)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    lines = plot(tmp_path, width)
    assert all(len(line) <= width for line in lines)
    assert lines[0] == "loss"
    assert long in "".join(lines)  # a name is whole, over several lines
    assert "█" in lines[1]
    assert lines[1].split()[0] == "0"
    assert lines[1].split()[-1] == "2.9e-06"


def test_the_estimate_knows_what_is_frozen(folder: Path, tmp_path: Path) -> None:
    """Against the numbers of the network's own projectors: two of four bytes for each that is trained, by AdamW."""
    network = load_network(align_job(folder, tmp_path))
    own = {medium: sum(value.numel() for value in part.parameters()) for medium, part in network.projectors.items()}
    for frozen in ((), ("audio",), ("image",)):
        plan = make_plan(stage="align", network=str(folder / "network.toml"), data=(), out=tmp_path, freeze=frozen,
                         device="cpu", batch_size=2)  # fmt: skip
        found = forecast_training(plan)[1].estimate
        assert found.optimiser == 8 * sum(count for medium, count in own.items() if medium not in frozen)
    eager = forecast_training(replace(plan, compute=replace(plan.compute, attn="eager")))[1].estimate
    assert eager.activations > found.activations
    with pytest.raises(WrongUse, match="video: there is no such part to train"):
        forecast_training(replace(plan, recipe={**plan.recipe, "freeze": ("video",)}))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"group_by_length": True, "weights": (1.0,)}, "--group-by-length takes tables without --weight"),
        ({"attn": "flash"}, "--attn flash: needs a GPU"),
        ({"shard": True}, "--shard: it takes several processes"),
        ({"shard": True, "quantize": "int8"}, "--shard: the scales of int8 weights cannot be sharded"),
        ({"optim": "adamw-paged"}, "--optim adamw-paged: only a GPU's memory is paged; give --optim adamw"),
        ({"weights": (1.0, 2.0)}, "--weight 1.0, 2.0: 1 data need as many numbers above 0"),
        ({"lora_rank": 8, "no_lora": True}, "--no-lora: there are no adapters to have --lora-rank"),
    ],
)
def test_an_estimate_refuses_what_training_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], line: str
) -> None:
    if "quantize" in options:
        monkeypatch.setenv("WORLD_SIZE", "2")
    data = (f"pairs:{folder / 'data' / 'pairs.jsonl'}",)
    own = {"network": str(folder / "network.toml"), "data": data, "device": "cpu", **RECIPE, **options}
    for refuse in (resolve, forecast_training):
        with pytest.raises(WrongUse) as refused:
            refuse(make_plan(stage="align", out=tmp_path, **own))
        assert str(refused.value).startswith(line)


def test_an_estimate_for_a_gpu_needs_nothing_of_it_here(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    plan = make_plan(stage="align", network=str(folder / "network.toml"), data=(), out=tmp_path, device="cuda",
                     attn="flash", optim="adamw-paged", shard=True, **RECIPE | {"batch_size": 8})  # fmt: skip
    assert forecast_training(plan)[1].estimate.total
