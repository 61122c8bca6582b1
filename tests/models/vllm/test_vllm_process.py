"""The server of ``vllm:`` starts, is watched and always ends: against a server that imitates vLLM's processes."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.errors import IncompleteRun, NeedsExtra, WrongUse
from anymal_eval.models import Model, choose_model
from anymal_eval.models.vllm.command import launch_of
from anymal_eval.models.vllm.options import Options
from tests.models.serving import question, respond

ROOT = Path(__file__).parents[3]
FAKE = Path(__file__).with_name("fake_vllm.py")


@pytest.fixture
def program(tmp_path: Path) -> str:
    """What ``-o python=`` names."""
    file = tmp_path / "python-with-vllm"
    file.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    import numpy as np
    from safetensors.numpy import save_file

    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llava", "vision_config": {}}))
    save_file({"weight": np.zeros(4, np.float32)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    return tmp_path / "pids"


@pytest.fixture
def open_fake(
    tmp_path: Path, program: str, checkpoint: Path, pids: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path / "cache"))
    opened: list[Model] = []

    def open_model(how: dict[str, Any] | None = None, **options: object) -> Any:
        monkeypatch.setenv("FAKE_VLLM", json.dumps({"pids": str(pids), **(how or {})}))
        given = {"python": program, "timeout": 10, "retries": 0, **options}
        opened.append(choose_model(f"vllm:{checkpoint}", {key: str(value) for key, value in given.items()}).load())
        return opened[-1]

    yield open_model
    for model in opened:
        model.close()


def started(pids: Path) -> list[int]:
    return [int(pid) for pid in pids.read_text().split()] if pids.exists() else []


def alive(pids: Path) -> list[int]:
    found = []
    for pid in started(pids):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        found += [pid] if state not in "ZX" else []
    return found


def until(what: Callable[[], Any], seconds: float = 30.0) -> bool:
    limit = time.monotonic() + seconds
    while not what() and time.monotonic() < limit:
        time.sleep(0.05)
    return bool(what())


def test_it_answers_and_ends_with_its_model(open_fake: Callable[..., Any], pids: Path, tmp_path: Path) -> None:
    model = open_fake()
    assert len(alive(pids)) == 2
    (response,) = respond(model, [question(1)])
    assert response.answer in ("dog", "cat", "hat")
    assert model.provenance["abilities"]["ranking"] is True
    assert model.provenance["version"] == "0.0.fake"
    folder = tmp_path / "run"
    folder.mkdir()
    model.keep_log(folder)
    model.close()
    assert alive(pids) == []
    log = (folder / "server.log").read_text()
    assert "loading weights <U+001B>[31m50%" in log
    assert "--served-model-name tiny" in log
    assert not list((tmp_path / "cache" / "logs").iterdir())
    assert model._process.key not in log


def test_a_server_that_dies_in_mid_run_is_started_once_more(open_fake: Callable[..., Any], pids: Path) -> None:
    expected = [response.answer for response in respond(open_fake(), [question(number) for number in range(12)])]
    pids.unlink()
    model = open_fake({"fatal": "sign 5?"})
    responses = respond(model, [question(number) for number in range(12)])
    assert [response.failure for response in responses] == [None] * 12
    assert [response.answer for response in responses] == expected
    assert len(started(pids)) == 4
    assert len(alive(pids)) == 2, "the processes of the dead server are left"


def test_a_server_that_dies_twice_ends_the_run(open_fake: Callable[..., Any], pids: Path) -> None:
    model = open_fake({"fatal": "sign 5?", "deaths": 9})
    with pytest.raises(IncompleteRun, match=r"the vLLM server ended twice .* the same command resumes"):
        respond(model, [question(number) for number in range(12)])
    assert until(lambda: not alive(pids))


def test_a_server_that_does_not_come_up(open_fake: Callable[..., Any], pids: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match=r"ended while it started: RuntimeError: no memory for the KV cache; its log is"):
        open_fake({"dies": True})
    (log,) = (tmp_path / "cache" / "logs").iterdir()
    assert "no memory" in log.read_text()
    with pytest.raises(WrongUse, match=r"did not come up within 1.5 s \(-o start_timeout=SECONDS\)"):
        open_fake({"deaf": True}, start_timeout=1.5)
    assert alive(pids) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_server_outlives_a_run(
    number: signal.Signals, checkpoint: Path, program: str, pids: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = [
        sys.executable, "-m", "anymal_eval", "run", "--tasks", "vqav2", "--data", "demo", "--demo-examples", "40",
        "--model", f"vllm:{checkpoint}", "-o", f"python={program}", "-o", "concurrency=2", "--out", str(out),
    ]  # fmt: skip
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "ANYMAL_EVAL_CACHE": str(tmp_path / "cache"),
        "FAKE_VLLM": json.dumps({"pids": str(pids), "seconds": 0.3}),
    }  # fmt: skip
    with (tmp_path / "stderr").open("w") as errors:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        answers = out / "vqav2" / "responses.jsonl"
        try:
            assert until(lambda: answers.exists() and answers.stat().st_size), (tmp_path / "stderr").read_text()
            process.send_signal(number)
            process.wait(30)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    assert len(started(pids)) == 2
    assert until(lambda: not alive(pids)), "a server is left"
    assert (out / "server.log").is_file()


def test_a_killed_supervisor_takes_its_server_along(open_fake: Callable[..., Any], pids: Path) -> None:
    model = open_fake()
    os.kill(model._process._supervisor.pid, signal.SIGKILL)
    assert until(lambda: len(alive(pids)) == 1), "the server outlives its supervisor"
    model.close()
    assert alive(pids) == []


def test_the_command_of_the_options(checkpoint: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(
        checkpoint=str(checkpoint), python=program, precision="bf16", quantize="fp8", context=4096, gpus=2,
        gpu_memory=0.8, most_images=3, video="native", vllm_args="--seed 7 --max-num-seqs=8",
    )  # fmt: skip
    launch = launch_of(options, frozenset({"image", "video"}))
    assert launch.command == (
        program, "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint), "--served-model-name", "tiny",
        "--dtype", "bfloat16", "--enable-prefix-caching", "--disable-uvicorn-access-log", "--quantization", "fp8",
        "--max-model-len", "4096", "--tensor-parallel-size", "2", "--gpu-memory-utilization", "0.8",
        "--media-io-kwargs", '{"video": {"num_frames": -1}}',
        "--limit-mm-per-prompt", '{"audio": 0, "image": 3}', "--seed", "7", "--max-num-seqs=8",
    )  # fmt: skip
    for wrong in ("--api-key secret", "--port=1", "--api_key x", "'open"):
        with pytest.raises(WrongUse, match="vllm_args"):
            launch_of(Options(checkpoint=str(checkpoint), python=program, vllm_args=wrong), frozenset())
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NeedsExtra, match="there is no vllm on the PATH"):
        launch_of(Options(checkpoint=str(checkpoint)), frozenset())
