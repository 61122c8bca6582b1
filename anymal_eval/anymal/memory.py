"""What a network will take, from its config alone: nothing is loaded and nothing large is allocated.

The network is built of shapes (torch's fake tensors) and really run on them, forward and, for training, backward: the
same operators as later, each storage counted from when it is made until it is gone. Only quantised layers are reckoned
by formula. Not counted: the checkpoint's file, which is mapped besides while numbers of another type are made from it;
and what the C library's heap keeps after a tensor is gone (see ``allocator.py``).

Shapes:  b rows · t positions · k modality tokens · d LLM width
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from anymal_eval.anymal import encoders, lora, projectors
from anymal_eval.anymal.config import AnyMALConfig
from anymal_eval.anymal.conversation import Prompt
from anymal_eval.anymal.encoders import Medium
from anymal_eval.anymal.live_bytes import LiveBytes
from anymal_eval.anymal.llm import llm_of_shapes
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.anymal.prefix import prefill
from anymal_eval.anymal.splice import Batch
from anymal_eval.checkpoints.loading import BackboneLoading, Loading, quiet
from anymal_eval.checkpoints.quantization import expected_bytes, is_quantized, stored

ADAM_STATES = 2  # running mean and square of each trained number


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is to be run.

    ``windows``: how many windows of each medium a row holds, one of each where not said. ``text_tokens``: of the
    longest row. ``new_tokens``: 0 for ranking; in training, the answer.

    Rows are taken to differ in length. Where all are equally long attention needs no mask, and training keeps
    somewhat less (a seventh of the activations in the toy network).
    """

    rows: int = 1
    text_tokens: int = 128
    new_tokens: int = 32
    beams: int = 1
    windows: Mapping[Medium, int] = field(default_factory=dict)
    train: bool = False


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Bytes.

    Attributes:
        weights: by part (``llm``, a medium's encoder, ``projectors``, ``lora``), then by precision.
        kv_cache: keys and values at the last new token.
        activations: in training what is kept for the backward pass, else the most that is alive besides the cache.
        working: what comes on top of the activations for a moment.
        gradients: of what is trained.
        optimiser: Adam's states.
    """

    weights: Mapping[str, Mapping[str, int]]
    kv_cache: int
    activations: int
    working: int
    gradients: int
    optimiser: int

    @property
    def weight_bytes(self) -> int:
        """Of all parts."""
        return sum(sum(part.values()) for part in self.weights.values())

    @property
    def total(self) -> int:
        """The most that is there at one time."""
        running = self.activations + self.working
        return self.weight_bytes + self.kv_cache + running + self.gradients + self.optimiser


def estimate(config: AnyMALConfig, loading: Loading, workload: Workload) -> Estimate:
    """Reckon a run.

    Args:
        config: the network; of its backbones only ``config.json`` is read, or ``architecture`` where they are not here.
        loading: precision, quantisation, device.
        workload: rows, lengths, training or not.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    network = skeleton(config, loading)
    with FakeTensorMode(allow_non_fake_inputs=True):
        _place(network, loading.device)
        weights = _weights(network, loading)
        largest = _largest_dequantised(network, loading)
        trained = [value for value in network.parameters() if value.requires_grad]
        gradients = sum(value.nbytes for value in trained) if workload.train else 0
        live = LiveBytes([*network.parameters(), *network.buffers()])
        with live:
            kept, peak, cache = _train(network, workload, live) if workload.train else _answer(network, workload, live)
    return Estimate(
        weights=weights,
        kv_cache=cache,
        activations=kept,
        working=max(peak - kept, 0) + largest,
        gradients=gradients,
        optimiser=ADAM_STATES * gradients,
    )


def skeleton(config: AnyMALConfig, loading: Loading) -> AnyMAL:
    """The network as shapes on the meta device. It has no tokenizer."""
    source = BackboneLoading(dtype=loading.precision, weights=False)
    llm = llm_of_shapes(config.llm, loading)
    with torch.device("meta"), quiet():
        if config.lora is not None:
            llm.model = lora.attach(llm.model, config.lora)
        coders = {name: encoders.build(part.encoder, source) for name, part in config.modalities.items()}
        heads = {
            name: projectors.build(part.projector, coders[name].width, llm.width)
            for name, part in config.modalities.items()
        }
    return AnyMAL(config, llm, coders, heads)


def _place(network: AnyMAL, device: str) -> None:
    """Put the shapes on the device they are to be run on; inside a fake tensor mode this allocates nothing."""
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
    quantised: set[int] = set()
    for name, module in network.llm.model.named_modules():
        if kind != "none" and is_quantized(name, module):
            quantised.add(module.weight.untyped_storage()._cdata)
            weight, scales = expected_bytes(kind, *module.weight.shape)
            parts["llm"][kind] = parts["llm"].get(kind, 0) + weight
            parts["llm"]["scales"] = parts["llm"].get("scales", 0) + scales
    owners: list[tuple[str, nn.Module]] = [("llm", network.llm.model), ("projectors", network.projectors)]
    owners += [(f"{medium} encoder", network.encoder(medium)) for medium in network.config.modalities]
    for part, owner in owners:
        for name, precision, tensor in stored(owner):
            if tensor.untyped_storage()._cdata in quantised:
                continue
            own = parts.setdefault("lora" if "lora_" in name else part, {})
            own[precision] = own.get(precision, 0) + tensor.nbytes
    return parts


def _largest_dequantised(network: AnyMAL, loading: Loading) -> int:
    """A quantised layer is written out for each product: the largest one counts."""
    if loading.quantize == "none":
        return 0
    layers = network.llm.model.named_modules()
    sizes = [module.weight.numel() for name, module in layers if is_quantized(name, module)]
    return int(max(sizes, default=0)) * loading.precision.itemsize


def _answer(network: AnyMAL, workload: Workload, live: LiveBytes) -> tuple[int, int, int]:
    """Encode, prefill, and one step at the full length.

    Returns:
        The most alive besides the cache, the same again, and the cache's bytes.
    """
    with torch.no_grad():
        batch = _rows(network, workload, repeat=workload.beams)
        encoding = live.peak
        live.restart()
        shared = prefill(network.llm, batch)
        first = max(encoding, live.peak - shared.nbytes)
        cache, final = shared._cache, 0
        steps = max(workload.new_tokens - 1, 0)
        if steps:
            for layer in cache.layers:
                layer.keys = _longer(layer.keys, steps - 1)
                layer.values = _longer(layer.values, steps - 1)
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
        What is alive when the loss is there, the most before and after without the gradients, and no cache.
    """
    network.train()
    loss = network.loss(_rows(network, workload))
    kept = live.now
    trained = [value for value in network.parameters() if value.requires_grad]
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = sum(value.grad.nbytes for value in trained if value.grad is not None)
    return kept, max(kept, live.peak - gradients), 0


def _rows(network: AnyMAL, workload: Workload, repeat: int = 1) -> Batch:
    """B rows with every medium in its place, all media encoded first as the bridge does."""
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


def _longer(tensor: Tensor, by: int) -> Tensor:
    """(b, h, t, s) -> (b, h, t + by, s)."""
    return nn.functional.pad(tensor, (0, 0, 0, by))
