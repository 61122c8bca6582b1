"""Decoding of answers of many lengths: rows that leave their batch when they end, and others that take their places.

    python -m benchmarks.decoding [--rounds 3] [--device cpu] [--write]

A random LLaMA, in small and with 100 M parameters, answers 64 prompts of 24 to 48 tokens with 2 to 128 tokens each, 16
rows at a time. CPU seconds of interleaved rounds; every way must give the same tokens. ``--write`` puts the table into
``docs/speed.md``.
"""

import argparse
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from anymal_eval.engine.source import REFILL
from anymal_eval.generation import Completion, OpenGeneration, Row, TextGenerator, left_padded
from anymal_eval.generation.growing_kv import empty
from anymal_eval.records import Decoding
from benchmarks.measuring import interleaved, ratio, write_section

PAGE = Path(__file__).parent.parent / "docs" / "speed.md"
SIZES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2, "num_attention_heads": 4,
             "vocab_size": 500},
    "100 M": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12,
              "vocab_size": 8000},
}  # fmt: skip
REQUESTS, ROWS, MOST = 64, 16, 128
DECODING = Decoding(max_new_tokens=MOST)


@dataclass(frozen=True)
class Load:
    """Prompts, and after how many tokens each answer ends."""

    prompts: list[list[int]]
    lengths: list[int]


class Words:
    """A tokenizer whose tokens are numbers."""

    pad_token_id = 0

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        del skip_special_tokens
        return " ".join(map(str, ids))


class Scripted(TextGenerator):
    """Ends every row after the tokens of the load, whatever they are."""

    lengths: Sequence[int] = ()

    def row_end(self, decoding: Decoding, rows: Sequence[Row]) -> Any:
        del decoding
        return lambda row, ids: len(ids) >= self.lengths[int(rows[row].name)]


class Empty:
    """The cache that ``generate`` gets where rows stay until the last one ends."""

    def __init__(self, model: Any, most: int) -> None:
        self._model, self._most = model, most

    def cache(self, beams: int) -> Any:
        del beams
        return empty(self._model, self._most)


def made(name: str, device: str) -> Any:
    config = transformers.LlamaConfig(**SIZES[name], max_position_embeddings=512, pad_token_id=0, eos_token_id=None)
    torch.manual_seed(0)
    library: Any = transformers
    return library.AutoModelForCausalLM.from_config(config).to(device).eval()


def load_of(vocabulary: int) -> Load:
    rng = np.random.default_rng(0)
    prompts = [rng.integers(3, vocabulary, rng.integers(24, 49)).tolist() for _ in range(REQUESTS)]
    return Load(prompts=prompts, lengths=rng.integers(2, MOST + 1, REQUESTS).tolist())


def whole_batches(generator: Scripted, load: Load, *, leave: bool) -> list[Completion]:
    found = []
    generator.grows_in_place = leave
    for start in range(0, REQUESTS, ROWS):
        places = range(start, start + ROWS)
        rows = [Row(name=str(place)) for place in places]
        inputs = padded(generator, [load.prompts[place] for place in places])
        before: Any = None if leave else Empty(generator.model, inputs["attention_mask"].shape[1] + MOST)
        found += generator.generate(inputs, DECODING, before, rows)
    return found


def refilled(generator: Scripted, load: Load) -> list[Completion]:
    """Others join when a quarter of the places is free, as in the engine."""
    generator.grows_in_place = True
    generation = OpenGeneration(generator, DECODING)
    waiting = deque(range(REQUESTS))
    places: dict[int, int] = {}  # of the rows that are open, by their numbers
    found: dict[int, Completion] = {}
    with torch.no_grad():
        while waiting or not generation.is_empty:
            free = ROWS - len(places)
            if waiting and REFILL * free >= ROWS:
                own = [waiting.popleft() for _ in range(min(free, len(waiting)))]
                inputs = padded(generator, [load.prompts[place] for place in own])
                numbers = generation.join(inputs, None, [Row(name=str(place)) for place in own])
                places.update(zip(numbers, own, strict=True))
            for number, ids in generation.advance().items():
                found[places.pop(number)] = generator.completion(ids, DECODING)
    return [found[place] for place in range(REQUESTS)]


def padded(generator: Scripted, prompts: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    single = [{"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids)).long()} for ids in prompts]
    return left_padded(single, 0, generator.model)


def measured(name: str, rounds: int, device: str) -> list[str]:
    generator = Scripted(made(name, device), Words())
    load = load_of(SIZES[name]["vocab_size"])
    generator.lengths = load.lengths
    ways = {
        "until the last row ends": lambda: whole_batches(generator, load, leave=False),
        "rows leave when they end": lambda: whole_batches(generator, load, leave=True),
        "and others take their places": lambda: refilled(generator, load),
    }
    print(name, file=sys.stderr)
    spent, results = interleaved(ways, rounds, time.process_time if device == "cpu" else time.perf_counter)
    first, *others = results.values()
    assert all(one == first for one in others), "the answers differ"
    tokens, base = sum(load.lengths), next(iter(spent.values()))
    return [
        f"| {name}, {way} | {tokens / float(np.median(own)):,.0f} | "
        f"{ratio(base, own):.2f}x |"
        for way, own in spent.items()
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    lines = ["| LLaMA, batch | tokens per second of the CPU | against the first |", "|---|---|---|"]
    for name in SIZES:
        lines += measured(name, given.rounds, given.device)
    print("\n".join(lines))
    if given.write:
        command = f"`python -m benchmarks.decoding --rounds {given.rounds} --write`"
        text = f"{command}: {REQUESTS} answers of 2 to {MOST} tokens, {ROWS} rows at a time, one core."
        write_section("decoding", text + "\n\n" + "\n".join(lines), PAGE)


if __name__ == "__main__":
    main()
