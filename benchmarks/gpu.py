"""What a GPU makes of a LLaMA-2-7B-shaped AnyMAL with random weights, against what that GPU can do.

    python -m benchmarks.gpu [--rounds 5] [--write]
    python -m benchmarks.gpu --device cpu --tiny      the same code in small, for a test; its figures mean nothing

Medians of the rounds, bf16, attention as transformers chooses it (SDPA), media from pinned memory. The matrix rate is a
square product's, the memory rate a copy's. ``--write`` puts the table into ``benchmarks/README.md``. Exit code 1 where
there is no GPU.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from anymal_eval.anymal import encoders, projectors, tiny
from anymal_eval.anymal.config import AnyMALConfig, preset
from anymal_eval.anymal.conversation import Chat
from anymal_eval.anymal.llm import LLM
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.anymal.splice import Batch
from anymal_eval.checkpoints.loading import BackboneLoading, freeze, library, quiet
from anymal_eval.checkpoints.token_ids import TokenIds
from anymal_eval.engine import EngineSettings
from anymal_eval.engine.local import run_requests
from anymal_eval.generation import BatchedPrefix
from anymal_eval.models import anymal
from anymal_eval.records import Decoding, Media, Message, Request, Response
from benchmarks.measuring import write_section

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


def config_of(small: bool) -> AnyMALConfig:
    """LLaMA-2 7B with CLIP ViT-L at 336 and the Perceiver Resampler; or the tiny preset's image half."""
    whole = preset("tiny") if small else replace(preset("13b-image"), llm=preset("7b-audio").llm)
    return replace(whole, modalities={"image": whole.modalities["image"]}, lora=None)


def network_of(config: AnyMALConfig, folder: Path, device: str, dtype: torch.dtype) -> AnyMAL:
    """Random weights, made on the device."""
    own = tiny.tokenizer()
    settings = library().AutoConfig.for_model(**(config.llm.architecture or {}))
    with torch.device(device), quiet():
        model = freeze(library().AutoModelForCausalLM.from_config(settings, dtype=dtype))
    chat = Chat(own, style="template", media=["image"])
    llm = LLM(
        model,
        chat,
        context=settings.max_position_embeddings,
        weights="random",
        ids=TokenIds(ends=(), pad=own.pad_token_id),
    )
    part = config.modalities["image"]
    tiny.write_encoder(folder / "encoder", part.encoder)
    coder = encoders.build(replace(part.encoder, path=str(folder / "encoder")), BackboneLoading(dtype=dtype))
    network = AnyMAL(config, llm, {"image": coder}, {"image": projectors.build(part.projector, coder.width, llm.width)})
    return network.to(device)


def seconds(work: Callable[[], Any], rounds: int, device: str) -> float:
    """The median, after one round that is not counted."""
    spent = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - start)
    return float(np.median(spent[1:]))


def matrix_rate(size: Size, device: str, dtype: torch.dtype, rounds: int) -> float:
    """Operations a second."""
    one, other = (torch.randn(size.square, size.square, device=device, dtype=dtype) for _ in range(2))
    return 2 * size.square**3 / seconds(lambda: one @ other, rounds, device)


def memory_rate(size: Size, device: str, rounds: int) -> float:
    """Bytes a second, read and written."""
    source = torch.zeros(size.copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size.copied / seconds(lambda: target.copy_(source), rounds, device)


def layer_weights(network: AnyMAL) -> int:
    """Of the layers alone: what every position is multiplied with."""
    return sum(parameter.numel() for parameter in network.llm.model.model.layers.parameters())


def prefilling(network: AnyMAL, size: Size, rounds: int) -> float:
    """Operations a second of prefilling: weights, and attention to what stands before."""
    config, batch = network.llm.model.config, _noise(network, size.rows, size.positions)
    spent = seconds(lambda: network.prefill(batch), rounds, network.llm.device.type)
    attention = 2 * config.num_hidden_layers * size.positions**2 * config.hidden_size
    return size.rows * (2 * layer_weights(network) * size.positions + attention) / spent


def decoding(network: AnyMAL, size: Size, rounds: int) -> float:
    """Bytes a second of decoding: every step reads all weights and the whole cache."""
    config, whole = network.llm.model.config, _noise(network, size.rows, size.positions)
    head = Batch(embeds=whole.embeds[:, :-1], mask=whole.mask[:, :-1])
    prefix = BatchedPrefix(prefixes=(network.prefill(head),), rows=tuple(range(size.rows)))
    how = Decoding(max_new_tokens=size.steps, min_new_tokens=size.steps)
    spent = seconds(lambda: network.generate(whole, how, prefix), rounds, network.llm.device.type)
    width = config.hidden_size // config.num_attention_heads * config.num_key_value_heads
    position = 2 * config.num_hidden_layers * width
    read = layer_weights(network) + size.rows * (size.positions + size.steps / 2) * position
    head_weights = config.vocab_size * config.hidden_size
    return size.steps * (read + head_weights) * network.llm.dtype.itemsize / spent


def examples(network: AnyMAL, size: Size, folder: Path) -> float:
    """VQAv2-shaped examples a second, from files to answers."""
    drawn = np.random.default_rng(0)
    requests = []
    for place in range(size.pictures):
        file = folder / f"{place}.jpg"
        Image.fromarray(drawn.integers(0, 256, (480, 640, 3), dtype=np.uint8)).save(file)
        for number in range(EACH):
            parts = (Media(kind="image", uri=str(file)), f"what color is the dog in picture {number}")
            how = Decoding(max_new_tokens=NEW, min_new_tokens=NEW)
            requests.append(
                Request(id=f"{place}-{number}", messages=(Message(role="user", parts=parts),), decoding=how)
            )
    model = anymal.in_memory(network, anymal.Options(checkpoint="", device="auto"))
    found: list[Response] = []
    start = time.perf_counter()
    run_requests(requests, model, found.extend, EngineSettings(batch_size=None))
    spent = time.perf_counter() - start
    model.close()
    if failed := [response.failure for response in found if response.failure is not None]:
        raise RuntimeError(f"{len(failed)} requests failed, the first: {failed[0].message}")
    return len(requests) / spent


def _noise(network: AnyMAL, rows: int, positions: int) -> Batch:
    embeds = torch.randn(rows, positions, network.llm.width, device=network.llm.device, dtype=network.llm.dtype)
    return Batch(embeds=embeds, mask=torch.ones(rows, positions, dtype=torch.long, device=embeds.device))


def measure(size: Size, small: bool, device: str, rounds: int) -> str:
    """The table."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    matrix, memory = matrix_rate(size, device, dtype, rounds), memory_rate(size, device, rounds)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        network = network_of(config_of(small), Path(folder), device, dtype)
        attention = network.llm.model.config._attn_implementation
        prefilled, decoded = prefilling(network, size, rounds), decoding(network, size, rounds)
        rate = examples(network, size, Path(folder))
        count = sum(parameter.numel() for parameter in network.llm.parameters())
    filled = f"prefilling {size.rows} x {size.positions} positions"
    machine = torch.cuda.get_device_name() if device == "cuda" else "a processor, whose figures mean nothing here"
    lines = [
        f"`python -m benchmarks.gpu --write`; medians of {rounds} rounds; {machine}; {str(dtype).split('.')[1]}, "
        f"{attention}, {count / 1e9:.2f} G parameters.",
        "",
        "| what | measured |",
        "|---|---|",
        f"| product of {size.square} x {size.square} matrices | {matrix / 1e12:.2f} T operations a second |",
        f"| copy of {size.copied >> 20} MiB | {memory / 1e9:.1f} GB a second |",
        f"| {filled} | {100 * prefilled / matrix:.0f} % of the matrix rate |",
        f"| decoding {size.rows} rows | {100 * decoded / memory:.0f} % of the memory rate |",
        f"| VQAv2's shape, {EACH} questions a picture, {NEW} new tokens | {rate:.1f} examples a second |",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("benchmarks.gpu: torch finds no GPU; --device cpu --tiny runs the same code in small", file=sys.stderr)
        return 1
    text = measure(SMALL if given.tiny else LARGE, given.tiny, given.device, given.rounds)
    print(text)
    if given.write:
        write_section("gpu", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
