"""The check of ``benchmarks.gpu`` of compiled decoding: what a step gains, what compiling costs, the same tokens."""

import time
from typing import Any
from unittest.mock import patch

import torch

from anymal_eval.anymal.model import AnyMAL
from anymal_eval.checkpoints.loading import library, quiet
from anymal_eval.generation import BatchedPrefix, compiled_step, drawn_rows, try_compiling
from anymal_eval.generation.self_test import ON
from anymal_eval.records import Decoding
from benchmarks.gpu_memory import llm_config
from benchmarks.gpu_place import Figure, Place, network_of
from benchmarks.gpu_speed import noise

LAYERS = 8  # of a 7B shape: compiling takes as long as it has layers


def compiled_decoding(place: Place) -> list[Figure]:
    """Decoding with and without, of rows that share prefilled prompts."""
    rows, positions, steps = place.pick((16, 512, 64), (2, 32, 4))
    dtype = torch.bfloat16 if place.is_gpu else torch.float32
    # In small a step is only traced: a processor's compiler takes minutes.
    with torch.no_grad(), patch.object(compiled_step, "BACKEND", place.pick(compiled_step.BACKEND, "eager")):
        network = _network(place, dtype)
        generator = network.llm.generator
        start = time.perf_counter()
        outcome = try_compiling(generator, drawn_rows(network.llm.vocabulary), exact=not place.is_gpu)
        tested, step = time.perf_counter() - start, generator.compiled_step
        if step is None:
            raise RuntimeError(outcome)
        whole = noise(network, rows, positions)
        prefix = BatchedPrefix(prefixes=(network.prefill(noise(network, rows, positions)),), rows=tuple(range(rows)))
        longer = type(whole)(embeds=torch.cat([whole.embeds] * 2, dim=1), mask=torch.cat([whole.mask] * 2, dim=1))
        how = Decoding(max_new_tokens=steps, min_new_tokens=steps)
        spent, found, first = {}, {}, 0.0
        for name, used in (("plain", None), ("compiled", step)):
            network.llm.compiled_step = used
            start = time.perf_counter()
            found[name] = network.generate(longer, how, prefix)
            first = time.perf_counter() - start
            spent[name] = place.seconds(lambda: network.generate(longer, how, prefix))
    gain = spent["plain"] / spent["compiled"]
    different = sum(one.ids != other.ids for one, other in zip(found["plain"], found["compiled"], strict=True))
    return [
        Figure("self-test passed", float(outcome == ON), least=1.0),
        Figure("compiling a shape, and its self-test", tested, "s"),
        Figure("first batch of another shape", first, "s"),
        Figure(f"decoding {rows} rows of {2 * positions}, plain over compiled", gain, "x", least=place.on_gpu(1)),
        Figure(f"answers of {steps} tokens that differ, of {rows}", float(different), most=place.pick(None, 0.0)),
    ]  # fmt: skip


def _network(place: Place, dtype: torch.dtype) -> AnyMAL:
    config = llm_config(place)
    settings: Any = library().AutoConfig.for_model(**(config.llm.architecture or {}))
    settings.num_hidden_layers = min(LAYERS, settings.num_hidden_layers)
    with torch.device(place.device), quiet():
        made = library().AutoModelForCausalLM.from_config(settings, dtype=dtype)
    return network_of(config, place, dtype, made)
