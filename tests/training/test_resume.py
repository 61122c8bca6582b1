"""Stopped anywhere and begun again, the losses are the same."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import webdataset
from click.testing import CliRunner

from anymal_eval.cli.main import cli
from anymal_eval.errors import OtherRun
from anymal_eval.media.location import ROW
from anymal_eval.training import load
from anymal_eval.training.order import BatchPartition, Streamed
from anymal_eval.training.resolve import ResolvedTraining
from anymal_eval.training.run import train
from anymal_eval.training.sources import TrainingData
from tests.conftest import ROOT
from tests.training.conftest import Stopped, align_job, assert_close, instruct_job, logged, losses, saving, stop_at


def sparse(job: ResolvedTraining) -> ResolvedTraining:
    """Saved at every second step."""
    return saving(job, save_every=2, keep=1, log_every=1, eval_every=1)


@pytest.mark.parametrize("step", [1, 2, 3, 6])
def test_stopped_at_any_step(step: int, whole: Path, folder: Path, tmp_path: Path) -> None:
    job = sparse(align_job(folder, tmp_path / "stopped"))
    with pytest.raises(Stopped):
        train(replace(job, evaluate=stop_at(step)))
    train(saving(job, eval_every=0))
    assert [row["step"] for row in logged(job.plan.out)] == [1, 2, 3, 4, 5, 6]
    assert_close(losses(job.plan.out), losses(whole))
    assert [each.name for each in (job.plan.out / "steps").iterdir()] == ["checkpoint-6"]


def test_a_line_of_the_log_that_a_stop_cut_in_two(folder: Path, tmp_path: Path) -> None:
    def job(name: str) -> ResolvedTraining:
        return saving(align_job(folder, tmp_path / name), save_every=3, log_every=2, eval_every=1)

    train(job("whole"))
    with pytest.raises(Stopped):
        train(replace(job("stopped"), evaluate=stop_at(5)))
    train(job("stopped"))
    assert [row["step"] for row in logged(tmp_path / "stopped")] == [2, 4, 6]
    assert_close(losses(tmp_path / "stopped"), losses(tmp_path / "whole"))


def test_stopped_with_dropout_and_adapters(folder: Path, whole: Path, tmp_path: Path) -> None:
    def job(name: str) -> ResolvedTraining:
        made = instruct_job(folder, whole / "checkpoint", tmp_path / name, accumulate=2)
        assert made.adapters is not None
        return sparse(replace(made, adapters=replace(made.adapters, dropout=0.3)))

    train(saving(job("whole"), eval_every=0))
    with pytest.raises(Stopped):
        train(replace(job("stopped"), evaluate=stop_at(3)))
    train(job("stopped"))
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")


KILLED = """
import os, signal, sys
from anymal_eval.cli.main import cli
from anymal_eval.training import states

def write_trained(file, module):
    if file.parent.name == ".checkpoint-4.draft":
        os.kill(os.getpid(), signal.SIGKILL)
    real(file, module)

real, states.write_trained = states.write_trained, write_trained
cli(sys.argv[1:])
"""


def test_killed_while_saving(folder: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        "train", "align", str(folder / "network.toml"), "--data", f"pairs:{folder / 'data' / 'pairs.jsonl'}",
        "--steps", "6", "--batch-size", "6", "--learning-rate", "0.01", "--warmup", "2", "--save-every", "2",
        "--log-every", "1", "--device", "cpu", "--out", str(out),
    ]  # fmt: skip
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", KILLED, *command], cwd=ROOT, env=here, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    assert [row["step"] for row in logged(out)] == [1, 2, 3, 4]
    assert sorted(each.name for each in (out / "steps").iterdir()) == [".checkpoint-4.draft", "checkpoint-2"]
    assert list((out / "steps" / ".checkpoint-4.draft").iterdir())
    assert not (out / "checkpoint").exists()
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    assert [row["step"] for row in logged(out)] == [1, 2, 3, 4, 5, 6]
    assert_close(losses(out), losses(whole))
    assert sorted(each.name for each in (out / "steps").iterdir()) == ["checkpoint-4", "checkpoint-6"]


KILLED_ENCODING = """
import os, signal, sys
from anymal_eval.anymal.features import FeatureCache
from anymal_eval.cli.main import cli

def put(self, key, features):
    if len(self) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    real(self, key, features)

real, FeatureCache.put = FeatureCache.put, put
cli(sys.argv[1:])
"""


def test_killed_while_encoding(folder: Path, whole: Path, tmp_path: Path) -> None:
    """The rest is encoded in other batches and, with the second process, by another number of threads."""

    def command(name: str) -> list[str]:
        return [
            "train", "instruct", str(whole / "checkpoint"), "--data",
            f"instructions:{folder / 'data' / 'instructions.jsonl'}", "--steps", "2", "--batch-size", "6",
            "--lora-rank", "4", "--device", "cpu", "--features", str(tmp_path / f"features-{name}"),
            "--out", str(tmp_path / name),
        ]  # fmt: skip

    def content(root: Path) -> dict[str, bytes]:
        return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}

    assert CliRunner().invoke(cli, command("plain")).exit_code == 0
    here = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "7"}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_ENCODING, *command("killed")], cwd=ROOT, env=here, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    assert len(list((tmp_path / "features-killed").glob("??/*.safetensors"))) == 4
    assert CliRunner().invoke(cli, command("killed")).exit_code == 0
    one, other = content(tmp_path / "plain" / "checkpoint"), content(tmp_path / "killed" / "checkpoint")
    assert one == other
    [settings] = [json.loads(value) for name, value in one.items() if name.endswith("adapter_config.json")]
    assert len(settings["target_modules"]) == 14
    assert settings["target_modules"] == sorted(settings["target_modules"])
    features = content(tmp_path / "features-plain")
    features.pop("digests.jsonl", None)  # media that were just written are not remembered
    assert features.items() <= content(tmp_path / "features-killed").items()


def test_another_configuration_is_refused_by_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = align_job(folder, tmp_path / "out", steps=1, warmup=0)
    train(job)
    other = replace(job, recipe=replace(job.recipe, learning_rate=0.5, seed=3))
    with monkeypatch.context() as patch:
        patch.delattr(load, "load_network")  # refused before a weight is loaded
        with pytest.raises(OtherRun, match=r"differs in recipe.learning_rate, recipe.seed: .*was 0.01, now 0.5"):
            train(other)
    checkpoint = tmp_path / "out" / "checkpoint" / "projectors.safetensors"
    before = checkpoint.stat().st_mtime_ns
    train(saving(job, log_every=7))  # finished already: nothing is written again
    assert checkpoint.stat().st_mtime_ns == before


def shards(folder: Path, count: int) -> TrainingData:
    """The samples of pairs, dealt out to shards."""
    samples = list(align_job(folder, folder).data[0].samples or ())
    return TrainingData(
        name="shards", fingerprint="shards", shards=count, stream=lambda number: iter(samples[number::count])
    )


def test_webdataset_shards_resume(folder: Path, tmp_path: Path) -> None:
    """Tar files as the library writes them, of unequal lengths, one of them with a sample that cannot be decoded."""
    samples = list(align_job(folder, folder).data[0].samples or ())
    for number, (start, end) in enumerate(((0, 4), (4, 11), (11, 20))):
        with webdataset.TarWriter(str(tmp_path / f"{number:05d}.tar")) as writer:
            for sample in samples[start:end]:
                file = Path(sample.media[0].uri.removeprefix("file://"))
                content = b"no picture" if sample.id == "p2" else file.read_bytes()
                caption = str(sample.turns[-1].parts[0])
                writer.write({"__key__": sample.id, file.suffix[1:]: content, "txt": caption})

    def job(name: str) -> ResolvedTraining:
        return sparse(align_job(folder, tmp_path / name, data=(f"webdataset:{tmp_path}/{{00000..00002}}.tar",)))

    train(job("whole"))
    for step in (1, 3):
        with pytest.raises(Stopped):
            train(replace(job(str(step)), evaluate=stop_at(step)))
        state = tmp_path / str(step) / "steps" / "checkpoint-2" / "position_0.json"
        if step == 3:
            position = json.loads(state.read_text())["order"]
            assert position["drawn"] == 12
            assert any(given for _, _, given in position["open"])  # in the middle of a shard
        train(saving(job(str(step)), eval_every=0))
        assert_close(losses(tmp_path / str(step)), losses(tmp_path / "whole"))
    for name in ("whole", "1", "3"):
        left_out = json.loads((tmp_path / name / "training.json").read_text())["unreadable"]
        assert list(left_out) == [f"{tmp_path / '00000.tar'}: p2"]


def test_passes_over_shards_show_every_sample_equally_often(folder: Path) -> None:
    """Which shards a process has differs from pass to pass, and they are of unequal lengths."""
    counts: Counter[str] = Counter()
    for rank in range(2):
        partition = BatchPartition(batch_size=2, rank=rank, processes=2)
        order = Streamed([shards(folder, 6)], partition, 0, lambda *each: None)
        counts.update(sample.id for step in range(100) for sample in order.take(step, 0))
    assert len(counts) == 20
    assert max(counts.values()) - min(counts.values()) <= 5


def test_rows_are_opened_by_the_opener_of_their_data(folder: Path) -> None:
    from anymal_eval.records import Media
    from anymal_eval.training.features import Openers

    sample = align_job(folder, folder).data[0].samples
    assert sample is not None
    inside = replace(sample[0], media=(Media(kind="image", uri=f"{ROW}mine#3"),))
    openers = Openers()
    openers.add(inside, lambda uri: uri.encode())
    assert openers(f"{ROW}mine#9") == f"{ROW}mine#9".encode()
