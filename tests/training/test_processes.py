"""Two processes compute what one does: whole networks or sharded ones, and after one of them was killed."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from anymal_eval.anymal import checkpoint
from anymal_eval.errors import WrongUse
from anymal_eval.training.run import train
from anymal_eval.training.state_folders import step_of
from tests.conftest import ROOT
from tests.training.conftest import align_job, assert_close, every_step, instruct_job, logged, write_pictures

STEPS, RATE = 3, 1e-4
RECIPE = {"steps": STEPS, "learning_rate": RATE, "warmup": 0}
LACKING = 9  # a shard that is not among the first of either process
# A process may then have pictures alone, whose projector is frozen.
FROZEN = ["--freeze", "image", "--batch-size", "2", "--steps", "8", "--gradient-checkpointing", "on"]
INSTRUCT = {**RECIPE, "gradient_checkpointing": "on"}


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same trainings by one process, ``one`` and ``tuned``, and by two: see ``names`` below."""
    root = tmp_path_factory.mktemp("processes")
    train(every_step(align_job(folder, root / "one", **RECIPE)))
    start = root / "one" / "checkpoint"
    train(every_step(instruct_job(folder, start, root / "tuned", **INSTRUCT)))
    train(every_step(instruct_job(folder, start, root / "tuned-nf4", **INSTRUCT, quantize="nf4")))
    train(every_step(align_job(folder, root / "odd", **_odd(folder, root))))
    frozen = {**RECIPE, "freeze": ("image",), "batch_size": 2, "steps": 8, "gradient_checkpointing": "on"}
    train(every_step(align_job(folder, root / "frozen", **frozen)))
    names = {
        "two": _align(folder),
        "sharded": [*_instruct(folder, start), "--shard"],
        "sharded-nf4": [*_instruct(folder, start), "--shard", "--quantize", "nf4"],
        "sharded-odd": [*_align(folder, root / "odd.jsonl"), "--batch-size", "2", "--shard", "--max-unreadable", "90%"],
        "frozen-two": [*_align(folder), *FROZEN],
        "sharded-frozen": [*_align(folder), *FROZEN, "--shard"],
    }
    trainings = [{"torchrun": [], "arguments": [*each, *_out(root / name)]} for name, each in names.items()]
    elastic = {
        "torchrun": ["--max-restarts", "1"], "arguments": [*_align(folder), *_out(root / "elastic")],
        "killed": 3, "record": str(root / "starts"),
    }  # fmt: skip
    lacking = {"torchrun": [], "arguments": [*_lacking(folder, root), *_out(root / "lacking")], "fails": True}
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.torchrun", json.dumps([*trainings, elastic, lacking])],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    (root / "stdout").write_text(done.stdout, encoding="utf-8")
    (root / "stderr").write_text(done.stderr, encoding="utf-8")
    return root


def _odd(folder: Path, root: Path) -> dict[str, Any]:
    """Three rows of a picture and three of none that can be read, so that a process may have none in a step."""
    shutil.copyfile(folder / "data" / "0.png", root / "whole.png")
    (root / "broken.png").write_bytes(b"no picture")
    rows = [
        {"id": f"o{number}", "image": "whole.png" if number < 3 else "broken.png", "caption": "a red picture"}
        for number in range(6)
    ]
    (root / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = (f"pairs:{root / 'odd.jsonl'}",)
    return {**RECIPE, "data": data, "batch_size": 2, "max_unreadable": "90%"}


def _lacking(folder: Path, root: Path) -> list[str]:
    """Twenty shards for two processes, of which one cannot be had."""
    (root / "shards").mkdir()
    picture = (folder / "data" / "0.png").read_bytes()
    for number in range(20):
        if number != LACKING:
            write_pictures(root / "shards" / f"{number}.tar", [picture] * 2)
    data = f"webdataset:pipe:cat {root}/shards/{{0..19}}.tar"
    how = ["--device", "cpu", "--steps", "20", "--batch-size", "2", "--learning-rate", str(RATE)]
    return ["train", "align", str(folder / "network.toml"), "--data", data, *how, "--log-every", "1"]


def _align(folder: Path, pairs: Path | None = None) -> list[str]:
    data = pairs or folder / "data" / "pairs.jsonl"
    return ["train", "align", str(folder / "network.toml"), "--data", f"pairs:{data}", *_recipe()]


def _instruct(folder: Path, start: Path) -> list[str]:
    data = f"instructions:{folder / 'data' / 'instructions.jsonl'}"
    adapters = ["--lora-rank", "4", "--lora-alpha", "8", "--gradient-checkpointing", "on"]
    return ["train", "instruct", str(start), "--data", data, *adapters, *_recipe()]


def _recipe() -> list[str]:
    how = ["--device", "cpu", "--steps", str(STEPS), "--batch-size", "6", "--learning-rate", str(RATE)]
    return [*how, "--warmup", "0", "--log-every", "1", "--save-every", "1"]


def _out(folder: Path) -> list[str]:
    return ["--out", str(folder)]


def _weights(training: Path) -> Iterator[tuple[str, torch.Tensor]]:
    for file in sorted((training / "checkpoint").rglob("*.safetensors")):
        yield from load_file(file).items()


def _assert_same(one: Path, other: Path) -> None:
    """The losses, the gradients' norms and the final weights, to 1e-6."""
    before, now = logged(one), logged(other)
    for name in ("loss", "grad_norm"):
        assert_close([row[name] for row in now], [row[name] for row in before])
    expected, found = dict(_weights(one)), dict(_weights(other))
    assert expected.keys() == found.keys()
    assert len(expected) > 2
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("one", "two"), ("tuned", "sharded"), ("tuned-nf4", "sharded-nf4"), ("odd", "sharded-odd"), ("one", "elastic"),
        ("frozen", "frozen-two"), ("frozen", "sharded-frozen"),
    ],
)  # fmt: skip
def test_two_processes_equal_one(one: str, other: str, trained: Path) -> None:
    _assert_same(trained / one, trained / other)


def test_a_process_without_input_costs_no_step(trained: Path) -> None:
    """The other one agrees to save the step before, too."""
    (state,) = (trained / "lacking" / "steps").glob("checkpoint-*")
    assert step_of(state) == logged(trained / "lacking")[-1]["step"] > 0
    assert {file.name for file in state.iterdir()} >= {"position_0.json", "position_1.json"}
    printed = (trained / "stderr").read_text(encoding="utf-8")
    why, elsewhere = sorted(set(re.findall(rf"^error: (.*shards/{LACKING}\.tar.*)$", printed, re.MULTILINE)), key=len)
    assert elsewhere == f"process 1 of the training has no input for its next step: {why}"


def test_files_are_those_of_one_process(trained: Path) -> None:
    stdout = (trained / "stdout").read_text(encoding="utf-8").splitlines()
    assert sum(line.endswith("checkpoint") for line in stdout) == 7
    for one, other in (("one", "two"), ("tuned", "sharded")):
        states = [trained / name / "steps" / f"checkpoint-{STEPS}" for name in (one, other)]
        names = [{file.name for file in state.iterdir()} for state in states]
        assert names[1] - names[0] == {"rng_state_0.pth", "rng_state_1.pth", "position_1.json"}
        kept = [load_file(state / "trained.safetensors") for state in states]
        shapes = [{name: (value.shape, value.dtype) for name, value in each.items()} for each in kept]
        assert shapes[0] == shapes[1]
    assert checkpoint.read(trained / "sharded" / "checkpoint").adapters


def test_the_killed_process_was_started_again(trained: Path) -> None:
    assert sorted((trained / "starts").read_text(encoding="utf-8").splitlines()) == [
        "attempt 0: 0 starts",
        "attempt 0: 1 is killed",
        "attempt 0: 1 starts",
        "attempt 1: 0 starts",
        "attempt 1: 1 starts",
    ]
    assert [row["step"] for row in logged(trained / "elastic")] == list(range(1, STEPS + 1))
    # The other process loses the connection, or torchrun ends it first.
    assert "this is a fault of anymal_eval" not in (trained / "stderr").read_text(encoding="utf-8")


def test_what_one_process_resumes_from_a_sharded_state(trained: Path, folder: Path) -> None:
    job = every_step(instruct_job(folder, trained / "one" / "checkpoint", trained / "sharded", **INSTRUCT))
    (trained / "sharded" / "steps" / f"checkpoint-{STEPS}").rename(trained / "later")
    (trained / "sharded" / "checkpoint").rename(trained / "before")
    train(job)
    _assert_same(trained / "tuned", trained / "sharded")


def test_spread_over_the_devices_of_one_process(trained: Path, folder: Path, tmp_path: Path) -> None:
    job = align_job(folder, tmp_path / "out", **RECIPE, device="auto", device_map='{"": "cpu"}')
    assert job.loading.device_map == {"": "cpu"}
    train(every_step(job))
    assert [row["loss"] for row in logged(tmp_path / "out")] == [row["loss"] for row in logged(trained / "one")]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are not two GPUs")
@pytest.mark.parametrize("kind", ["none", "nf4"])
def test_two_gpus_equal_one(kind: str, trained: Path, folder: Path, tmp_path: Path) -> None:
    start = trained / "one" / "checkpoint"
    how = ["--device", "cuda", "--precision", "bf16", "--quantize", kind]
    for name, more in (("whole", []), ("sharded", ["--shard"])):
        given = [*_instruct(folder, start), *how, *more, *_out(tmp_path / name)]
        command = ["--standalone", "--nproc_per_node", "2", "-m", "anymal_eval", *given]
        done = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", *command],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-5000:]
    for name in ("loss", "grad_norm"):
        whole, sharded = ([row[name] for row in logged(tmp_path / kept)] for kept in ("whole", "sharded"))
        assert_close(sharded, whole, within=2e-2)


@pytest.mark.parametrize(
    ("changed", "processes", "message"),
    [
        ({"shard": True}, 1, "it takes several processes: torchrun"),
        ({"shard": True, "quantize": "int8"}, 2, "the scales of int8 weights cannot be sharded"),
        ({"shard": True, "eval_every": 1, "eval_tasks": "vqav2"}, 2, "evaluate saved states with anymal-eval watch"),
        ({"device_map": "auto"}, 2, "it spreads the network of one process"),
        ({"device_map": "best", "device": "auto"}, 1, "--device-map best: write auto, balanced"),
        ({"device_map": "auto", "device": "cpu"}, 1, "--device-map auto several: give one of them"),
    ],
)
def test_what_cannot_be_placed(
    changed: dict[str, Any], processes: int, message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    with pytest.raises(WrongUse, match=message):
        align_job(folder, tmp_path / "out", **changed)
    assert not (tmp_path / "out").exists()
