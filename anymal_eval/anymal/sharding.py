"""Shards the frozen language model over the processes of a training by FSDP2, a layer at a time.

Each process keeps its part of every layer's frozen weights and gathers a layer while it computes it. What is trained,
adapters and projectors, stays whole in every process, so that its gradients, its optimizer and every file that is
written are the same as without sharding. So do the embeddings, the last norm and the output head.
"""

from typing import Any

import torch
from torch import nn

from anymal_eval.anymal.llm import layers_of


def is_whole(name: str, value: nn.Parameter) -> bool:
    """Whether a weight of a layer stays whole in every process: adapters, and what takes gradients."""
    return "lora_" in name or value.requires_grad


def shard(model: Any, device: str) -> None:
    """Shard the layers of a causal LM over all processes, and put all of it on this process's device.

    A layer is on the device as a whole only while it is sharded, or computed. The weights of another device are freed
    as their layer is sharded. Adapters must be attached before.

    Args:
        model: frozen, on ``device`` or on the CPU.
        device: ``cpu`` or ``cuda``, this process's own.

    Raises:
        WrongUse: the class has no layers that can be sharded.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    layers = layers_of(model, "--shard")
    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    for layer in layers:
        whole = {value for name, value in layer.named_parameters() if is_whole(name, value)}
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    # The rest is in no group: a root without weights lets the layers share streams, so that the next is gathered ahead.
    rest = {value for value in model.parameters() if not _is_sharded(value)}
    fully_shard(model, mesh=mesh, ignored_params=rest)
    place = torch.device(device)
    for tensor in [*rest, *model.buffers()]:
        if tensor.device.type != place.type:
            tensor.data = tensor.data.to(place)


def _is_sharded(value: nn.Parameter) -> bool:
    from torch.distributed.tensor import DTensor

    return isinstance(value, DTensor)
