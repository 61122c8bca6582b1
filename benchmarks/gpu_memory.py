"""The checks of ``benchmarks.gpu`` that measure memory: loading, 70B-shaped training, and running out of it."""

import contextlib
import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import save_file

from anymal_eval import fingerprint
from anymal_eval.anymal import lora, tiny
from anymal_eval.anymal.config import AnyMALConfig, LoraConfig, preset
from anymal_eval.anymal.llm import load_llm, recompute_activations
from anymal_eval.anymal.memory import Workload, estimate
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.checkpoints import weights
from anymal_eval.checkpoints.loading import Loading, library
from anymal_eval.checkpoints.quantization import weight_bytes
from anymal_eval.engine import EngineSettings
from anymal_eval.engine.local import run_requests
from anymal_eval.errors import OutOfMemory
from anymal_eval.models import anymal
from anymal_eval.records import Decoding, Message, Request, Response
from anymal_eval.training.parts import enable_gradients
from benchmarks.crashes_cases import write_inputs
from benchmarks.gpu_numbers import require_answers
from benchmarks.gpu_place import GIB, Figure, Place, network_of, nf4_llama, shaped, training_batch

ROOT = Path(__file__).parents[1]
SHARD = 1 << 30


def loading(place: Place) -> list[Figure]:
    """Shards of a 7B-shaped language model, loaded as nf4: memory of host and device, and what is hashed when."""
    own = preset("7b-audio" if not place.tiny else "tiny").llm
    folder = place.folder / "llm"
    size = _write_shards(folder, own.architecture or {}, place.device)
    time.sleep(2.5)  # files that were just written are not remembered by their digests
    os.environ["ANYMAL_EVAL_CACHE"] = str(place.folder / "cache")
    start = time.perf_counter()
    with patch.object(fingerprint, "LARGE_BYTES", place.pick(fingerprint.LARGE_BYTES, 0)):
        weights.fingerprint(folder)
        hashed = time.perf_counter() - start
        gc.collect()
        with _host_growth() as host, place.grown() as grown:
            start = time.perf_counter()
            config = replace(own, path=str(folder), architecture=None)
            llm = load_llm(config, Loading(precision=torch.bfloat16, quantize="nf4", device=place.device), [], None)
            place.wait()
            loaded, peak = time.perf_counter() - start, grown()
        count: list[Path] = []
        fingerprint._remembered.cache_clear()  # as in another process
        with patch.object(weights, "_tensor_digests", lambda file: count.append(file) or "[]"):
            weights.fingerprint(folder)
    del llm
    return [
        Figure("bytes of the shards", size / GIB, "GiB"),
        Figure("growth of the host's own memory while loading", host[0] / GIB, "GiB", most=3.0),
        Figure("peak of the device", peak / GIB, "GiB", most=6.0),
        Figure("fingerprint, first start", hashed, "s"),
        Figure("loading", loaded, "s"),
        Figure("shards that a second start hashes", len(count), most=0),
    ]


def _write_shards(folder: Path, architecture: Any, device: str) -> int:
    """Random weights in bf16, in shards of about 1 GiB: their bytes."""
    settings = library().AutoConfig.for_model(**{"tie_word_embeddings": False, **architecture})
    with torch.device("meta"):
        shapes = library().AutoModelForCausalLM.from_config(settings).state_dict()
    folder.mkdir(parents=True)
    settings.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    index: dict[str, str] = {}
    pending: dict[str, torch.Tensor] = {}
    total = 0

    def write() -> None:
        name = f"model-{len(set(index.values())):05}.safetensors"
        save_file(pending, folder / name, {"format": "pt"})
        index.update(dict.fromkeys(pending, name))
        pending.clear()

    for name, value in shapes.items():
        pending[name] = (torch.randn(value.shape, device=device, dtype=torch.bfloat16) * 0.02).cpu()
        total += pending[name].nbytes
        if sum(each.nbytes for each in pending.values()) > SHARD:
            write()
    write()
    content = {"metadata": {"total_size": total}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))
    return total


@contextlib.contextmanager
def _host_growth() -> Iterator[list[int]]:
    """The most by which this process's own memory grows, mapped files left out; sampled each 10 ms."""

    def own() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

    before, most, done = own(), [0], threading.Event()

    def sample() -> None:
        while not done.wait(0.01):
            most[0] = max(most[0], own() - before)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()
        most[0] = max(most[0], own() - before)


def seventy_billion(place: Place) -> list[Figure]:
    """Steps of the largest network in nf4, whose layers are made on the device, against the estimate."""
    config = replace(preset("70b-image-vit-l"), lora=None)
    if place.tiny:
        small = {**(config.llm.architecture or {}), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                 "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512}  # fmt: skip
        image = preset("tiny").modalities["image"]
        config = replace(config, llm=replace(config.llm, architecture=small), modalities={"image": image})
    torch.manual_seed(0)
    model = nf4_llama(library().AutoConfig.for_model(**(config.llm.architecture or {})), place.device)
    network = network_of(config, place, torch.bfloat16, model)
    figures = []
    for what, adapters, recompute in (
        ("stage 1", False, False),
        ("stage 1, recomputed", False, True),
        ("stage 2, recomputed", True, True),
    ):
        if adapters:
            config = replace(config, lora=LoraConfig())
            network.llm.model = lora.attach(network.llm.model, config.lora or LoraConfig())
        if recompute:
            recompute_activations(network.llm.model)
        enable_gradients(network, adapters=adapters)
        peak, seconds = _two_steps(network, place, recompute)
        loading = Loading(precision=torch.bfloat16, quantize="nf4", device=place.device)
        rows, text, answer = _rows(place)
        work = Workload(rows=rows, text_tokens=text, new_tokens=answer, train=True, recompute=recompute)
        forecast = estimate(config, loading, work).total
        figures += [
            Figure(f"{what}: peak", peak / GIB, "GiB", most=76.0),
            Figure(f"{what}: distance from the estimate", 100 * abs(peak / forecast - 1), "%", most=10.0),
            Figure(f"{what}: a step", seconds, "s"),
        ]
    return figures


def _rows(place: Place) -> tuple[int, int, int]:
    return place.pick((4, 256, 64), (2, 12, 4))


def _two_steps(network: AnyMAL, place: Place, recompute: bool) -> tuple[int, float]:
    """The peak of two steps with weights and states of AdamW, and the seconds of the second."""
    network.train()
    for layer in network.llm.model.modules() if recompute else ():
        if getattr(layer, "gradient_checkpointing", False) is True:
            layer.training = True
    optimizer = torch.optim.AdamW([each for each in network.parameters() if each.requires_grad], lr=1e-5)
    held = torch.cuda.memory_allocated() if place.is_gpu else sum(weight_bytes(network).values())
    with place.grown([*network.parameters(), *network.buffers()]) as grown:
        for _ in range(2):
            start = time.perf_counter()
            network.loss(training_batch(network, *_rows(place))).backward()
            optimizer.step()
            optimizer.zero_grad()
            place.wait()
        peak = grown()
    return held + peak, time.perf_counter() - start


def out_of_memory(place: Place) -> list[Figure]:
    """Batches that do not fit are halved, every answer comes, the memory returns; and training under torchrun."""
    torch.manual_seed(0)
    network = network_of(shaped(*place.pick((16, 2048), (2, 64))), place, torch.bfloat16)
    text = "what color is the dog " * place.pick(200, 3)
    how = Decoding(max_new_tokens=8, min_new_tokens=8)
    requests = [
        Request(id=str(number), messages=(Message(role="user", parts=(f"{number} {text}",)),), decoding=how)
        for number in range(place.pick(64, 12))
    ]
    model = anymal.in_memory(network, anymal.Options(checkpoint=""))
    held = torch.cuda.memory_allocated() if place.is_gpu else 0
    found: list[Response] = []
    with contextlib.closing(model), _little_memory(network, place), _batches(model) as (answered, refused):
        run_requests(requests, model, found.extend, EngineSettings(batch_size=16))
    require_answers(found)
    del model
    gc.collect()
    back = torch.cuda.memory_allocated() / held if place.is_gpu else 1.0
    return [
        Figure("batches that did not fit", len(refused), least=1),
        Figure("largest batch that was answered", max(answered, default=0), most=15),
        Figure(f"answers, of {len(requests)}", len(found), least=len(requests)),
        Figure("memory afterwards over that before", back, most=1.05),
        *_torchrun(place),
    ]


@contextlib.contextmanager
def _little_memory(network: AnyMAL, place: Place) -> Iterator[None]:
    """Half a GiB beside the weights; on a processor a forward pass that takes at most four rows."""
    if place.is_gpu:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + GIB // 2) / total)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return
    forward = network.llm.model.model.forward

    def small(*given: Any, **named: Any) -> Any:
        if named["inputs_embeds"] is not None and len(named["inputs_embeds"]) > 4:
            raise torch.OutOfMemoryError("more than four rows")
        return forward(*given, **named)

    with patch.object(network.llm.model.model, "forward", small):
        yield


@contextlib.contextmanager
def _batches(model: Any) -> Iterator[tuple[list[int], list[int]]]:
    """The sizes of the batches that were answered, and of those that did not fit."""
    answer, answered, refused = model.answer, list[int](), list[int]()

    def noted(batch: Any) -> Any:
        try:
            made = answer(batch)
        except OutOfMemory:
            refused.append(len(batch))
            raise
        answered.append(len(batch))
        return made

    with patch.object(model, "answer", noted):
        yield answered, refused


def _torchrun(place: Place) -> list[Figure]:
    """Four steps, and two more after a resume, as one process of torchrun."""
    write_inputs(place.folder)
    ends = []
    for steps in ("4", "6"):
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "1",
            "-m", "anymal_eval", "train", "align", "network/checkpoint", "--data", "pairs:network/pairs.jsonl",
            "--steps", steps, "--with-changes", "--batch-size", "4", "--learning-rate", "1e-3", "--device",
            place.device, "--log-every", "1", "--save-every", "2", "--out", "trained",
        ]  # fmt: skip
        here = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
        done = subprocess.run(
            command, cwd=place.folder, env=here, capture_output=True, text=True, check=False, timeout=600
        )
        ends.append(done.returncode)
        if done.returncode:
            raise RuntimeError(f"torchrun ends with {done.returncode}: {done.stderr[-1500:]}")
    rows = (place.folder / "trained" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    steps_logged = [json.loads(row)["step"] for row in rows if "loss" in json.loads(row)]
    return [Figure("steps of one torchrun process, resumed after 4", len(set(steps_logged)), least=6)]


def llm_config(place: Place) -> AnyMALConfig:
    """LLaMA-2 7B with CLIP ViT-L at 336 and the Perceiver Resampler; or the tiny preset's image half."""
    whole = preset("tiny") if place.tiny else replace(preset("13b-image"), llm=preset("7b-audio").llm)
    return replace(whole, modalities={"image": whole.modalities["image"]}, lora=None)
