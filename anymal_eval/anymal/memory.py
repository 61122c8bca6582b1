"""Estimates the memory of a network from its config alone: nothing is loaded and nothing large is allocated.

The network is built of torch's fake tensors and run on them, forward and, for training, backward: the same operators
as later, each storage counted from its creation until it is freed. Only quantized layers are computed by a formula. Not
counted: the checkpoint's file, which is mapped while its numbers are converted; and what the C library's heap keeps of
freed tensors (see ``allocator.py``).

Shapes:  b rows · t positions · k modality tokens · d LLM width
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from anymal_eval.anymal import lora
from anymal_eval.anymal.config import AnyMALConfig
from anymal_eval.anymal.conversation import Prompt
from anymal_eval.anymal.encoders import Medium
from anymal_eval.anymal.live_bytes import LiveBytes
from anymal_eval.anymal.llm import layers_of, llm_of_shapes, recompute_activations
from anymal_eval.anymal.model import AnyMAL, build_encoders, build_projectors, part_of, to_bf16
from anymal_eval.anymal.sharding import is_whole
from anymal_eval.anymal.splice import Batch
from anymal_eval.checkpoints.loading import BackboneLoading, Loading, precision_name, quiet
from anymal_eval.checkpoints.quantization import expected_bytes, is_quantized, stored
from anymal_eval.generation import prefill

Optimizer = Literal["adamw", "adamw-8bit", "momentum", "sgd"]
# Bytes of an optimizer's states for each trained number: AdamW's running mean and square, or one momentum.
STATE_BYTES: Mapping[Optimizer, int] = {"adamw": 8, "adamw-8bit": 2, "momentum": 4, "sgd": 0}


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One batch.

    Rows are assumed to differ in length. Where all are equally long, attention needs no mask and training keeps
    somewhat less (a seventh of the activations in the toy network).

    Attributes:
        rows: of the batch.
        text_tokens: of the longest row.
        new_tokens: 0 for ranking; in training, the answer's.
        beams: of the search; rows are repeated for each.
        windows: windows of each medium in a row; those of one medium where a kind is missing.
        train: whether it is a training step.
        recompute: whether that step keeps no activations of the language model's layers (gradient checkpointing).
        accumulate: whether it is one of several micro-batches, whose gradients are alive from the second on.
        optimizer: of the step.
        masters: whether what is trained is bf16, updated in fp32.
        shards: the processes over which the layers of the language model are sharded.
        frozen: media whose projectors, or ``lora``, are not trained.
    """

    rows: int = 1
    text_tokens: int = 128
    new_tokens: int = 32
    beams: int = 1
    windows: Mapping[Medium, int] = field(default_factory=dict)
    train: bool = False
    recompute: bool = False
    accumulate: bool = False
    optimizer: Optimizer = "adamw"
    masters: bool = False
    shards: int = 1
    frozen: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Bytes.

    Attributes:
        weights: by part (``llm``, a medium's encoder, ``projectors``, ``lora``), then by precision.
        kv_cache: keys and values at the last new token.
        activations: in training those kept for the backward pass, else the most alive at once besides the cache.
        working: what is alive on top of them for a moment; in training, gradients too.
        gradients: of all trained weights. They are not all alive at the peak: ``working`` has those that are.
        optimiser: its states.
        operations: of the language model's layers in a training step's passes; attention's own products are left out.
    """

    weights: Mapping[str, Mapping[str, int]]
    kv_cache: int
    activations: int
    working: int
    gradients: int
    optimiser: int
    operations: int = 0

    @property
    def weight_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(sum(part.values()) for part in self.weights.values())

    @property
    def total(self) -> int:
        """The most bytes in use at one time."""
        return self.weight_bytes + self.kv_cache + self.activations + self.working + self.optimiser


def estimate(config: AnyMALConfig, loading: Loading, workload: Workload) -> Estimate:
    """Estimate one batch.

    Args:
        config: the network. Of its backbones only ``config.json`` is read, or ``architecture`` where they are not on
            this machine.
        loading: precision, quantization, device.
        workload: rows, lengths, training or not.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    network = skeleton(config, loading)
    for name, value in network.named_parameters():
        if part_of(name) in workload.frozen:
            value.requires_grad_(False)
    # Without a GPU the operators are those of a processor. Attention keeps the same there: its inputs and output, and
    # one number a position and head; no square of positions but the mask.
    is_here = torch.device(loading.device).type == "cpu" or torch.cuda.is_available()
    with FakeTensorMode(allow_non_fake_inputs=True):
        _place(network, loading.device if is_here else "cpu")
        if workload.masters:
            to_bf16(network)
        weights = _weights(network, loading)
        gathered = _shard(network, loading, weights, workload.shards)
        largest = _largest_dequantized(network, loading)
        trained = [value for value in network.parameters() if value.requires_grad] if workload.train else []
        gradients = sum(value.nbytes for value in trained)
        numbers = sum(value.numel() for value in trained)
        states = (STATE_BYTES[workload.optimizer] + 4 * workload.masters) * numbers
        live = LiveBytes([*network.parameters(), *network.buffers()])
        with live:
            run = _train if workload.train else _generate
            kept, peak, found = run(network, workload, live)
    cache, positions = (0, found) if workload.train else (found, 0)
    # On a GPU torch updates all tensors at once, and holds one more number for each trained one meanwhile.
    update = 2 * gradients if loading.device.startswith("cuda") else gradients
    update += 4 * numbers * workload.masters  # the gradients in fp32
    return Estimate(
        weights=weights,
        kv_cache=cache,
        activations=kept,
        working=max(peak - kept + largest + gathered, update - kept),
        gradients=gradients,
        optimiser=states,
        operations=_operations(network, positions, recompute=workload.recompute),
    )


def _shard(network: AnyMAL, loading: Loading, weights: dict[str, dict[str, int]], shards: int) -> int:
    """Leave this process's part of the layers in the weights, and return the bytes of the two layers that are whole."""
    if shards < 2:
        return 0
    inside: dict[str, int] = {}
    layers = layers_of(network.llm.model, "--shard")
    for layer in layers:
        for name, module in layer.named_modules():
            for own, value in module.named_parameters(recurse=False):
                if is_whole(f"{name}.{own}", value):
                    continue
                quantized = loading.quantize != "none" and own == "weight" and is_quantized(name, module)
                kind = loading.quantize if quantized else precision_name(value.dtype)
                size = expected_bytes(kind, *value.shape)[0] if quantized else value.nbytes
                inside[kind] = inside.get(kind, 0) + size
    for precision, size in inside.items():
        weights["llm"][precision] -= size - -(-size // shards)
    return 2 * sum(inside.values()) // len(layers)


def _operations(network: AnyMAL, positions: int, *, recompute: bool) -> int:
    """Two for each weight and position, forward, backward to the inputs, and forward again where it is recomputed."""
    layers = network.llm.model.named_modules()
    weights = sum(module.weight.numel() for name, module in layers if is_quantized(name, module))
    return int(2 * weights * positions * (3 if recompute else 2))


def skeleton(config: AnyMALConfig, loading: Loading) -> AnyMAL:
    """The network on the meta device. It has no tokenizer."""
    source = BackboneLoading(dtype=loading.precision, weights=False)
    llm = llm_of_shapes(config.llm, loading)
    if loading.attention in ("eager", "sdpa"):  # flash attention keeps what sdpa does, and its package is not needed
        llm.model.set_attn_implementation(loading.attention)
    with torch.device("meta"), quiet():
        if config.lora is not None:
            llm.model = lora.attach(llm.model, config.lora)
        encoder_of = build_encoders(config, source)
        projector_of = build_projectors(config, encoder_of, llm.width)
    return AnyMAL(config, llm, encoder_of, projector_of)


def _place(network: AnyMAL, device: str) -> None:
    """Put the network on its device; inside a fake tensor mode this allocates nothing."""
    done: dict[int, Tensor] = {}
    for module in network.modules():
        tables: list[dict[str, Any]] = [module._parameters, module._buffers]
        for table in tables:
            for name, tensor in table.items():
                if tensor is None:
                    continue
                if id(tensor) not in done:
                    placed = torch.empty_like(tensor, device=device)
                    own = nn.Parameter(placed, requires_grad=tensor.requires_grad)
                    done[id(tensor)] = own if isinstance(tensor, nn.Parameter) else placed
                table[name] = done[id(tensor)]


def _weights(network: AnyMAL, loading: Loading) -> dict[str, dict[str, int]]:
    """Bytes by part and precision."""
    parts: dict[str, dict[str, int]] = {"llm": {}, "projectors": {}}
    kind = loading.quantize
    quantized: set[int] = set()
    for name, module in network.llm.model.named_modules():
        if kind != "none" and is_quantized(name, module):
            quantized.add(module.weight.untyped_storage()._cdata)
            weight, scales = expected_bytes(kind, *module.weight.shape)
            parts["llm"][kind] = parts["llm"].get(kind, 0) + weight
            parts["llm"]["scales"] = parts["llm"].get("scales", 0) + scales
    owners: list[tuple[str, nn.Module]] = [("llm", network.llm.model), ("projectors", network.projectors)]
    owners += [(f"{medium} encoder", network.encoder(medium)) for medium in network.config.modalities]
    for part, owner in owners:
        for name, precision, tensor in stored(owner):
            if tensor.untyped_storage()._cdata in quantized:
                continue
            own = parts.setdefault("lora" if "lora_" in name else part, {})
            own[precision] = own.get(precision, 0) + tensor.nbytes
    return parts


def _largest_dequantized(network: AnyMAL, loading: Loading) -> int:
    """Bytes of the largest quantized layer in full precision: each is dequantized for its product."""
    if loading.quantize == "none":
        return 0
    layers = network.llm.model.named_modules()
    sizes = [module.weight.numel() for name, module in layers if is_quantized(name, module)]
    return int(max(sizes, default=0)) * loading.precision.itemsize


def _generate(network: AnyMAL, workload: Workload, live: LiveBytes) -> tuple[int, int, int]:
    """Encode, prefill, and decode one step at the full length.

    Returns:
        The most alive besides the cache, the same again, and the cache's bytes.
    """
    with torch.no_grad():
        batch = _rows(network, workload, repeat=workload.beams)
        encoding = live.peak
        live.restart()
        prefix = prefill(network.llm.model, batch.inputs)
        first = max(encoding, live.peak - prefix.nbytes)
        cache, final = prefix.cache, 0
        steps = max(workload.new_tokens - 1, 0)
        if steps:
            for layer in cache.layers:
                layer.keys = _pad_positions(layer.keys, steps - 1)
                layer.values = _pad_positions(layer.values, steps - 1)
            grown = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
            live.restart()
            length = batch.embeds.shape[1] + steps
            mask = torch.ones(len(batch.embeds), length, dtype=torch.long, device=batch.mask.device)
            position = torch.full((len(batch.embeds), 1), length - 1, device=batch.mask.device)
            network.llm(
                input_ids=torch.zeros_like(position),
                attention_mask=mask,
                position_ids=position,
                past_key_values=cache,
                use_cache=True,
            )
            final = live.peak - grown
        size = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    most = max(first, final)
    return most, most, size


def _train(network: AnyMAL, workload: Workload, live: LiveBytes) -> tuple[int, int, int]:
    """One step of training.

    Returns:
        What is alive after the forward pass besides gradients, the most alive in both passes, and the positions.
    """
    network.train()
    if workload.recompute:
        for layer in recompute_activations(network.llm.model):
            layer.training = True  # of the layer alone: its dropout stays off
    if workload.accumulate:
        network.loss(_rows(network, workload)).backward()  # type: ignore[no-untyped-call]
    before = live.now
    live.restart()
    rows = _rows(network, workload)
    loss = network.loss(rows)
    kept = live.now - before
    loss.backward()  # type: ignore[no-untyped-call]
    return kept, live.peak, rows.mask.numel()


def _rows(network: AnyMAL, workload: Workload, repeat: int = 1) -> Batch:
    """Rows with every medium in its place; all media are encoded first, as in an evaluation."""
    tokens: dict[str, list[Tensor]] = {}
    for medium in network.config.modalities:
        encoder = network.encoder(medium)
        count = workload.windows.get(medium, encoder.windows_of)
        windows = [torch.zeros(count, *encoder.window_shape) for _ in range(workload.rows)]
        tokens[medium] = network.project(medium, network.encode(medium, windows))
    media = tuple(network.config.modalities)
    text = tuple([0] * workload.text_tokens)
    prompt = Prompt(pieces=((), *[()] * (len(media) - 1), text) if media else (text,), media=media)
    answer = [(0,) * workload.new_tokens] * workload.rows if workload.train else None
    given = [[tokens[medium][row] for medium in media] for row in range(workload.rows)]
    batch = network.rows([prompt] * workload.rows, given, answer)
    if repeat > 1:
        batch = Batch(embeds=batch.embeds.repeat_interleave(repeat, 0), mask=batch.mask.repeat_interleave(repeat, 0))
    return batch


def _pad_positions(tensor: Tensor, by: int) -> Tensor:
    """(b, h, t, s) -> (b, h, t + by, s)."""
    return nn.functional.pad(tensor, (0, 0, 0, by))
