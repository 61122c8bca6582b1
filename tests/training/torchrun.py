"""torchrun whose processes fork from this one, which has imported everything: that costs each ten seconds of CPU.

    python -m tests.training.torchrun '[{"torchrun": [...], "arguments": [...], "killed": 0, "record": ""}, ...]'

runs each training after the other. ``killed`` is the micro-batch at which the second process is killed, the first time.
``fails``: the training ends with an error, and each process stays until the other has ended, too: torchrun kills the
one that it finds alive, maybe before its message. ``record`` names a file that gets a line for each start, and for the
kill: torchrun names the process that it finds dead first, which may be the other one, whose connection is lost.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import bitsandbytes  # noqa: F401
import torch
from torch.distributed import run as launcher
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from anymal_eval.cli.main import main
from anymal_eval.training import run  # noqa: F401
from anymal_eval.training.trainer import AnyMALTrainer

SCRIPT = Path(__file__).resolve()
AS_CODE: Any = launcher


def launch(trainings: list[dict[str, Any]]) -> None:
    """Run each by ``torchrun --nproc_per_node 2``."""
    for training in trainings:
        os.environ["KILLED_AT"] = str(training.get("killed", 0))
        os.environ["RECORD"] = training.get("record", "")
        how = ["--standalone", "--nproc_per_node", "2", "--start-method", "fork", "--run-path", *training["torchrun"]]
        fails = training.get("fails", False)
        with contextlib.suppress(*([ChildFailedError] if fails else [])), tempfile.TemporaryDirectory() as ends:
            os.environ["ENDS"] = ends if fails else ""
            AS_CODE.main([*how, str(SCRIPT), *training["arguments"]])


def work() -> None:
    """One process of a training."""
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)  # as in a process that was not forked
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    at = int(os.environ["KILLED_AT"])
    _record("starts")
    if at and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        _kill_at(at)
    sys.argv[0] = "anymal-eval"
    try:
        main()
    finally:
        if os.environ["ENDS"]:
            _wait_for_the_other(Path(os.environ["ENDS"]))


def _wait_for_the_other(ends: Path) -> None:
    (ends / os.environ["RANK"]).touch()
    limit = time.monotonic() + 60
    while len(list(ends.iterdir())) < 2 and time.monotonic() < limit:
        time.sleep(0.05)


def _record(what: str) -> None:
    if os.environ["RECORD"]:
        with Path(os.environ["RECORD"]).open("a", encoding="utf-8") as file:
            file.write(f"attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}: {os.environ['RANK']} {what}\n")


def _kill_at(at: int) -> None:
    trainer: Any = AnyMALTrainer
    real, calls = trainer.training_step, []

    def training_step(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == at:
            _record("is killed")
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, *arguments)

    trainer.training_step = training_step


if __name__ == "__main__":
    if "RANK" in os.environ:
        work()
    else:
        launch(json.loads(sys.argv[1]))
