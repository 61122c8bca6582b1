"""Processes that cannot meet, or lose each other: one line each."""

import os
import re
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from anymal_eval.errors import IncompleteRun, WrongUse
from anymal_eval.evaluation.console import SilentConsole
from anymal_eval.training import peers, run

SECOND = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


@pytest.fixture(autouse=True)
def second(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the second of two."""
    for name, value in SECOND.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)


@pytest.mark.parametrize(
    ("changed", "device", "message"),
    [
        ({"WORLD_SIZE": "two"}, "cpu", "WORLD_SIZE='two': no number; start the processes by torchrun"),
        ({"WORLD_SIZE": "0"}, "cpu", "WORLD_SIZE=0: a training has a process"),
        ({"RANK": ""}, "cpu", "WORLD_SIZE is 2 and RANK is not set"),
        ({"RANK": "-1"}, "cpu", "RANK='-1': no number"),
        ({"RANK": "2"}, "cpu", "RANK is 2 of WORLD_SIZE 2, and counts from 0"),
        ({"MASTER_ADDR": ""}, "cpu", "WORLD_SIZE is 2 and MASTER_ADDR is not set"),
        ({"MASTER_PORT": ""}, "cpu", "WORLD_SIZE is 2 and MASTER_PORT is not set"),
        ({"MASTER_PORT": "high"}, "cpu", "MASTER_PORT='high': no number"),
        ({"MASTER_PORT": "65536"}, "cpu", "MASTER_PORT=65536: no port has a number above 65535"),
        ({"LOCAL_RANK": ""}, "cuda", "WORLD_SIZE is 2 and LOCAL_RANK is not set"),
    ],
)
def test_an_environment_that_no_launcher_makes(
    changed: dict[str, str], device: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers.require_launched(device)
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WrongUse, match=re.escape(message)):
        peers.require_launched(device)


def test_what_libraries_print_in_any_process_goes_into_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning of accelerate or torch in the second process is no message of the training; its folder may be new."""

    class Recorded(SilentConsole):
        def keep_log(self, folder: Path) -> None:
            assert folder.is_dir()
            kept.append(folder)

        def message(self, text: str) -> None:
            raise AssertionError(text)

    def load(_: Any) -> None:
        raise WrongUse("no further")

    kept: list[Path] = []
    monkeypatch.setattr(run, "load", load)
    resolved: Any = SimpleNamespace(plan=SimpleNamespace(out=tmp_path / "new"))
    with pytest.raises(WrongUse, match="no further"):
        run.train(resolved, Recorded())
    assert kept == [tmp_path / "new"]


def test_an_address_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "CONNECT", timedelta(milliseconds=100))
    with pytest.raises(WrongUse) as found:
        peers.connect("cpu", timedelta(milliseconds=100))
    line = str(found.value)
    assert line.startswith("process 1 of 2 cannot meet the others at 127.0.0.1:1 (MASTER_ADDR, MASTER_PORT): ")
    assert line.endswith(
        "; start all of them, with the address of the first one's machine and a port that is free there"
    )
    assert not torch.distributed.is_initialized()


def test_how_long_the_others_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers passes its ``ddp_timeout`` on where there are GPUs alone."""
    waits: list[timedelta] = []
    distributed: Any = torch.distributed
    store = distributed.HashStore()

    def init(backend: str, *, timeout: timedelta, **given: Any) -> None:
        assert (backend, given["rank"], given["world_size"]) == ("gloo", 1, 2)
        waits.append(timeout)

    monkeypatch.setattr(torch.distributed, "rendezvous", lambda *_, **__: iter([(store, 1, 2)]))
    monkeypatch.setattr(torch.distributed, "init_process_group", init)
    peers.connect("cpu", timedelta(hours=24))
    assert [*waits, store.timeout] == [timedelta(hours=24)] * 2


LOST = [
    (
        "[/gloo/gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:9: Connection reset by peer. This is typically "
        "caused by a remote worker hanging or bugs in the application. Check the logs of the remote worker.",
        "Read error [127.0.0.1]:9: Connection reset by peer",
    ),
    (
        "[/gloo/gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 1800000ms for recv operation to complete",
        "Timed out waiting 1800000ms for recv operation to complete",
    ),
    ("Application timeout caused pair closure", "Application timeout caused pair closure"),
]


@pytest.mark.parametrize(("text", "why"), LOST)
def test_a_process_that_is_lost_is_one_line(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(IncompleteRun) as found, peers.named_losses(tmp_path):
        raise RuntimeError(text)
    assert str(found.value) == (
        f"process 1 of 2 lost another one ({why}); the messages of the others say why; the same command resumes from "
        f"the last state in {tmp_path}"
    )


def test_what_nccl_says_is_cut_to_one_line(tmp_path: Path) -> None:
    with pytest.raises(IncompleteRun) as found, peers.named_losses(tmp_path):
        raise torch.distributed.DistBackendError("NCCL error in: a.cpp:1\n" + "socket closed " * 40)
    assert "(NCCL error in: a.cpp:1 socket closed" in str(found.value)
    assert len(str(found.value)) < 400 + len(str(tmp_path))


def test_other_errors_are_not_taken_for_a_lost_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match=r"^size mismatch$"), peers.named_losses(tmp_path):
        raise RuntimeError("size mismatch")
    monkeypatch.setattr(os, "environ", {})
    with pytest.raises(RuntimeError, match="pair closure"), peers.named_losses(tmp_path):
        raise RuntimeError(LOST[-1][0])
