"""Mixtures hit their weights, batches of one length hold each sample once, and both continue where they stopped."""

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from anymal_eval.anymal.conversation import Turn
from anymal_eval.cli.main import cli
from anymal_eval.errors import WrongUse
from anymal_eval.training.mixture import Mixed
from anymal_eval.training.order import BatchPartition, Shuffled, Streamed, length_of
from anymal_eval.training.run import train
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import TrainingData
from tests.training.conftest import Stopped, align_job, assert_close, losses, saving, stop_at


def samples(name: str, count: int) -> list[Sample]:
    return [
        Sample(
            id=f"{name}{number}",
            where=f"{name}: line {number}",
            media=(),
            turns=(Turn(role="user", parts=("what",)), Turn(role="assistant", parts=("x" * (1 + number * 7 % 90),))),
        )
        for number in range(count)
    ]


def tables(partition: BatchPartition, seed: int = 0) -> Mixed:
    sources = [
        Shuffled(samples(name, count), partition, seed, stream=(count,)) for name, count in (("a", 30), ("b", 70))
    ]
    return Mixed(sources, (3.0, 1.0), partition, seed)


def with_shards(partition: BatchPartition) -> Mixed:
    shards = [samples(f"s{number}-", 10) for number in range(6)]
    data = TrainingData(name="s", fingerprint="s", shards=6, stream=lambda number: iter(shards[number]))
    streamed = Streamed([data], partition, 0, lambda *each: None)
    return Mixed([streamed, Shuffled(samples("a", 30), partition, 0)], (2.0, 1.0), partition, 0)


def taken(order: Any, steps: Sequence[int]) -> list[list[str]]:
    return [[sample.id for sample in order.take(step, 0)] for step in steps]


def test_weights_are_hit_within_the_expected_error() -> None:
    count = 20_000
    drawn = [name for batch in taken(tables(BatchPartition(batch_size=10)), range(count // 10)) for name in batch]
    share = sum(name.startswith("a") for name in drawn) / count
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / count)
    for name in "ab":  # each of the two is a whole pass after another
        seen = Counter(each for each in drawn if each.startswith(name))
        assert max(seen.values()) - min(seen.values()) <= 1
    assert taken(tables(BatchPartition(batch_size=10), seed=1), range(3)) != [drawn[at : at + 10] for at in (0, 10, 20)]


def test_processes_share_the_draws_of_tables() -> None:
    one = taken(tables(BatchPartition(batch_size=6)), range(50))
    two = [taken(tables(BatchPartition(batch_size=6, rank=rank, processes=2)), range(50)) for rank in range(2)]
    assert [[*first, *second] for first, second in zip(*two, strict=True)] == one


def test_processes_repeat_no_sample_of_a_mixture_with_shards() -> None:
    first: Counter[str] = Counter()
    for rank in range(2):
        order = with_shards(BatchPartition(batch_size=4, rank=rank, processes=2))
        first.update(name for batch in taken(order, range(20)) for name in batch if name.startswith("a"))
    assert set(first.values()) == {1}  # 27 of 30, in the first pass of both


def test_a_mixture_with_shards_continues_in_the_middle() -> None:
    partition = BatchPartition(batch_size=4)
    whole = taken(with_shards(partition), range(40))
    for stop in (1, 7, 23):
        order = with_shards(partition)
        assert taken(order, range(stop)) == whole[:stop]
        again = with_shards(partition)
        again.load_state_dict(json.loads(json.dumps(order.state_dict())))
        assert taken(again, range(stop, 40)) == whole[stop:]
    shards = [name for batch in whole for name in batch if name.startswith("s")]
    assert abs(len(shards) / 160 - 2 / 3) < 4 * np.sqrt(2 / 9 / 160)


def three_shards(state: dict[str, Any] | None = None) -> Streamed:
    shards = [samples(f"s{number}-", 3) for number in range(3)]
    data = TrainingData(name="s", fingerprint="s", shards=3, stream=lambda number: iter(shards[number]))
    order = Streamed([data], BatchPartition(batch_size=4), 0, lambda *each: None)
    if state is not None:
        order.load_state_dict(state)
    return order


@pytest.mark.parametrize("count", [1, 3, 6])
def test_an_epoch_holds_each_sample_of_any_number_of_shards_once(count: int) -> None:
    shards = [samples(f"s{number}-", 8) for number in range(count)]
    data = TrainingData(name="s", fingerprint="s", shards=count, stream=lambda number: iter(shards[number]))
    order = Streamed([data], BatchPartition(batch_size=8 * count), 0, lambda *each: None)
    epochs = taken(order, range(3))
    assert [len(set(epoch)) for epoch in epochs] == [8 * count] * 3
    assert epochs[0] != epochs[1]
    if count > 1:
        assert len({name.partition("-")[0] for name in epochs[0][:8]}) > 1  # several shards are drawn from at once


def test_a_state_of_an_earlier_order_continues_in_that_order() -> None:
    """Drawn by commit a10d856, whose epochs overlapped: nothing in its state tells them apart."""
    before = {"drawn": 4, "next": [1, 1], "open": [[0, 0, 1], [0, 1, 1], [0, 2, 2], [1, 0, 0]]}
    order = three_shards(before)
    drawn = [name for batch in taken(order, range(2)) for name in batch]
    assert drawn == ["s2-1", "s1-0", "s2-1", "s0-2", "s2-0", "s0-0", "s0-0", "s0-1"]
    again = three_shards(json.loads(json.dumps(order.state_dict())))
    assert taken(again, [0]) == [["s0-1", "s2-0", "s1-0", "s2-0"]]
    assert again.state_dict() == {"drawn": 16, "next": [2, 2], "open": [[1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 1]]}


def test_batches_of_one_length_hold_each_sample_once() -> None:
    rows, partition = samples("a", 203), BatchPartition(batch_size=8)
    orders = [Shuffled(rows, partition, 0, grouped=True), Shuffled(rows, partition, 0)]
    drawn = [list(itertools.chain.from_iterable(taken(order, range(80)))) for order in orders]
    lengths = {sample.id: length_of(sample) for sample in rows}
    padding = []
    for names in drawn:
        for epoch in range(3):
            assert len(set(names[203 * epoch : 203 * epoch + 203])) == 203
        batches = np.array([lengths[name] for name in names]).reshape(-1, 8)
        padding.append((batches.max(1, keepdims=True) - batches).sum())
    assert padding[0] < padding[1] / 4
    assert drawn[0][:203] != drawn[0][203:406]
    shifted = taken(Shuffled(rows, BatchPartition(batch_size=8, shift=3), 0, grouped=True), range(20))
    spread = [[lengths[name] for name in batch] for batch in shifted]
    assert sum(max(batch) * 8 - sum(batch) for batch in spread) < padding[1] / 4 / 4  # of a fourth of the batches
    later = taken(Shuffled(rows, partition, 0, grouped=True), range(41, 80))  # of another process, after a resume
    assert list(itertools.chain.from_iterable(later)) == drawn[0][8 * 41 :]


def test_a_mixture_resumes_with_the_same_losses(folder: Path, tmp_path: Path) -> None:
    data = (f"pairs:{folder / 'data' / 'pairs.jsonl'}", f"instructions:{folder / 'data' / 'instructions.jsonl'}")

    def job(name: str, weights: tuple[float, ...] = (1.0, 3.0)) -> Any:
        made = align_job(folder, tmp_path / name, data=data, weights=weights, steps=4)
        return saving(made, save_every=2, log_every=1, eval_every=1)

    train(job("whole"))
    with pytest.raises(Stopped):
        train(replace(job("stopped"), evaluate=stop_at(3)))
    train(job("stopped"))
    assert_close(losses(tmp_path / "stopped"), losses(tmp_path / "whole"))
    record = json.loads((tmp_path / "whole" / "training.json").read_text())
    assert [each["weight"] for each in record["data"]] == [1.0, 3.0]
    assert record["identity"]["weights"] == [1.0, 3.0]
    for wrong in ((1.0,), (0.0, 1.0), (1.0, float("nan")), (float("inf"), 1.0), (1e308, 1e308), (1e-300, 1e300)):
        with pytest.raises(WrongUse, match="2 data need as many numbers above 0, such as 1 and 2"):
            job("refused", wrong)
    with pytest.raises(WrongUse, match="--group-by-length takes tables without --weight"):
        align_job(folder, tmp_path / "refused", data=data, weights=(1.0, 1.0), group_by_length=True)


def test_a_weight_belongs_to_the_data_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from anymal_eval.cli import train as command

    seen: list[Any] = []
    monkeypatch.setattr(command, "_train", lambda **options: seen.append((options["data"], options["weights"])))
    for arguments in (
        ["--data", "a:1", "--weight", "2", "--data", "b:2"],
        ["--data", "a:1", "--data=b:2", "--weight=0.5"],
        ["--data", "a:1", "--data", "b:2"],
    ):
        assert CliRunner().invoke(cli, ["train", "align", "tiny", *arguments]).exit_code == 0
    assert seen == [(("a:1", "b:2"), (2.0, 1.0)), (("a:1", "b:2"), (1.0, 0.5)), (("a:1", "b:2"), ())]
    for wrong in (["--weight", "2", "--data", "a:1"], ["--data", "a:1", "--weight", "1", "--weight", "2"]):
        done = CliRunner().invoke(cli, ["train", "align", "tiny", *wrong])
        assert done.exit_code == 1 or done.exit_code == 2
        assert "--weight stands after the --data that it belongs to" in done.output
