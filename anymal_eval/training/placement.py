"""The processes of a training, and a network that is too large for one GPU: over them, or over the GPUs of one."""

import os
from typing import Any

import torch

from anymal_eval.errors import WrongUse
from anymal_eval.training.plan import TrainingPlan


def processes() -> int:
    """The processes of this training, as torchrun and accelerate tell them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


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
        store: Any = torch.distributed.TCPStore  # type: ignore[attr-defined]
        shared, key = store(address, int(given["MASTER_PORT"])), f"anymal_eval/{attempt}"
        if given.get("RANK") == "0":
            cls.server = store(address, 0, is_master=True, wait_for_workers=False)
            shared.set(key, str(cls.server.port))
        given["MASTER_PORT"] = shared.get(key).decode()


def require_placement(plan: TrainingPlan) -> None:
    """Refuse what cannot be sharded, or spread, before a weight is loaded.

    Raises:
        WrongUse: naming what to do instead.
    """
    compute = plan.compute
    if compute.compile and (compute.shard or compute.device_map):
        other = "--shard" if compute.shard else f"--device-map {compute.device_map}"
        raise WrongUse(f"--compile: not with {other}, which moves weights between the layers' computations")
    if compute.device_map and processes() > 1:
        raise WrongUse(
            f"--device-map {compute.device_map}: it spreads the network of one process; several take --shard"
        )
    if not compute.shard:
        return
    if processes() < 2:
        raise WrongUse("--shard: it takes several processes: torchrun --nproc_per_node N -m anymal_eval train ...")
    if compute.quantize == "int8":
        raise WrongUse("--shard: the scales of int8 weights cannot be sharded; give --quantize nf4, or leave it out")
    if plan.saving.eval_every:
        raise WrongUse(
            "--shard: the first process evaluates, and has only its part of the weights; leave --eval-every out, and "
            "evaluate saved states with anymal-eval watch"
        )
