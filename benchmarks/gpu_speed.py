"""The checks of ``benchmarks.gpu`` that measure speed, against what the device can do: a 7B shape, a training loop."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from anymal_eval.anymal.model import AnyMAL
from anymal_eval.anymal.splice import Batch
from anymal_eval.checkpoints.loading import library
from anymal_eval.engine import EngineSettings
from anymal_eval.engine.local import run_requests
from anymal_eval.generation import BatchedPrefix
from anymal_eval.models import anymal
from anymal_eval.records import Decoding, Media, Message, Request, Response
from anymal_eval.training import run
from anymal_eval.training.plan import make_plan
from anymal_eval.training.resolve import resolve
from benchmarks import training_input
from benchmarks.gpu_memory import llm_config
from benchmarks.gpu_numbers import require_answers
from benchmarks.gpu_place import Figure, Place, network_of, nf4_llama

EACH = 5  # questions a picture
NEW = 10  # tokens an answer


@dataclass(frozen=True)
class Size:
    """How much of everything; ``square`` is a matrix's side, ``copied`` a tensor's bytes."""

    square: int
    copied: int
    rows: int
    positions: int
    steps: int
    pictures: int


LARGE = Size(square=8192, copied=4 << 30, rows=16, positions=512, steps=64, pictures=64)
SMALL = Size(square=256, copied=1 << 22, rows=2, positions=32, steps=4, pictures=2)


def speed(place: Place) -> list[Figure]:
    """Prefill and decode of a 7B shape in percent of the device's own rates; examples a second; nf4."""
    size: Size = place.pick(LARGE, SMALL)
    dtype = torch.bfloat16 if place.is_gpu else torch.float32
    matrix, memory = _matrix_rate(size, place, dtype), _memory_rate(size, place)
    config = llm_config(place)
    with torch.no_grad():
        network = network_of(config, place, dtype)
        prefilled, decoded = _prefilling(network, size, place), _decoding(network, size, place)
        rate = _examples(network, size, place.folder)
        del network
        fast, slow = (_nf4(place, size, compute) for compute in (torch.bfloat16, torch.float32))
    return [
        Figure(f"product of {size.square} x {size.square} matrices", matrix / 1e12, "T operations a second"),
        Figure(f"copy of {size.copied >> 20} MiB", memory / 1e9, "GB a second"),
        Figure(
            f"prefilling {size.rows} x {size.positions} positions, of the matrix rate", 100 * prefilled / matrix, "%",
            least=place.on_gpu(50),
        ),
        Figure(f"decoding {size.rows} rows, of the memory rate", 100 * decoded / memory, "%", least=place.on_gpu(50)),
        Figure(f"VQAv2's shape, {EACH} questions a picture, {NEW} new tokens", rate, "examples a second"),
        Figure("nf4, prefilling four layers, products in bf16", 1000 * fast, "ms"),
        Figure("nf4, prefilling four layers, products in fp32", 1000 * slow, "ms"),
    ]  # fmt: skip


def _matrix_rate(size: Size, place: Place, dtype: torch.dtype) -> float:
    """Operations a second."""
    one, other = (torch.randn(size.square, size.square, device=place.device, dtype=dtype) for _ in range(2))
    return 2 * size.square**3 / place.seconds(lambda: one @ other)


def _memory_rate(size: Size, place: Place) -> float:
    """Bytes a second, read and written."""
    source = torch.zeros(size.copied, dtype=torch.uint8, device=place.device)
    target = torch.empty_like(source)
    return 2 * size.copied / place.seconds(lambda: target.copy_(source))


def _layer_weights(network: AnyMAL) -> int:
    """Of the layers alone: what every position is multiplied with."""
    return sum(parameter.numel() for parameter in network.llm.model.model.layers.parameters())


def _prefilling(network: AnyMAL, size: Size, place: Place) -> float:
    """Operations a second of prefilling: weights, and attention to what stands before."""
    config, batch = network.llm.model.config, noise(network, size.rows, size.positions)
    spent = place.seconds(lambda: network.prefill(batch))
    attention = 2 * config.num_hidden_layers * size.positions**2 * config.hidden_size
    return size.rows * (2 * _layer_weights(network) * size.positions + attention) / spent


def _decoding(network: AnyMAL, size: Size, place: Place) -> float:
    """Bytes a second of decoding: every step reads all weights and the whole cache."""
    config, whole = network.llm.model.config, noise(network, size.rows, size.positions)
    head = Batch(embeds=whole.embeds[:, :-1], mask=whole.mask[:, :-1])
    prefix = BatchedPrefix(prefixes=(network.prefill(head),), rows=tuple(range(size.rows)))
    how = Decoding(max_new_tokens=size.steps, min_new_tokens=size.steps)
    spent = place.seconds(lambda: network.generate(whole, how, prefix))
    width = config.hidden_size // config.num_attention_heads * config.num_key_value_heads
    position = 2 * config.num_hidden_layers * width
    read = _layer_weights(network) + size.rows * (size.positions + size.steps / 2) * position
    head_weights = config.vocab_size * config.hidden_size
    return size.steps * (read + head_weights) * network.llm.dtype.itemsize / spent


def _examples(network: AnyMAL, size: Size, folder: Path) -> float:
    """VQAv2-shaped examples a second, from files to answers."""
    drawn = np.random.default_rng(0)
    requests = []
    for place in range(size.pictures):
        file = folder / f"{place}.jpg"
        Image.fromarray(drawn.integers(0, 256, (480, 640, 3), dtype=np.uint8)).save(file)
        for number in range(EACH):
            parts = (Media(kind="image", uri=str(file)), f"what color is the dog in picture {number}")
            how = Decoding(max_new_tokens=NEW, min_new_tokens=NEW)
            message = Message(role="user", parts=parts)
            requests.append(Request(id=f"{place}-{number}", messages=(message,), decoding=how))
    model = anymal.in_memory(network, anymal.Options(checkpoint=""))
    found: list[Response] = []
    start = time.perf_counter()
    with contextlib.closing(model):
        run_requests(requests, model, found.extend, EngineSettings(batch_size=None))
    spent = time.perf_counter() - start
    require_answers(found)
    return len(requests) / spent


def _nf4(place: Place, size: Size, compute: torch.dtype) -> float:
    """Seconds of prefilling four layers in nf4 whose products are computed in a type."""
    settings = library().AutoConfig.for_model(**(llm_config(place).llm.architecture or {}))
    settings.num_hidden_layers = min(4, settings.num_hidden_layers)
    network = network_of(llm_config(place), place, torch.bfloat16, nf4_llama(settings, place.device, compute))
    batch = noise(network, size.rows, size.positions)
    return place.seconds(lambda: network.prefill(batch))


def noise(network: AnyMAL, rows: int, positions: int) -> Batch:
    """Rows of embeddings."""
    embeds = torch.randn(rows, positions, network.llm.width, device=network.llm.device, dtype=network.llm.dtype)
    return Batch(embeds=embeds, mask=torch.ones(rows, positions, dtype=torch.long, device=embeds.device))


def training_loop(place: Place) -> list[Figure]:
    """Steps with cached features in packed shards at batch 256: the wait for input; and a stop and a resume."""
    steps = place.pick(40, 3)
    with contextlib.ExitStack() as stack:
        if place.tiny:
            stack.enter_context(patch.object(training_input, "LARGE", training_input._small()))
            stack.enter_context(patch.dict(training_input.BATCH, cached=8))
            stack.enter_context(patch.dict(training_input.PICTURES, cached=16))
        training_input.write(place.folder, "cached")
        found = training_input.packed(place.folder, steps, device=place.device)
        losses = [_losses(place, name, stop) for name, stop in (("whole", 0), ("stopped", 3))]
    apart = float(np.abs(np.subtract(*losses)).max())
    return [
        Figure("input wait of a step", 100 * found["wait"], "%", most=place.on_gpu(10)),
        Figure("a step", found["seconds"] / steps, "s"),
        Figure("losses after a stop and a resume, fp32, apart", apart, most=place.pick(1e-6, 0.0)),
    ]


class _StoppedHere(Exception):
    pass


def _losses(place: Place, name: str, stop: int) -> list[float]:
    """The losses of six steps, stopped after one of them and resumed; 0 for not at all."""
    job = resolve(
        make_plan(
            stage="align",
            network=str(place.folder / "network.toml"),
            data=(f"pairs:{place.folder / 'pairs.jsonl'}",),
            out=place.folder / name,
            device=place.device,
            precision="fp32",
            steps=6,
            batch_size=place.pick(32, 4),
            learning_rate=1e-3,
            log_every=1,
            save_every=2,
            features=place.folder / "features",
        )
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        if stop:
            with contextlib.suppress(_StoppedHere):
                saving = replace(job.plan.saving, eval_every=1)
                run.train(replace(job, plan=replace(job.plan, saving=saving), evaluate=_stop_at(stop)))
        run.train(job)
    finally:
        torch.use_deterministic_algorithms(False)
    return training_input.losses(place.folder / name)


def _stop_at(step: int) -> Callable[[Any, int], dict[str, float]]:
    def evaluate(network: Any, now: int) -> dict[str, float]:
        del network
        if now == step:
            raise _StoppedHere
        return {}

    return evaluate
