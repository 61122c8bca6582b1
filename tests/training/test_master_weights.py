"""bf16 weights with fp32 masters: a loop by hand, saved and resumed to the bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from anymal_eval.anymal import checkpoint
from anymal_eval.checkpoints.loading import Loading
from anymal_eval.errors import OtherRun
from anymal_eval.training.master_weights import MasterWeights
from anymal_eval.training.resolve import ResolvedTraining
from anymal_eval.training.run import train
from tests.training.conftest import Stopped, align_job, every_step, instruct_job, losses, saving, stop_at

Step = tuple[list[torch.Tensor | None], list[float]]  # the gradients of a step, and the rate of each weight


def job_of(folder: Path, out: Path, **changed: Any) -> ResolvedTraining:
    recipe = {"weight_decay": 0.1, "learning_rate": 1e-3, "rate": ("audio=3e-3",), "max_grad_norm": 1.0, **changed}
    return every_step(align_job(folder, out, trained_precision="bf16", **recipe))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """Collects the gradients of the bf16 weights, before they are clipped."""
    found: list[Step] = []
    real = MasterWeights.clip

    def clip(self: MasterWeights, most: float) -> Any:
        gradients = [None if each.grad is None else each.grad.clone() for each in self._weights]
        rates = [group["lr"] for group in self.param_groups for _ in group["params"]]
        found.append((gradients, rates))
        return real(self, most)

    monkeypatch.setattr(MasterWeights, "clip", clip)
    return found


def test_equals_a_loop_by_hand(steps: list[Step], folder: Path, tmp_path: Path) -> None:
    train(job_of(folder, tmp_path / "out"))
    saved = [tmp_path / "out" / "steps" / f"checkpoint-{number}" for number in range(1, len(steps) + 1)]
    states = [torch.load(state / "optimizer.pt") for state in saved]
    decays = [group["weight_decay"] for group in states[0]["param_groups"] for _ in group["params"]]
    assert set(decays) == {0.0, 0.1}
    masters = states[0]["masters"]
    moments = [(torch.zeros_like(each), torch.zeros_like(each)) for each in masters]
    known = states[0]["state"]
    for place, each in known.items():  # after the first step
        moments[place] = (each["exp_avg"].clone(), each["exp_avg_sq"].clone())
    counts = [int(place in known) for place in range(len(masters))]
    for number, (gradients, rates) in enumerate(steps[1:], 1):
        own = [None if each is None else each.float() for each in gradients]
        norm = torch.stack([each.norm() for each in own if each is not None]).norm()
        scale = min(1.0, 1.0 / (float(norm) + 1e-6))
        for place, gradient in enumerate(own):
            if gradient is None:
                continue
            counts[place] += 1
            mean, square = moments[place]
            gradient = gradient * scale
            mean.mul_(0.9).add_(gradient, alpha=0.1)
            square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            size = (square / (1 - 0.999 ** counts[place])).sqrt() + 1e-8
            masters[place].mul_(1 - rates[place] * decays[place])
            masters[place].sub_(rates[place] * (mean / (1 - 0.9 ** counts[place])) / size)
        for place, value in enumerate(states[number]["masters"]):
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, masters[place], rtol=1e-5, atol=1e-6)
        weights = load_file(saved[number] / "trained.safetensors")
        assert {value.dtype for value in weights.values()} == {torch.bfloat16}
        rounded = sorted(float(each.bfloat16().double().sum()) for each in states[number]["masters"])
        assert rounded == pytest.approx(sorted(float(each.double().sum()) for each in weights.values()), abs=1e-9)
    assert len(steps) == 6


def test_a_step_smaller_than_a_number_of_bf16() -> None:
    weight = torch.nn.Parameter(torch.full((3,), 1.0, dtype=torch.bfloat16))
    optimizer = MasterWeights([{"params": [weight]}], lambda groups: torch.optim.SGD(groups, lr=1e-3))
    for _ in range(8):  # 1 + 2 ** -7 is the next number
        weight.grad = torch.full_like(weight, -1.0)
        optimizer.step()
    assert weight.tolist() == [1.0078125] * 3


@pytest.mark.parametrize("optim", ["adamw", "adamw-8bit"])
def test_stopped_and_resumed(optim: str, whole: Path, folder: Path, tmp_path: Path) -> None:
    def job(name: str) -> ResolvedTraining:
        how = {"trained_precision": "bf16", "accumulate": 2, "steps": 4, "optim": optim}
        made = instruct_job(folder, whole / "checkpoint", tmp_path / name, **how)
        assert made.adapters is not None
        return saving(replace(made, adapters=replace(made.adapters, dropout=0.3)), log_every=1, save_every=1, keep=0)

    train(job("whole"))
    with pytest.raises(Stopped):
        train(replace(saving(job("stopped"), eval_every=1), evaluate=stop_at(2)))
    train(job("stopped"))
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")
    one, other = (
        torch.load(tmp_path / name / "steps" / "checkpoint-4" / "optimizer.pt")["masters"]
        for name in ("whole", "stopped")
    )
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def test_its_checkpoint_and_another_precision(folder: Path, tmp_path: Path) -> None:
    job = job_of(folder, tmp_path / "out", steps=2)
    network = checkpoint.load(train(job).checkpoint, Loading())
    saved = load_file(tmp_path / "out" / "steps" / "checkpoint-2" / "trained.safetensors")
    for name, value in saved.items():
        own = network.get_parameter(name.removeprefix("network."))
        assert torch.equal(own, value.float())
    assert next(network.projectors.parameters()).dtype == torch.float32
    with pytest.raises(OtherRun, match="trained_precision was 'bf16', now None"):
        train(replace(job, plan=replace(job.plan, compute=replace(job.plan.compute, trained_precision="fp32"))))
