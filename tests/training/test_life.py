"""A training that is resumed with changes; shards without samples; processes that share a network."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from anymal_eval.anymal import checkpoint
from anymal_eval.errors import BadData, OtherRun, WrongUse
from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.training import run
from anymal_eval.training.batches import Batch, Collator
from anymal_eval.training.changes import described, shift_of, starts_data, with_change
from anymal_eval.training.order import BatchPartition, Streamed
from anymal_eval.training.recipe import Recipe
from anymal_eval.training.resolve import ResolvedTraining
from anymal_eval.training.run import train
from anymal_eval.training.sources import open_data
from anymal_eval.training.training_module import TrainingModule
from tests.training.conftest import align_job, assert_close, content, every_step, logged, losses, saving, write_pictures
from tests.training.test_loop import at


def constant(folder: Path, out: Path, **changed: Any) -> ResolvedTraining:
    return every_step(align_job(folder, out, **{"schedule": "constant", "warmup": 0, "learning_rate": 1e-3, **changed}))


def refused(*given: object) -> None:
    del given
    raise BadData("not enough shards")


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
    before = (tmp_path / "more" / "training.json").read_bytes()
    with pytest.raises(WrongUse) as done:
        train(saving(constant(folder, tmp_path / "more", steps=5, batch_size=4), with_changes=True))
    assert str(done.value) == "--steps 5: all are done, so nothing would be trained with the changes; give more"
    assert (tmp_path / "more" / "training.json").read_bytes() == before
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
    (change,) = (each for each in content(tmp_path)["changes"] if "data" in each["changed"])
    assert [each["name"] for each in change["former_data"]] == [f"pairs:{folder / 'data' / 'pairs.jsonl'}"]
    assert [each["name"] for each in content(tmp_path)["data"]] == [f"pairs:{other}"]
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
