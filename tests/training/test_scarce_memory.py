"""Memory that runs out beside the passes of a step: in the encoders, and where the optimizer allocates its states."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from anymal_eval.anymal.model import AnyMAL
from anymal_eval.errors import OutOfMemory
from anymal_eval.training import load as loading
from anymal_eval.training.run import train
from tests.training.conftest import align_job, assert_close, every_step, losses


def scarce(most: int, sizes: list[int]) -> Any:
    """An ``encode`` that has memory for so many media."""
    encode = AnyMAL.encode

    def encoded(network: AnyMAL, medium: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
        sizes.append(len(inputs))
        if len(inputs) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(network, medium, inputs)

    return encoded


def test_media_are_encoded_in_halves(
    folder: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(AnyMAL, "encode", scarce(1, sizes))
    train(every_step(align_job(folder, tmp_path)))
    assert_close(losses(tmp_path), losses(whole))
    # Four of the first 16 media are sounds: halved twice, and never tried so large again.
    assert [size for size in sizes if size > 1] == [4, 2]
    assert len(sizes) > 2 + 20 - 1


def test_a_single_medium_that_does_not_fit(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnyMAL, "encode", scarce(0, []))
    with pytest.raises(OutOfMemory) as failed:
        train(align_job(folder, tmp_path))
    assert str(failed.value) == (
        "out of memory while encoding 1 media of kind audio: quantize the language model (--quantize nf4), or fill "
        "--features before (features fill)"
    )


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({}, "give --optim adamw-8bit or --optim adamw-paged with another --out, or "),
        ({"rate": ("image=1e-3",)}, "give --optim adamw-8bit or --optim adamw-paged with another --out, or "),
        ({"trained_precision": "bf16"}, "give --optim adamw-8bit or --optim adamw-paged with another --out, or "),
    ],
)
def test_an_optimizer_whose_states_do_not_fit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], remedy: str
) -> None:
    def step(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(OutOfMemory) as failed:
        train(align_job(folder, tmp_path, **options))
    assert str(failed.value) == (
        f"out of memory while updating the weights: {remedy}quantize the language model (--quantize nf4)"
    )


@pytest.mark.parametrize("setting", ["on", "off"])
def test_nothing_is_estimated_where_all_is_given(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setattr(loading, "device_memory", lambda device, given: 80 << 30)
    monkeypatch.setattr(loading, "step_memory", lambda *given: pytest.fail("estimated"))
    loaded = loading.load(align_job(folder, tmp_path, gradient_checkpointing=setting))
    assert (loaded.recompute, list(loaded.messages)) == (setting == "on", [])
