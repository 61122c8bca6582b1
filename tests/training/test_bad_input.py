"""An error is one line that names what is wrong, and the states saved before remain."""

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from anymal_eval.errors import (
    BadCheckpoint,
    BadData,
    BadDefinition,
    BadLogits,
    IncompleteRun,
    MissingData,
    StorageFull,
    WrongUse,
)
from anymal_eval.training import states
from anymal_eval.training.order import BatchPartition, Shuffled
from anymal_eval.training.resolve import ResolvedTraining
from anymal_eval.training.run import train
from anymal_eval.training.state_folders import saved_states
from anymal_eval.training.training_module import TrainingModule
from tests.training.conftest import align_job, assert_close, every_step, instruct_job, losses, saving, write_data


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_state(
    what: str, folder: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = every_step(align_job(folder, tmp_path / "out"))
    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "forward", _broken_at(4, what))
        with pytest.raises(BadLogits, match=rf"step 4: the {what}.*its samples: p\d+.*checkpoint-3"):
            train(job)
    assert saved_states(job.plan.out / "steps")[-1].name == "checkpoint-3"
    assert not (job.plan.out / "checkpoint").exists()
    train(job)
    assert_close(losses(job.plan.out), losses(whole))


def _broken_at(step: int, what: str) -> Any:
    real, calls = TrainingModule.forward, []

    def forward(module: TrainingModule, batch: Any) -> Any:
        loss = real(module, batch)
        calls.append(1)
        if len(calls) == step and what == "loss":
            return loss * float("nan")
        if len(calls) == step:
            loss.register_hook(lambda gradient: gradient * float("inf"))  # type: ignore[no-untyped-call]
        return loss

    return forward


def test_a_full_disk_while_saving(folder: Path, whole: Path, tmp_path: Path, small_disk: Path) -> None:
    (small_disk / "filler").unlink()
    job = every_step(align_job(folder, small_disk / "out"))
    job = saving(job, keep=1)
    size = sum(file.stat().st_size for file in (whole / "steps" / "checkpoint-1").iterdir())
    (small_disk / "more").write_bytes(b"x" * ((1 << 20) - int(1.6 * size) - (16 << 10)))
    with pytest.raises(StorageFull, match="no space left"):
        train(job)
    assert [each.name for each in (small_disk / "out" / "steps").iterdir()] == ["checkpoint-1"]
    for file in (small_disk / "out" / "steps" / "checkpoint-1").iterdir():
        assert file.stat().st_size > 0
    (small_disk / "more").unlink()
    train(job)
    assert_close(losses(job.plan.out), losses(whole))


def test_a_full_disk_at_the_end(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anymal_eval.anymal import checkpoint

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    job = align_job(folder, tmp_path / "out", steps=2, warmup=0)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", full)
        with pytest.raises(StorageFull, match="no space left"):
            train(job)
    assert (train(job).checkpoint / "projectors.safetensors").exists()


def test_a_checkpoint_of_another_architecture(folder: Path, whole: Path, tmp_path: Path) -> None:
    first = shutil.copytree(whole / "checkpoint", tmp_path / "first")
    content = json.loads((first / "config.json").read_text())
    content["network"]["modalities"]["image"]["projector"]["layers"] = 3
    (first / "config.json").write_text(json.dumps(content))
    with pytest.raises(BadCheckpoint, match=r"projectors.safetensors does not fit this network") as raised:
        train(instruct_job(folder, first, tmp_path / "second"))
    assert "\n" not in str(raised.value)


def test_other_adapters_than_those_that_are_there(folder: Path, tmp_path: Path) -> None:
    job = instruct_job(folder, folder / "checkpoint", tmp_path / "out")
    assert job.adapters is not None
    with pytest.raises(WrongUse, match="adapters of rank 4, alpha 8 on all-linear: leave --lora-rank"):
        train(replace(job, adapters=replace(job.adapters, rank=2)))


def data_job(folder: Path, data: Path, out: Path, **changed: Any) -> ResolvedTraining:
    return align_job(folder, out, data=(f"pairs:{data / 'pairs.jsonl'}",), **changed)


def test_a_caption_without_its_sound(folder: Path, tmp_path: Path) -> None:
    write_data(tmp_path)
    (tmp_path / "7.wav").unlink()
    with pytest.raises(MissingData, match=r"pairs.jsonl: line 8.*7.wav") as raised:
        data_job(folder, tmp_path, tmp_path / "out")
    assert "\n" not in str(raised.value)


def test_what_cannot_be_decoded_is_counted_and_named(folder: Path, whole: Path, tmp_path: Path) -> None:
    write_data(tmp_path)
    (tmp_path / "5.png").write_bytes(b"no picture")
    job = every_step(data_job(folder, tmp_path, tmp_path / "out"))
    train(job)
    left_out = json.loads((tmp_path / "out" / "training.json").read_text())["unreadable"]
    assert list(left_out) == [f"{tmp_path / 'pairs.jsonl'}: line 6"]
    assert "5.png" in next(iter(left_out.values()))
    order = Shuffled(job.data[0].samples or (), BatchPartition(batch_size=6), job.recipe.seed)
    step = next(step for step in range(6) if "p5" in [sample.id for sample in order.take(step, 0)])
    assert step == 2  # not the first: the steps before are unchanged
    assert_close(losses(job.plan.out)[:step], losses(whole)[:step])
    assert losses(job.plan.out)[step] != losses(whole)[step]
    with pytest.raises(IncompleteRun, match=r"1 of \d+ samples cannot be read.*line 6.*5.png"):
        train(data_job(folder, tmp_path, tmp_path / "strict", max_unreadable=0.0))


def test_a_step_of_which_nothing_can_be_read(folder: Path, tmp_path: Path) -> None:
    write_data(tmp_path)
    (tmp_path / "4.png").write_bytes(b"no picture")
    train(every_step(data_job(folder, tmp_path, tmp_path / "out", steps=20, batch_size=1)))
    assert losses(tmp_path / "out").count(0.0) == 1


def test_a_sample_longer_than_the_context_is_named(folder: Path, tmp_path: Path) -> None:
    write_data(tmp_path)
    with (tmp_path / "pairs.jsonl").open("a") as stream:
        stream.write(json.dumps({"id": "long", "image": "0.png", "caption": "word " * 2000}) + "\n")
    train(data_job(folder, tmp_path, tmp_path / "out", steps=5))
    left_out = json.loads((tmp_path / "out" / "training.json").read_text())["unreadable"]
    assert "the model's context is 1024" in next(iter(left_out.values()))


def test_a_medium_that_the_network_has_no_encoder_for(folder: Path, tmp_path: Path) -> None:
    write_data(tmp_path)
    (tmp_path / "m.npy").write_bytes(b"x")
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"id": "m", "imu": "m.npy", "caption": "walking"}) + "\n")
    with pytest.raises(BadData, match=r"line 1: this network takes audio, image, no imu"):
        train(data_job(folder, tmp_path, tmp_path / "out"))


def test_damaged_states_are_named(folder: Path, tmp_path: Path) -> None:
    job = every_step(align_job(folder, tmp_path / "out", steps=3))
    train(job)
    shutil.rmtree(tmp_path / "out" / "checkpoint")
    for step in (1, 2, 3):
        file = tmp_path / "out" / "steps" / f"checkpoint-{step}" / states.TRAINED
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BadCheckpoint, match=r"checkpoint-3"):
        train(job)


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_quantised(kind: str, folder: Path, tmp_path: Path) -> None:
    first = train(every_step(align_job(folder, tmp_path / "align", quantize=kind, steps=8))).checkpoint
    assert losses(tmp_path / "align")[-1] < losses(tmp_path / "align")[0]
    train(every_step(instruct_job(folder, first, tmp_path / "instruct", quantize=kind, steps=4)))
    assert all(torch.isfinite(torch.tensor(losses(tmp_path / "instruct"))))


def test_more_micro_batches_than_samples(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="--batch-size 2 cannot be shared"):
        train(align_job(folder, tmp_path / "out", batch_size=2, accumulate=3))


def test_sharing_a_network_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(WrongUse, match="asks for FSDP: here each process holds the whole network"):
        train(align_job(folder, tmp_path / "out"))


def test_an_option_that_does_not_exist(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadDefinition, match="step_count"):
        align_job(folder, tmp_path / "out", step_count=3)


def test_saving_is_no_identity(folder: Path, tmp_path: Path) -> None:
    job = align_job(folder, tmp_path / "out", steps=2, warmup=0)
    train(job)
    train(saving(job, save_every=1))
