"""The processes of a training: how they find each other, and one line where one of them is lost."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from anymal_eval.errors import IncompleteRun, WrongUse

_torch: Any = torch.distributed  # its types lack some of its names
CONNECT = timedelta(minutes=10)  # for the others to start, as torchrun waits
_LAUNCHED = "start the processes by torchrun or accelerate launch, which set it"
_NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")
# gloo raises a plain RuntimeError, which begins with the place in its source and ends with advice; one has only a text.
_GLOO = re.compile(r"\[\S*gloo/\S*\]\s*(.*?)(?:\. This is typically caused.*)?", re.DOTALL)
_WITHOUT_PLACE = "Application timeout caused pair closure"
_LAST_PORT = 65535
_LONGEST = 200  # characters of what torch says


def processes() -> int:
    """The processes of this training, as torchrun and accelerate tell them.

    Raises:
        WrongUse: the variable holds no number.
    """
    count = _number("WORLD_SIZE", 1)
    if not count:
        raise WrongUse(f"WORLD_SIZE=0: a training has a process; {_LAUNCHED}")
    return count


def rank() -> int:
    """The number of this process among them.

    Raises:
        WrongUse: the variable holds no number.
    """
    return _number("RANK", 0)


def require_launched(device: str) -> None:
    """Refuse an environment in which the processes cannot find each other, before data and weights are read.

    Raises:
        WrongUse: naming the variable.
    """
    if processes() < 2:
        return
    for name in (*_NEEDED, *(("LOCAL_RANK",) if device != "cpu" else ())):
        if not os.environ.get(name):
            raise WrongUse(f"WORLD_SIZE is {processes()} and {name} is not set: {_LAUNCHED}")
    if _number("MASTER_PORT", 0) > _LAST_PORT:
        raise WrongUse(f"MASTER_PORT={_number('MASTER_PORT', 0)}: no port has a number above {_LAST_PORT}")
    if rank() >= processes():
        raise WrongUse(f"RANK is {rank()} of WORLD_SIZE {processes()}, and counts from 0: {_LAUNCHED}")


def connect(device: str, wait: timedelta) -> None:
    """Connect this process with the others, unless it is alone. transformers finds the connection and makes none.

    Args:
        device: ``cpu`` or ``cuda``.
        wait: how long the others may take to come to a collective operation; transformers sets none on a CPU.

    Raises:
        WrongUse: they cannot be found.
    """
    if processes() < 2 or _torch.is_initialized():
        return
    try:
        StoreOfAttempt.use()
        store, own, count = next(_torch.rendezvous("env://", timeout=CONNECT))
        store.set_timeout(wait)
        backend, store = "gloo" if device == "cpu" else "nccl", _torch.PrefixStore("default_pg", store)
        _torch.init_process_group(backend, store=store, rank=own, world_size=count, timeout=wait)
    except RuntimeError as error:
        why = _lost(error)
        if why is None:
            raise
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise WrongUse(
            f"process {rank()} of {processes()} cannot meet the others at {address} (MASTER_ADDR, MASTER_PORT): {why}; "
            "start all of them, with the address of the first one's machine and a port that is free there"
        ) from error


@contextmanager
def named_losses(out: Path) -> Iterator[None]:
    """Name in one line what torch raises where another process ended, or did not come within the time.

    Raises:
        IncompleteRun: it did; the state before is whole.
    """
    try:
        yield
    except RuntimeError as error:
        why = _lost(error) if processes() > 1 else None
        if why is None:
            raise
        raise IncompleteRun(
            f"process {rank()} of {processes()} lost another one ({why}); the messages of the others say why; the "
            f"same command resumes from the last state in {out}"
        ) from error


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "") or str(default)
    if not (text.isascii() and text.isdigit()):
        raise WrongUse(f"{name}={text!r}: no number; {_LAUNCHED}")
    return int(text)


def _lost(error: RuntimeError) -> str | None:
    """What torch says of a connection between processes; None of another error.

    >>> _lost(RuntimeError("[gloo/transport/tcp/pair.cc:5] Connection closed by peer. This is typically caused by ..."))
    'Connection closed by peer'
    """
    found = _GLOO.fullmatch(str(error))
    if found is None and str(error) != _WITHOUT_PLACE and not isinstance(error, _torch.DistError):
        return None
    text = " ".join((found[1] if found else str(error)).split()).rstrip(".")
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


class StoreOfAttempt:
    """The store by which the processes of one attempt of torchrun find each other.

    torchrun keeps one store for all its attempts, with one name for each process: after a restart a process may read
    the address of one that has died, and wait for it (seen with torch 2.13; pytorch/pytorch#135712). On several nodes
    the attempts are counted apart: there ``TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1`` does it.
    """

    server: Any = None

    @classmethod
    def use(cls) -> None:
        """After a restart, let torch use a new store, which the first process serves. Call it before torch connects."""
        given = os.environ
        attempt, address = given.get("TORCHELASTIC_RESTART_COUNT", "0"), given.get("MASTER_ADDR", "localhost")
        is_shared = given.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and given.get("GROUP_WORLD_SIZE") == "1"
        if attempt == "0" or not is_shared or cls.server is not None:
            return
        store = _torch.TCPStore
        shared, key = store(address, int(given["MASTER_PORT"])), f"anymal_eval/{attempt}"
        if given.get("RANK") == "0":
            cls.server = store(address, 0, is_master=True, wait_for_workers=False)
            shared.set(key, str(cls.server.port))
        given["MASTER_PORT"] = shared.get(key).decode()
