"""Signals that save and stop, a training resumed with changes, and the best network of a training."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file

from anymal_eval.anymal import checkpoint
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.errors import BadData, OtherRun, StorageFull, WrongUse
from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.training import run, states, stopping
from anymal_eval.training.batches import Batch, Collator
from anymal_eval.training.best import BestNetwork
from anymal_eval.training.changes import described, shift_of, starts_data, with_change
from anymal_eval.training.load import load
from anymal_eval.training.order import BatchPartition, Streamed
from anymal_eval.training.recipe import Recipe
from anymal_eval.training.resolve import ResolvedTraining
from anymal_eval.training.run import train
from anymal_eval.training.sources import open_data
from anymal_eval.training.training_module import TrainingModule
from tests.conftest import ROOT
from tests.training.conftest import align_job, assert_close, every_step, logged, losses, saving
from tests.training.test_loop import at, saved_weights


def signalled(number: int, step: int) -> Callable[[object, int], dict[str, float]]:
    """An ``evaluate`` during which a signal comes."""

    def evaluate(network: object, now: int) -> dict[str, float]:
        del network
        if now == step:
            os.kill(os.getpid(), number)
        return {}

    return evaluate


def constant(folder: Path, out: Path, **changed: Any) -> ResolvedTraining:
    return every_step(align_job(folder, out, **{"schedule": "constant", "warmup": 0, "learning_rate": 1e-3, **changed}))


def write_pictures(shard: Path, pictures: Sequence[bytes]) -> None:
    with tarfile.open(shard, "w") as archive:
        for number, picture in enumerate(pictures):
            for name, body in ((f"{number}.png", picture), (f"{number}.txt", b"red")):
                entry = tarfile.TarInfo(name)
                entry.size = len(body)
                archive.addfile(entry, io.BytesIO(body))


def refused(*given: object) -> None:
    del given
    raise BadData("not enough shards")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_after_its_step(number: int, folder: Path, whole: Path, tmp_path: Path) -> None:
    job = saving(align_job(folder, tmp_path), save_every=500, log_every=1, eval_every=1)
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        train(replace(job, evaluate=signalled(number, 3)))
    assert signal.getsignal(number) is before
    assert [each.name for each in (tmp_path / "steps").iterdir()] == ["checkpoint-3"]
    train(job)
    assert_close(losses(tmp_path), losses(whole))


@pytest.mark.parametrize(("apart", "saved"), [(5.0, ["checkpoint-1"]), (0.0, [])])
def test_a_signal_that_comes_twice(
    apart: float, saved: list[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM and torchrun may both send it; a later one ends the training at once."""
    monkeypatch.setattr(stopping, "REPEATED_S", apart * 1000)  # the machine may be slow

    def evaluate(network: object, now: int) -> dict[str, float]:
        del network, now
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
        return {}

    job = saving(align_job(folder, tmp_path, steps=2), save_every=500, eval_every=1)
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(replace(job, evaluate=evaluate))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [each.name for each in tmp_path.glob("steps/checkpoint-*")] == saved


def test_a_draft_of_several_processes_is_left_to_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for processes, left in ((1, []), (2, [".checkpoint-3.draft"])):
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        with pytest.raises(StorageFull), states.draft(tmp_path, 3):
            raise OSError(errno.ENOSPC, "No space left on device")
        assert [each.name for each in tmp_path.iterdir()] == left


def test_a_signal_in_the_last_step_changes_nothing(folder: Path, tmp_path: Path) -> None:
    job = saving(align_job(folder, tmp_path, steps=2), eval_every=1)
    assert (train(replace(job, evaluate=signalled(signal.SIGUSR1, 2))).checkpoint / checkpoint.CONFIG).exists()


SIGNALLED = """
import os, signal, sys
from anymal_eval.cli import main
from anymal_eval.training import load, training_module

def forward(module, batch):
    forward.calls += 1
    if forward.calls == 2:
        os.kill(os.getpid(), signal.SIGUSR1)
    return real(module, batch)

def load_network(resolved):
    os.kill(os.getpid(), signal.SIGUSR1)
    return real_load(resolved)

forward.calls = 0
real, training_module.TrainingModule.forward = training_module.TrainingModule.forward, forward
real_load = load.load_network
if sys.argv.pop(1) == "loading":
    load.load_network = load_network
main.main()
"""


@pytest.mark.parametrize("moment", ["loading", "stepping"])
def test_the_command_ends_with_130(moment: str, folder: Path, tmp_path: Path) -> None:
    command = [
        "train", "align", str(folder / "network.toml"), "--data", f"pairs:{folder / 'data' / 'pairs.jsonl'}",
        "--steps", "6", "--batch-size", "6", "--learning-rate", "0.01", "--device", "cpu", "--out", str(tmp_path),
    ]  # fmt: skip
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", SIGNALLED, moment, *command], cwd=ROOT, env=here, capture_output=True, text=True
    )
    assert ended.returncode == 130, ended.stderr
    assert "Traceback" not in ended.stderr
    assert f"interrupted: the same command resumes from the last state in {tmp_path}" in ended.stderr
    saved = [each.name for each in tmp_path.glob("steps/*")]
    assert saved == ([] if moment == "loading" else ["checkpoint-2"])
    if saved:
        assert "stopped by SIGUSR1 after step 2 of 6, saved" in ended.stderr


def test_more_steps_go_on_where_the_training_ended(folder: Path, tmp_path: Path) -> None:
    train(constant(folder, tmp_path / "whole", steps=5))
    train(constant(folder, tmp_path / "more", steps=3))
    with pytest.raises(OtherRun) as refused:
        train(constant(folder, tmp_path / "more", steps=5))
    assert str(refused.value) == (
        f"{tmp_path / 'more'}: the training there differs in recipe.steps: recipe.steps was 3, now 5; choose another "
        "--out, or give --with-changes to resume it with them"
    )
    train(saving(constant(folder, tmp_path / "more", steps=5), with_changes=True))
    assert_close(losses(tmp_path / "more"), losses(tmp_path / "whole"))
    assert content(tmp_path / "more")["changes"] == [{"step": 3, "changed": {"recipe.steps": [3, 5]}, "shift": 0}]
    with pytest.raises(WrongUse) as less:
        train(saving(constant(folder, tmp_path / "more", steps=4), with_changes=True))
    assert str(less.value) == "--steps 4: the training is at step 5 already"
    with pytest.raises(OtherRun) as other:
        train(saving(constant(folder, tmp_path / "more", steps=6, seed=1), with_changes=True))
    assert "--with-changes" not in str(other.value)


def test_the_rate_follows_the_new_schedule(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    monkeypatch.setattr(SilentConsole, "message", lambda _, line: messages.append(line))
    shared = {"schedule": "linear", "warmup": 0, "learning_rate": 8e-3}
    train(every_step(align_job(folder, tmp_path, steps=2, **shared)))
    train(saving(every_step(align_job(folder, tmp_path, steps=4, **shared)), with_changes=True))
    assert [line for line in messages if "changes" in line] == [
        "resumed at step 2 with changes: 4 steps instead of 2: the linear schedule is that of 4 steps, so the rate "
        "goes from 0 to 0.004"
    ]
    rates = [row["learning_rate"] for row in logged(tmp_path) if "loss" in row]
    assert rates == pytest.approx([8e-3, 4e-3, 4e-3, 2e-3])  # 8e-3 (1 - step / steps)
    before, after = (load_file(tmp_path / "steps" / f"checkpoint-{step}" / "trained.safetensors") for step in (2, 3))
    assert max(float((after[name] - before[name]).abs().max()) for name in before) > 1e-3, "the rate before was 0"


def test_another_batch_size_takes_the_next_samples_and_other_data_start(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[str, ...]] = []
    finish = Collator.finish

    def noted(collator: Collator, planned: Any) -> Batch:
        batch = finish(collator, planned)
        taken.append(batch.ids)
        return batch

    monkeypatch.setattr(Collator, "finish", noted)
    train(constant(folder, tmp_path, steps=3))
    job = saving(constant(folder, tmp_path, steps=5, batch_size=4), with_changes=True)
    train(job)
    samples = [sample for data in job.data for sample in data.samples or ()]
    order = [at(samples, place, job.recipe.seed).id for place in range(26)]
    assert [name for batch in taken for name in batch] == order
    assert [len(batch) for batch in taken] == [6, 6, 6, 4, 4]
    other = folder / "data" / "other.jsonl"
    lines = (folder / "data" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    other.write_text("\n".join(lines[:7]) + "\n", encoding="utf-8")
    taken.clear()
    options = {"steps": 7, "batch_size": 4, "data": (f"pairs:{other}",)}
    # Stopped and resumed once more, the place in the new data is kept.
    monkeypatch.setattr(TrainingModule, "forward", interrupted(TrainingModule.forward, at=2))
    with pytest.raises(KeyboardInterrupt):
        train(saving(constant(folder, tmp_path, **options), with_changes=True))
    train(constant(folder, tmp_path, **options))
    few = [sample for data in constant(folder, tmp_path, **options).data for sample in data.samples or ()]
    wanted = [at(few, place, job.recipe.seed).id for place in range(8)]
    assert [name for batch in (taken[0], taken[-1]) for name in batch] == wanted


def interrupted(forward: Callable[..., Any], at: int) -> Callable[..., Any]:
    calls = [0]

    def failing(module: TrainingModule, batch: Batch) -> Any:
        calls[0] += 1
        if calls[0] == at:
            raise KeyboardInterrupt
        return forward(module, batch)

    return failing


def test_changes_that_nothing_was_trained_with_are_replaced() -> None:
    """A kill comes before the next state, or the states since are damaged: their step is at or after the present."""
    recipe = Recipe(steps=9, batch_size=32, learning_rate=1.0)
    data = with_change({}, {"data": (["a"], ["b"])}, 5, replace(recipe, batch_size=8))
    assert data == [{"step": 5, "changed": {"data": [["a"], ["b"]]}, "shift": -40}]
    both = with_change({"changes": data}, {"recipe.batch_size": (8, 32)}, 5, recipe)
    assert both == [{"step": 5, "changed": {"data": [["a"], ["b"]], "recipe.batch_size": [8, 32]}, "shift": -160}]
    assert starts_data(both, 5)
    assert not starts_data(both, 6)
    assert with_change({"changes": both}, {}, 5, recipe) == both
    assert with_change({"changes": data}, {"data": (["b"], ["a"])}, 5, replace(recipe, batch_size=8)) == []
    batch = with_change({}, {"recipe.batch_size": (8, 32)}, 5, recipe)
    assert BatchPartition(batch_size=32, shift=shift_of(batch)).first(5) == 5 * 8
    earlier = with_change({"changes": batch}, {}, 2, recipe)
    assert earlier == [{"step": 2, "changed": {"recipe.batch_size": [8, 32]}, "shift": 2 * 8 - 2 * 32}]
    assert BatchPartition(batch_size=32, shift=shift_of(earlier)).first(2) == 2 * 8
    assert with_change({"changes": batch}, {}, 7, recipe) == batch


def test_other_data_may_be_read_in_another_way(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables, then shards beside them by weights: the place in the tables says nothing about the shards."""
    write_pictures(tmp_path / "0.tar", [(folder / "data" / "0.png").read_bytes()] * 3)
    pairs, out = f"pairs:{folder / 'data' / 'pairs.jsonl'}", tmp_path / "out"
    mixed: dict[str, Any] = {"data": (pairs, f"webdataset:{tmp_path}/0.tar"), "weights": (1.0, 1.0)}
    train(constant(folder, out, steps=2))
    before = (out / "training.json").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(run, "Mixed", refused)  # as with fewer shards than processes
        with pytest.raises(BadData, match="not enough shards"):
            train(saving(constant(folder, out, steps=3, **mixed), with_changes=True))
    assert (out / "training.json").read_bytes() == before  # the command before still resumes it
    train(saving(constant(folder, out, steps=3, **mixed), with_changes=True))
    change = content(out)["changes"][-1]
    assert sorted(change["changed"]) == ["accumulate", "data", "processes", "recipe.steps", "weights"]
    assert (change["step"], change["shift"]) == (2, -12)
    with pytest.raises(OtherRun, match=r"differs in weights: weights was \[1\.0, 1\.0\], now"):
        train(saving(constant(folder, out, steps=3, **{**mixed, "weights": (1.0, 2.0)}), with_changes=True))
    recipe = Recipe(steps=9, batch_size=6, learning_rate=1.0)
    killed = [{"step": 2, "changed": {"data": ["a", "b"], "weights": [None, [1.0]]}, "shift": -12}]
    only_weights = with_change({"changes": killed}, {"data": ("b", "a")}, 2, recipe)
    assert only_weights == [{"step": 2, "changed": {"weights": [None, [1.0]]}, "shift": -12}]
    assert starts_data(only_weights, 2)
    steps = [{"step": 2, "changed": {"recipe.steps": [5, 9]}, "shift": 0}]
    assert described(steps, 2, replace(recipe, schedule="constant", warmup=0)) == [
        "resumed at step 2 with changes: 9 steps instead of 5: the constant schedule is that of 9 steps, so the rate "
        "stays 1"
    ]


def test_a_state_before_a_change_of_the_batch_is_resumed_from(folder: Path, tmp_path: Path) -> None:
    train(constant(folder, tmp_path, steps=4))
    train(saving(constant(folder, tmp_path, steps=5, batch_size=20), with_changes=True))
    for step in (4, 5):
        (tmp_path / "steps" / f"checkpoint-{step}" / "trained.safetensors").write_bytes(b"")
    (tmp_path / "checkpoint" / checkpoint.CONFIG).unlink()
    train(constant(folder, tmp_path, steps=5, batch_size=20))
    assert content(tmp_path)["changes"] == [
        {"step": 3, "changed": {"recipe.batch_size": [6, 20], "recipe.steps": [4, 5]}, "shift": 3 * 6 - 3 * 20}
    ]
    assert len(losses(tmp_path)) == 5


def test_the_best_network_is_kept(folder: Path, tmp_path: Path) -> None:
    values = {1: 10.0, 2: 30.0, 3: 20.0, 4: 30.0}

    def evaluate(network: object, step: int) -> dict[str, float]:
        del network
        return {"vqav2/accuracy": values[step], "vqav2/errors": 90.0}

    job = saving(every_step(align_job(folder, tmp_path, steps=4)), eval_every=1, keep_best="vqav2")
    train(replace(job, evaluate=evaluate))
    assert content(tmp_path, "best.json")["step"] == 2
    best = checkpoint.load(tmp_path / "best", job.loading)
    for name, value in saved_weights(tmp_path, 2).items():
        assert torch.equal(best.get_parameter(name), value)
    with pytest.raises(WrongUse) as other:
        train(saving(job, keep_best="coco"))
    assert str(other.value) == (
        f"--keep-best coco: {tmp_path / 'best'} is the best at vqav2/accuracy; move it and best.json away"
    )
    with pytest.raises(WrongUse) as refused:
        align_job(folder, tmp_path, eval_every=1, eval_tasks="vqav2", keep_best="coco")
    assert str(refused.value) == ("--keep-best coco: it is not evaluated during the training; --eval-tasks are vqav2")


def test_a_value_that_is_no_number_is_not_the_best(tmp_path: Path) -> None:
    values = iter([float("nan"), 1.0, float("nan"), 2.0])
    kept: list[Path] = []
    best = BestNetwork(
        tmp_path, "coco", lambda _, step: {"coco/cider": next(values)}, lambda _, folder: kept.append(folder)
    )
    for step in range(1, 5):
        best(cast(AnyMAL, None), step)
    assert len(kept) == 2
    assert (content(tmp_path, "best.json")["value"], content(tmp_path, "best.json")["step"]) == (2.0, 4)


def test_a_folder_of_other_files_is_no_place_for_the_best(folder: Path, tmp_path: Path) -> None:
    """It is found before the network is loaded, not at the first evaluation."""
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(WrongUse, match="holds other files"):
        load(saving(align_job(folder, tmp_path), eval_every=1, keep_best="vqav2"))


def test_processes_do_not_send_each_other_frozen_weights(folder: Path, whole: Path) -> None:
    """Without these names torch's wrapper broadcasts every weight and buffer of the first process."""
    from torch._C._distributed_c10d import HashStore
    from torch.distributed import destroy_process_group, init_process_group

    from anymal_eval.training.load import load_network
    from anymal_eval.training.parts import enable_gradients
    from anymal_eval.training.trainer import leave_frozen_alone

    module = TrainingModule(load_network(align_job(folder, whole)))
    trained = {f"network.{name}" for name in enable_gradients(module.network, adapters=False)}
    init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        leave_frozen_alone(module)
        wrapped = torch.nn.parallel.DistributedDataParallel(module)
        assert {name for name, _ in module.named_parameters()} - wrapped.parameters_to_ignore == trained
        assert {name for name, _ in module.named_buffers()} <= wrapped.parameters_to_ignore
    finally:
        destroy_process_group()


def content(out: Path, name: str = "training.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / name).read_text(encoding="utf-8"))
    return found


def test_shards_without_a_sample_are_named(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(b"")
    streamed = Streamed([open_data(f"webdataset:{tmp_path}/0.tar")], BatchPartition(batch_size=2), 0, lambda *_: None)
    with pytest.raises(BadData) as found:
        streamed.draw()
    assert str(found.value) == (
        f"the shards hold no sample to learn from: {tmp_path}/0.tar: no plain tar file: empty file"
    )


def test_an_empty_shard_does_not_end_the_process_that_has_it(folder: Path, tmp_path: Path) -> None:
    """Another epoch gives it another shard, for any seed."""
    write_pictures(tmp_path / "0.tar", [(folder / "data" / "0.png").read_bytes()])
    write_pictures(tmp_path / "1.tar", [])
    data, partition = (
        open_data(f"webdataset:{tmp_path}/{{0..1}}.tar"),
        BatchPartition(batch_size=2, rank=1, processes=2),
    )
    for seed in range(12):
        assert Streamed([data], partition, seed, lambda *_: None).draw().id == "0/0"
