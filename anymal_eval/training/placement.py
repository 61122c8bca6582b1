"""A network that is too large for one GPU: over the processes of a training, or over the GPUs of one."""

from anymal_eval.errors import WrongUse
from anymal_eval.training.peers import processes
from anymal_eval.training.plan import TrainingPlan


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
