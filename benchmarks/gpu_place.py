"""Where the checks of ``benchmarks.gpu`` run, what they find, and the networks with random weights that they build."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from anymal_eval.anymal import encoders, projectors, tiny
from anymal_eval.anymal.config import AnyMALConfig, read_config
from anymal_eval.anymal.conversation import Chat, Prompt
from anymal_eval.anymal.live_bytes import LiveBytes
from anymal_eval.anymal.llm import LLM
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.anymal.splice import Batch
from anymal_eval.checkpoints.loading import BackboneLoading, freeze, library, quiet
from anymal_eval.checkpoints.quantization import keep_layout
from anymal_eval.checkpoints.token_ids import TokenIds

T = TypeVar("T")
GIB = 1 << 30


@dataclass(frozen=True)
class Figure:
    """One number of a check. Without a bound it is only shown."""

    what: str
    value: float
    unit: str = ""
    least: float | None = None
    most: float | None = None

    @property
    def met(self) -> bool:
        finite = math.isfinite(self.value) or (self.least is None and self.most is None)
        low = self.least is None or self.value >= self.least
        return finite and low and (self.most is None or self.value <= self.most)


@dataclass(frozen=True)
class Place:
    """A device, and a folder that is empty at the start of a check. ``tiny`` runs the same code on small shapes."""

    device: str
    tiny: bool
    folder: Path
    rounds: int = 5

    @property
    def is_gpu(self) -> bool:
        return self.device == "cuda"

    def pick(self, large: T, small: T) -> T:
        """A size, or the one that a processor manages."""
        return small if self.tiny else large

    def on_gpu(self, bound: float) -> float | None:
        """A bound that holds for a GPU alone."""
        return bound if self.is_gpu else None

    def wait(self) -> None:
        """Until the device has computed what it was given."""
        if self.is_gpu:
            torch.cuda.synchronize()

    @contextmanager
    def grown(self, known: Iterable[Tensor] = ()) -> Iterator[Callable[[], int]]:
        """A function that gives the most bytes of tensors since the start, beyond those of the start."""
        if self.is_gpu:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            yield lambda: torch.cuda.max_memory_allocated() - before
            return
        with LiveBytes(known) as live:
            yield lambda: live.peak

    def seconds(self, work: Callable[[], Any]) -> float:
        """The median of the rounds, after one that is not counted."""
        spent = []
        for _ in range(self.rounds + 1):
            start = time.perf_counter()
            work()
            self.wait()
            spent.append(time.perf_counter() - start)
        return float(np.median(spent[1:]))


def shaped(layers: int, width: int, vocabulary: int = 8000) -> AnyMALConfig:
    """A LLaMA of so many layers behind a toy encoder of motion and a linear projector; its paths are relative."""
    architecture = {
        "model_type": "llama", "num_hidden_layers": layers, "hidden_size": width, "intermediate_size": width * 43 // 16,
        "num_attention_heads": max(2, width // 128), "vocab_size": vocabulary, "max_position_embeddings": 4096,
    }  # fmt: skip
    encoder = {"kind": "imu2clip", "path": "imu.safetensors", "width": 64}
    imu = {"encoder": encoder, "projector": {"kind": "linear"}}
    return read_config({"llm": {"path": "llm", "architecture": architecture}, "modalities": {"imu": imu}}, "gpu")


def on_disk(config: AnyMALConfig, folder: Path) -> AnyMALConfig:
    """Write random weights of all parts into a folder: the same config, which names them."""
    from anymal_eval.anymal.config import paths_of, with_paths

    if not (folder / "llm").exists():
        tiny.write_llm(folder / "llm", config.llm)
        for medium, part in config.modalities.items():
            tiny.write_encoder(folder / (f"{medium}.safetensors" if medium == "imu" else medium), part.encoder)
    places = {name: folder / (f"{name}.safetensors" if name == "imu" else name) for name in paths_of(config)}
    return with_paths(config, {name: str(path) for name, path in places.items()})


def network_of(config: AnyMALConfig, place: Place, dtype: torch.dtype, model: Any = None) -> AnyMAL:
    """A network with random weights, made on the device; ``model`` is given where it is made in another way."""
    own, made = tiny.tokenizer(), model
    if made is None:
        settings = library().AutoConfig.for_model(**(config.llm.architecture or {}))
        with torch.device(place.device), quiet():
            made = library().AutoModelForCausalLM.from_config(settings, dtype=dtype)
    chat, ids = Chat(own, style="template", media=list(config.modalities)), TokenIds(ends=(), pad=own.pad_token_id)
    context = made.config.max_position_embeddings
    llm = LLM(freeze(made), chat, context=context, weights="random", ids=ids)
    (medium, part), = config.modalities.items()  # fmt: skip
    file = place.folder / ("encoder.safetensors" if medium == "imu" else "encoder")
    if not file.exists():
        tiny.write_encoder(file, part.encoder)
    coder = encoders.build(replace(part.encoder, path=str(file)), BackboneLoading(dtype=dtype))
    network = AnyMAL(config, llm, {medium: coder}, {medium: projectors.build(part.projector, coder.width, llm.width)})
    network.encoders.to(place.device)
    network.projectors.to(place.device)
    return network


def nf4_llama(settings: Any, device: str, compute: torch.dtype = torch.bfloat16) -> Any:
    """A causal LM of random weights whose layers are made and quantized to nf4 on the device, one at a time."""
    import bitsandbytes

    layers, settings.num_hidden_layers = settings.num_hidden_layers, 1
    with torch.device(device), quiet():
        model = library().AutoModelForCausalLM.from_config(settings, dtype=torch.bfloat16)
        settings.num_hidden_layers = model.config.num_hidden_layers = layers
        made = type(model.model.layers[0])
        model.model.layers = nn.ModuleList()
        for number in range(layers):
            layer = made(model.config, number).to(torch.bfloat16)
            for name, linear in list(layer.named_modules()):
                if isinstance(linear, nn.Linear):
                    small = bitsandbytes.nn.Linear4bit(1, 1, bias=False, compute_dtype=compute, quant_type="nf4")
                    small.in_features, small.out_features = linear.in_features, linear.out_features
                    small.weight = bitsandbytes.nn.Params4bit(
                        linear.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True
                    ).to(device)
                    owner, _, own = name.rpartition(".")
                    setattr(layer.get_submodule(owner), own, small)
            model.model.layers.append(layer)
    keep_layout(model)
    model.is_loaded_in_4bit = True  # peft looks at it
    return freeze(model)


def training_batch(network: AnyMAL, rows: int, text: int, answer: int) -> Batch:
    """Rows of different lengths with one medium each, and answers; the same for a seed."""
    drawn = torch.Generator().manual_seed(0)
    (medium,) = network.config.modalities
    encoder = network.encoder(medium)
    windows = [torch.randn(1, *encoder.window_shape, generator=drawn) for _ in range(rows)]
    tokens = network.project(medium, network.encode(medium, windows))
    ids = torch.randint(10, 300, (rows, text + answer), generator=drawn).tolist()
    prompts = [
        Prompt(pieces=((), tuple(each[row % (text // 2) : text])), media=(medium,)) for row, each in enumerate(ids)
    ]
    return network.rows(prompts, [[one] for one in tokens], [tuple(each[text:]) for each in ids])


def gradients(module: nn.Module) -> Tensor:
    """Those of all trained weights, flat, in fp32 on the CPU."""
    found = [value.grad.flatten().float().cpu() for value in module.parameters() if value.grad is not None]
    return torch.cat(found)


def relative(one: Tensor, other: Tensor) -> float:
    """The distance of ``other`` from ``one``, as a share of it."""
    one, other = one.float().cpu(), other.float().cpu()
    return float((one - other).norm() / one.norm().clamp(min=1e-30))
