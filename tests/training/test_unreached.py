"""Micro-batches that reach nothing trained add their loss and no gradient; data that never do are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from anymal_eval.anymal import target_loss
from anymal_eval.errors import WrongUse
from anymal_eval.training.run import train
from anymal_eval.training.training_module import TrainingModule
from tests.training.conftest import align_job, every_step, instruct_job, logged
from tests.training.test_loop import saved_weights


@pytest.mark.parametrize(
    "options", [{}, {"pack": True, "trained_precision": "bf16", "gradient_checkpointing": "on", "precision": "bf16"}]
)
def test_a_micro_batch_of_a_frozen_part_alone_adds_a_gradient_of_zero(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """Every fourth row is a sound, and the others are pictures, whose projector is frozen."""
    monkeypatch.setattr(target_loss, "PART_BYTES", 1)  # the loss in parts
    forward = TrainingModule.forward
    found: dict[str, list[bool]] = {"audio": [], "image": []}

    def watched(module: TrainingModule, batch: Any) -> Tensor:
        weights = [value for value in module.parameters() if value.requires_grad]
        gradients = torch.autograd.grad(forward(module, batch), weights)
        (kind,) = set(batch.kinds.values())
        found[kind].append(any(bool(gradient.any()) for gradient in gradients))
        return forward(module, batch)

    monkeypatch.setattr(TrainingModule, "forward", watched)
    train(every_step(align_job(folder, tmp_path, freeze=("image",), batch_size=1, steps=20, **options)))
    assert found == {"audio": [True] * 5, "image": [False] * 15}
    assert all(row["loss"] > 0 for row in logged(tmp_path) if "loss" in row)
    assert all(name.startswith("projectors.audio") for name in saved_weights(tmp_path, 20))


def test_a_row_of_text_without_adapters_changes_nothing(folder: Path, whole: Path, tmp_path: Path) -> None:
    options = {"no_lora": True, "lora_rank": None, "lora_alpha": None, "batch_size": 1, "steps": 16}
    train(every_step(instruct_job(folder, whole / "checkpoint", tmp_path, **options)))
    assert any("loss_text" in row or row.get("loss") for row in logged(tmp_path))


def test_data_that_reach_nothing_trained_are_refused(folder: Path, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongUse) as refused:
        instruct_job(
            folder, whole / "checkpoint", tmp_path, no_lora=True, lora_rank=None, lora_alpha=None, freeze=("image",)
        )
    assert str(refused.value) == (
        "--freeze image leaves the projectors of audio to train, and the data have image: add data of audio, or train "
        "other parts"
    )
    row = {"id": "t", "instruction": "say yes", "response": "yes"}
    (tmp_path / "text.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    data = (f"instructions:{tmp_path / 'text.jsonl'}",)
    with pytest.raises(WrongUse) as refused:
        align_job(folder, tmp_path, data=data)
    assert str(refused.value) == (
        "this training has the projectors of audio, image to train, and the data have text alone: add data of audio or "
        "image"
    )
    instruct_job(folder, whole / "checkpoint", tmp_path, data=data)  # its adapters are trained
