"""What memory.py says beforehand is what real tensors then take."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from anymal_eval.anymal import checkpoint, encoding, model
from anymal_eval.anymal.backbones import placed
from anymal_eval.anymal.config import MEDIA, AnyMALConfig, preset
from anymal_eval.anymal.conversation import Prompt
from anymal_eval.anymal.live_bytes import LiveBytes
from anymal_eval.anymal.llm import recompute_activations
from anymal_eval.anymal.memory import Workload, estimate
from anymal_eval.anymal.model import AnyMAL, create
from anymal_eval.anymal.splice import Batch
from anymal_eval.checkpoints.loading import Loading
from anymal_eval.checkpoints.quantization import stored
from anymal_eval.checkpoints.transformers_folder import Quantization
from anymal_eval.records import Decoding
from benchmarks import memory_table

TOLERANCE = 0.02
LENGTHS, NEW = (90, 61, 75), 7


@pytest.fixture(scope="module")
def config(tiny_folder: Path) -> AnyMALConfig:
    return placed(checkpoint.read(tiny_folder / "checkpoint"))


def batch(network: AnyMAL, *, answers: bool) -> Batch:
    """Every medium, then a text; all media encoded and projected first."""
    tokens: dict[str, list[Tensor]] = {}
    for medium in MEDIA:
        windows = [torch.randn(1, *network.encoder(medium).window_shape) for _ in LENGTHS]
        tokens[medium] = network.project(medium, network.encode(medium, windows))
    prompts = [Prompt(pieces=((), (), (), (), (5,) * length), media=MEDIA) for length in LENGTHS]
    media = [[tokens[medium][row] for medium in MEDIA] for row in range(len(LENGTHS))]
    return network.rows(prompts, media, [(6,) * NEW] * len(LENGTHS) if answers else None)


def near(estimated: int, counted: int, what: str) -> None:
    print(f"{what}: estimated {estimated}, counted {counted}, {100 * (estimated / max(counted, 1) - 1):+.2f} %")
    assert abs(estimated - counted) <= TOLERANCE * counted


@pytest.mark.parametrize(
    ("precision", "quantize"),
    [(torch.float32, "none"), (torch.bfloat16, "none"), (torch.float32, "int8"), (torch.float32, "nf4")],
)
def test_weights_by_part_and_precision(config: AnyMALConfig, precision: torch.dtype, quantize: Quantization) -> None:
    loading = Loading(precision=precision, quantize=quantize)
    estimated = estimate(config, loading, Workload(rows=1, text_tokens=4, new_tokens=0)).weights
    network = create(config, loading)
    counted: dict[str, dict[str, int]] = {}
    parts = {"llm": network.llm.model, "projectors": network.projectors}
    parts |= {f"{medium} encoder": network.encoder(medium) for medium in MEDIA}
    for part, module in parts.items():
        for name, kind, tensor in stored(module):
            own = counted.setdefault("lora" if "lora_" in name else part, {})
            own[kind] = own.get(kind, 0) + tensor.nbytes
    assert {part: sorted(kinds) for part, kinds in estimated.items()} == {p: sorted(k) for p, k in counted.items()}
    for part, kinds in counted.items():
        for kind, size in kinds.items():
            near(estimated[part][kind], size, f"{part} {kind}")


@pytest.mark.parametrize("attention", [None, "eager"])
def test_a_training_step(config: AnyMALConfig, attention: str | None) -> None:
    work = Workload(rows=3, text_tokens=max(LENGTHS), new_tokens=NEW, train=True)
    loading = Loading(attention=attention)
    estimated = estimate(config, loading, work)
    network = create(config, loading).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in [*network.parameters(), *network.buffers()]}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    # the autograd engine's own word for what it keeps, not our counter
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = network.loss(batch(network, answers=True))
    near(estimated.activations, sum(kept.values()), "activations")
    trained = [value for value in network.parameters() if value.requires_grad]
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = sum(value.grad.nbytes for value in trained if value.grad is not None)
    near(estimated.gradients, gradients, "gradients")
    optimiser = torch.optim.AdamW(trained)
    optimiser.step()
    states = sum(value.nbytes for state in optimiser.state.values() for value in state.values() if value.ndim)
    near(estimated.optimiser, states, "optimiser")


@pytest.mark.parametrize(
    ("precision", "quantize", "recompute", "tolerance"),
    [
        (torch.float32, "none", False, TOLERANCE),
        (torch.float32, "none", True, TOLERANCE),
        (torch.bfloat16, "none", False, 0.1),
        (torch.bfloat16, "nf4", False, 0.1),
        (torch.bfloat16, "nf4", True, 0.1),
    ],
)
def test_the_peak_of_a_training_step(
    config: AnyMALConfig, precision: torch.dtype, quantize: Quantization, recompute: bool, tolerance: float
) -> None:
    loading = Loading(precision=precision, quantize=quantize)
    motions: Any = {"imu": config.modalities["imu"]}
    own = replace(config, modalities=motions)
    work = Workload(rows=3, text_tokens=300, new_tokens=NEW, train=True, recompute=recompute)
    estimated = estimate(own, loading, work)
    network = create(own, loading).train()
    for layer in recompute_activations(network.llm.model) if recompute else ():
        layer.training = True
    with LiveBytes([tensor for _, _, tensor in stored(network)]) as live:
        windows = [torch.randn(1, *network.encoder("imu").window_shape) for _ in range(3)]
        tokens = network.project("imu", network.encode("imu", windows))
        prompts = [Prompt(pieces=((), (5,) * (300 - row)), media=("imu",)) for row in range(3)]
        network.loss(network.rows(prompts, [[each] for each in tokens], [(6,) * NEW] * 3)).backward()  # type: ignore[no-untyped-call]
    near(estimated.gradients, sum(v.grad.nbytes for v in network.parameters() if v.grad is not None), "gradients")
    step = estimated.activations + estimated.working
    print(f"peak: estimated {step}, counted {live.peak}, {100 * (step / live.peak - 1):+.2f} %")
    assert abs(step - live.peak) <= tolerance * live.peak


def test_gradients_of_earlier_micro_batches_and_the_optimizer(config: AnyMALConfig) -> None:
    motions: Any = {"imu": config.modalities["imu"]}
    own = replace(config, modalities=motions)
    work = Workload(rows=2, text_tokens=100, new_tokens=NEW, train=True)
    first = estimate(own, Loading(), work)
    second = estimate(own, Loading(), replace(work, accumulate=True, optimizer="momentum"))
    assert second.activations == first.activations
    assert 0.3 * first.gradients < second.working - first.working <= 1.05 * first.gradients
    assert (first.optimiser, second.optimiser) == (2 * first.gradients, first.gradients)


@pytest.mark.parametrize("beams", [1, 3])
def test_generating(config: AnyMALConfig, network: AnyMAL, beams: int) -> None:
    estimated = estimate(config, Loading(), Workload(rows=3, text_tokens=max(LENGTHS), new_tokens=NEW, beams=beams))
    with torch.no_grad(), LiveBytes([*network.parameters(), *network.buffers()]) as live:
        rows = batch(network, answers=False)
        encoding = live.peak
        live.restart()
        shared = network.prefill(rows)
        peak = max(encoding, live.peak - shared.nbytes)
        if beams == 1:
            near(estimated.activations, peak, "activations of a forward pass")
        del shared
    positions = rows.embeds.shape[1] + NEW - 1
    text = network.llm.model.config
    size = 3 * beams * positions * text.num_hidden_layers * 2 * text.num_key_value_heads * text.head_dim * 4
    near(estimated.kv_cache, size, "kv cache")
    with torch.no_grad(), LiveBytes([*network.parameters(), *network.buffers()]) as live:
        network.generate(batch(network, answers=False), Decoding(max_new_tokens=NEW, min_new_tokens=NEW, beams=beams))
    whole = estimated.activations + estimated.kv_cache
    print(f"generate, {beams} beams: estimated {whole}, counted {live.peak}")
    assert abs(whole - live.peak) < 0.1 * live.peak, "generate keeps scores and sequences besides"


def test_the_presets_are_told_without_their_weights() -> None:
    for name, parameters, projector in [("13b-image", 13.0e9, 93e6), ("7b-imu", 6.74e9, 2.1e6)]:
        estimated = estimate(preset(name), Loading(precision=torch.bfloat16), Workload(new_tokens=1))
        assert estimated.weights["llm"]["bf16"] / 2 == pytest.approx(parameters, rel=0.01)
        assert estimated.weights["projectors"]["fp32"] / 4 == pytest.approx(projector, rel=0.02)


def test_the_table_of_the_documentation() -> None:
    """Every preset has its row, and the numbers are those of today."""
    part = memory_table.PAGE.read_text(encoding="utf-8").partition(f"<!-- {memory_table.NAME} -->")[2]
    rows = [line.strip("| ").split(" | ") for line in part.partition("<!--")[0].splitlines() if "b-" in line[:6]]
    assert [row[0] for row in rows] == memory_table.names()
    found = next(row for row in rows if row[0] == "7b-imu")
    for place in (0, 3):  # python -m benchmarks.memory_table --write
        assert f"{memory_table.total(preset('7b-imu'), memory_table.COLUMNS[place]):.1f}" == found[place + 1]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("train", [True, False])
def test_an_estimate_of_many_rows_encodes_few(
    config: AnyMALConfig, device: str, train: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes as by encoding every window; on a GPU eight windows are a call, here one."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    encoder, loading = type(create(config, Loading()).encoder("image")), Loading(device="cpu")
    forward, calls = encoder.forward, list[int]()

    def counted(self: Any, windows: Tensor) -> Tensor:
        calls.append(len(windows))
        found: Tensor = forward(self, windows)
        return found

    if device == "cuda":
        monkeypatch.setattr(encoding, "encode_windows", encoding_of_a_gpu)
        monkeypatch.setattr(model, "encode_windows", encoding_of_a_gpu)
    monkeypatch.setattr(encoder, "forward", counted)
    for rows in (1, 9, 16, 33):
        work = Workload(rows=rows, text_tokens=4, new_tokens=3, train=train)
        calls.clear()
        found = estimate(replace(config, modalities={"image": config.modalities["image"]}), loading, work)
        assert len(calls) <= 3
        with monkeypatch.context() as every:
            every.setattr(encoding, "_is_like_the_first", lambda number, calls: False)
            assert estimate(replace(config, modalities={"image": config.modalities["image"]}), loading, work) == found


def encoding_of_a_gpu(encoder: Any, windows: Any) -> tuple[Tensor, int]:
    """What is done on another device than a processor."""
    with torch.no_grad():
        return encoding.in_calls_of_one_shape(encoder, windows, encoding.TOGETHER)
