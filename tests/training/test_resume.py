"""Stopped anywhere and begun again, the losses are the same."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from anymal_eval.errors import OtherRun
from anymal_eval.media.location import ROW
from anymal_eval.training.order import Share, Streamed
from anymal_eval.training.sources import Source
from anymal_eval.training.stage import Job, train
from anymal_eval.training.trainer import Keeping
from tests.conftest import ROOT
from tests.training.conftest import Stopped, align_job, assert_close, every_step, instruct_job, logged, losses, stop_at


def sparse(job: Job) -> Job:
    """Saved at every second step."""
    return replace(job, keeping=Keeping(save_every=2, keep=1, log_every=1, eval_every=1))


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was never stopped."""
    out = tmp_path_factory.mktemp("whole")
    train(every_step(align_job(folder, out)))
    return out


@pytest.mark.parametrize("step", [1, 2, 3, 6])
def test_stopped_at_any_step(step: int, whole: Path, folder: Path, tmp_path: Path) -> None:
    job = sparse(align_job(folder, tmp_path / "stopped"))
    with pytest.raises(Stopped):
        train(job, stop_at(step))
    train(replace(job, keeping=replace(job.keeping, eval_every=0)))
    assert [row["step"] for row in logged(job.out)] == [1, 2, 3, 4, 5, 6]
    assert_close(losses(job.out), losses(whole))
    assert [each.name for each in (job.out / "steps").iterdir()] == ["checkpoint-6"]


def test_a_line_of_the_log_that_a_stop_cut_in_two(folder: Path, tmp_path: Path) -> None:
    def job(name: str) -> Job:
        keeping = Keeping(save_every=3, log_every=2, eval_every=1)
        return replace(align_job(folder, tmp_path / name), keeping=keeping)

    train(job("whole"))
    with pytest.raises(Stopped):
        train(job("stopped"), stop_at(5))
    train(job("stopped"))
    assert [row["step"] for row in logged(tmp_path / "stopped")] == [2, 4, 6]
    assert_close(losses(tmp_path / "stopped"), losses(tmp_path / "whole"))


def test_stopped_with_dropout_and_adapters(folder: Path, tmp_path: Path) -> None:
    def job(name: str) -> Job:
        made = instruct_job(folder, first, tmp_path / name, accumulate=2)
        assert made.start.adapters is not None
        start = replace(made.start, adapters=replace(made.start.adapters, dropout=0.3))
        return sparse(replace(made, start=start))

    first = train(align_job(folder, tmp_path / "first", steps=1, warmup=0))
    train(replace(job("whole"), keeping=replace(job("whole").keeping, eval_every=0)))
    with pytest.raises(Stopped):
        train(job("stopped"), stop_at(3))
    train(job("stopped"))
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")


def test_killed(folder: Path, tmp_path: Path) -> None:
    def start(out: Path) -> "subprocess.Popen[bytes]":
        command = [
            sys.executable, "-m", "anymal_eval", "train", "align", str(folder / "network.toml"), "--data",
            f"pairs:{folder / 'data' / 'pairs.jsonl'}", "--steps", "60", "--batch-size", "6", "--learning-rate", "0.01",
            "--save-every", "5", "--log-every", "1", "--device", "cpu", "--out", str(out),
        ]  # fmt: skip
        return subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(every_step(align_job(folder, whole, steps=60, warmup=0.0)))
    process = start(killed)
    limit = time.monotonic() + 60
    log = killed / "log.jsonl"
    while process.poll() is None and time.monotonic() < limit:
        if log.exists() and log.read_bytes().count(b"\n") >= 7:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.002)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "checkpoint").exists()
    assert start(killed).wait(120) == 0
    assert_close(losses(killed), losses(whole))
    assert not list((killed / "steps").glob(".*"))


def test_another_configuration_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    job = align_job(folder, tmp_path / "out", steps=1, warmup=0)
    train(job)
    other = replace(job, recipe=replace(job.recipe, learning_rate=0.5, seed=3))
    with pytest.raises(OtherRun, match=r"differs in recipe.learning_rate, recipe.seed: .*was 0.01, now 0.5"):
        train(other)
    checkpoint = tmp_path / "out" / "checkpoint" / "projectors.safetensors"
    before = checkpoint.stat().st_mtime_ns
    train(replace(job, keeping=Keeping(log_every=7)))  # done already: nothing is written again
    assert checkpoint.stat().st_mtime_ns == before


def shards(folder: Path, count: int) -> Source:
    """The samples of pairs, dealt out to shards."""
    samples = list(align_job(folder, folder).sources[0].samples or ())
    return Source(name="shards", fingerprint="shards", shards=count, stream=lambda number: iter(samples[number::count]))


def test_streamed_shards_go_on(folder: Path, tmp_path: Path) -> None:
    def job(name: str) -> Job:
        return sparse(replace(align_job(folder, tmp_path / name), sources=[shards(folder, 6)]))

    train(job("whole"))
    for step in (1, 4):
        with pytest.raises(Stopped):
            train(job(str(step)), stop_at(step))
        train(replace(job(str(step)), keeping=replace(job("").keeping, eval_every=0)))
        assert_close(losses(tmp_path / str(step)), losses(tmp_path / "whole"))


def test_passes_over_shards_show_every_sample_equally_often(folder: Path) -> None:
    """A shard of the next pass is opened when one of this pass is used up, so passes overlap."""
    counts: Counter[str] = Counter()
    for rank in range(2):
        order = Streamed([shards(folder, 6)], Share(batch_size=2, rank=rank, processes=2), 0, lambda *each: None)
        counts.update(sample.id for step in range(100) for sample in order.take(step, 0))
    assert len(counts) == 20
    assert max(counts.values()) - min(counts.values()) <= 5


def test_rows_are_opened_by_the_source_that_gave_them(folder: Path) -> None:
    from anymal_eval.records import Media
    from anymal_eval.training.features import Openers

    sample = align_job(folder, folder).sources[0].samples
    assert sample is not None
    inside = replace(sample[0], media=(Media(kind="image", uri=f"{ROW}mine#3"),))
    openers = Openers()
    openers.add(inside, lambda uri: uri.encode())
    assert openers(f"{ROW}mine#9") == f"{ROW}mine#9".encode()
