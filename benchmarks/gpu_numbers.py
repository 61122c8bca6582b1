"""The checks of ``benchmarks.gpu`` that compare numbers: parity, attention, gradients, recomputation, sharing."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from anymal_eval import paths
from anymal_eval.anymal import checkpoint, lora
from anymal_eval.anymal.config import AnyMALConfig, LoraConfig
from anymal_eval.anymal.conversation import Prompt
from anymal_eval.anymal.llm import recompute_activations
from anymal_eval.anymal.model import AnyMAL, create
from anymal_eval.anymal.splice import pad
from anymal_eval.checkpoints.loading import Loading
from anymal_eval.engine import EngineSettings
from anymal_eval.engine.local import run_requests
from anymal_eval.generation.logits import float32_head
from anymal_eval.models import anymal
from anymal_eval.records import Decoding, Media, Message, Request, Response
from anymal_eval.training.parts import enable_gradients
from benchmarks.gpu_place import Figure, Place, gradients, network_of, on_disk, relative, shaped, training_batch

BF16, FP32 = torch.bfloat16, torch.float32
QUESTIONS = ("what is this", "what color is it", "how many are there", "is it red")
OPTIONS = ("yes", "no", "a red circle", "two")
BACKENDS = ("MATH", "EFFICIENT_ATTENTION", "FLASH_ATTENTION", "CUDNN_ATTENTION")


def parity(place: Place) -> list[Figure]:
    """The demo model on the CPU in fp32 against the device: texts, log-probabilities, features."""
    networks = {
        name: checkpoint.load(paths.demo_model(), Loading(device=device, precision=dtype))
        for name, device, dtype in (("cpu", "cpu", FP32), ("fp32", place.device, FP32), ("bf16", place.device, BF16))
    }
    drawn = torch.Generator().manual_seed(0)
    shares: dict[str, dict[str, float]] = {"fp32": {}, "bf16": {}}
    inputs: dict[str, list[Tensor]] = {}
    for medium in networks["cpu"].config.modalities:
        encoder = networks["cpu"].encoder(medium)
        inputs[medium] = [torch.randn(1, *encoder.window_shape, generator=drawn) for _ in range(len(QUESTIONS))]
        with torch.no_grad():
            base = torch.cat(networks["cpu"].encode(medium, inputs[medium]))
            for name, found in shares.items():
                found[medium] = relative(base, torch.cat(networks[name].encode(medium, inputs[medium])))
    wanted, scores = _answers(networks["cpu"], inputs)
    here, other = _answers(networks["fp32"], inputs)
    equal = sum(one == two for one, two in zip(wanted, here, strict=True))
    return [
        Figure(f"same greedy texts, of {len(wanted)}", equal, least=len(wanted)),
        Figure("difference of log-probabilities, fp32", float(np.abs(scores - other).max()), most=1e-3),
        *(Figure(f"{medium} features, fp32, relative", value, most=1e-3) for medium, value in shares["fp32"].items()),
        *(Figure(f"{medium} features, bf16, relative", value, most=3e-2) for medium, value in shares["bf16"].items()),
    ]


def _answers(network: AnyMAL, inputs: dict[str, list[Tensor]]) -> tuple[list[str], np.ndarray]:
    """A greedy text and the log-probabilities of options, for each medium."""
    tokenizer = network.chat.tokenizer
    ids = [tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in QUESTIONS]
    options = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in OPTIONS]
    texts, scores = [], []
    with torch.no_grad():
        for medium, windows in inputs.items():
            tokens = network.project(medium, network.encode(medium, windows))
            prompts = [Prompt(pieces=((), each), media=(medium,)) for each in ids]
            rows = network.rows(prompts, [[one] for one in tokens])
            texts += [done.text for done in network.generate(rows, Decoding(max_new_tokens=16))]
            scores += network.rank(rows, [options] * len(ids))
    return texts, np.array(scores)


def masked_attention(place: Place) -> list[Figure]:
    """Left-padded rows, whose padding attends to nothing, with each kernel: forward, backward, batched and alone."""
    figures = []
    names = BACKENDS if place.is_gpu else ("MATH", "FLASH_ATTENTION")  # a processor has these
    for dtype, within in ((FP32, 1e-4), (BF16, 2e-2)):
        torch.manual_seed(0)
        network = network_of(shaped(*place.pick((4, 1024), (2, 64))), place, dtype)
        for name in names:
            what = f"{str(dtype).removeprefix('torch.')}, {name.lower()}"
            with sdpa_kernel(getattr(SDPBackend, name)):
                try:
                    together, apart, finite = _batched_and_alone(network, place.pick((250, 190, 31, 7), (40, 21, 9, 5)))
                except RuntimeError as error:
                    if "kernel" not in str(error).lower():
                        raise
                    figures.append(Figure(f"{what}: this kernel takes no such mask here", float("nan")))
                    continue
            figures.append(Figure(f"{what}: outputs and gradients finite (1: yes)", float(finite), least=1))
            figures.append(Figure(f"{what}: losses batched against alone", relative(apart, together), most=within))
    return figures


def _batched_and_alone(network: AnyMAL, lengths: Sequence[int]) -> tuple[Tensor, Tensor, bool]:
    drawn = torch.Generator().manual_seed(0)
    embeds = [torch.randn(length, network.llm.width, generator=drawn) for length in lengths]
    answers = [tuple(torch.randint(300, (3,), generator=drawn).tolist()) for _ in lengths]
    rows = [each.to(network.llm.device, network.llm.dtype).requires_grad_() for each in embeds]
    together = network.target_losses(pad(rows, answers))
    together.sum().backward()
    finite = bool(together.isfinite().all()) and all(bool(row.grad.isfinite().all()) for row in rows)
    with torch.no_grad():
        alone = [network.target_losses(pad([row], [answer])) for row, answer in zip(rows, answers, strict=True)]
    return together.detach(), torch.cat(alone), finite


def quantised_gradients(place: Place) -> list[Figure]:
    """Gradients of the projector through int8 and nf4, and whether 20 steps of each stage learn."""
    config = on_disk(shaped(*place.pick((4, 2048), (2, 128)), place.pick(8000, 512)), place.folder)
    steps, base, figures = place.pick(20, 6), None, []
    for kind, least in (("none", None), ("int8", 0.999), ("nf4", 0.95)):
        torch.manual_seed(0)
        network = create(config, Loading(precision=BF16, quantize=kind, device=place.device))  # type: ignore[arg-type]
        enable_gradients(network, adapters=False)
        network.loss(training_batch(network, 8, 32, 8)).backward()
        found = gradients(network.projectors)
        base = found if base is None else base
        cosine = float(torch.nn.functional.cosine_similarity(base, found, dim=0))
        if least is not None:
            figures.append(Figure(f"{kind}: cosine of the projector's gradient to bf16", cosine, least=least))
        for stage in ("align", "LoRA"):
            if stage == "LoRA":
                network.llm.model = lora.attach(network.llm.model, LoraConfig(rank=8))
                enable_gradients(network, adapters=True)
            losses = _trained(network, steps)
            fall = losses[-1] / losses[0] if np.isfinite(losses).all() else float("nan")
            figures.append(Figure(f"{kind}, {stage}: last of {steps} losses over the first", fall, most=0.999))
    return figures


def _trained(network: AnyMAL, steps: int) -> list[float]:
    network.train()
    optimizer = torch.optim.AdamW([each for each in network.parameters() if each.requires_grad], lr=1e-3)
    losses = []
    for _ in range(steps):
        loss = network.loss(training_batch(network, 8, 32, 8))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def recomputation(place: Place) -> list[Figure]:
    """A step with gradient checkpointing against one without."""
    torch.manual_seed(0)
    network = network_of(shaped(*place.pick((16, 2048), (3, 64))), place, BF16)
    enable_gradients(network, adapters=False)
    network.train()
    found = []
    for recompute in (False, True):
        if recompute:
            for layer in recompute_activations(network.llm.model):
                layer.training = True
        network.zero_grad()
        with place.grown(network.parameters()) as grown:
            loss = network.loss(training_batch(network, *place.pick((8, 256, 32), (4, 24, 6))))
            loss.backward()
            found.append((loss.item(), gradients(network.projectors), grown()))
    (loss, plain, much), (same, again, little) = found
    return [
        Figure("losses, relative", abs(loss - same) / abs(loss), most=0.0),
        Figure("gradients, relative", relative(plain, again), most=1e-3),
        Figure("growth with recomputation over that without", little / much, most=0.999),
    ]


def sharing(place: Place) -> list[Figure]:
    """64 questions on 8 pictures with and without shared prefixes, and ties of options by the head's precision."""
    figures, picture = [], _pictures_config(place)
    questions = _questions(place)
    kinds = [("fp32", FP32, "none"), ("bf16", BF16, "none"), ("nf4", BF16, "nf4")]
    for name, dtype, quantize in kinds:
        torch.manual_seed(0)
        loading = Loading(precision=dtype, quantize=quantize, device=place.device)  # type: ignore[arg-type]
        network = create(on_disk(picture, place.folder), loading)
        network.llm.model.eval()
        ranked = [request for request in questions if request.candidates]
        alone, _ = _asked(network, ranked, share=False, batch=1)
        together, texts = _asked(network, questions, share=False, batch=16)
        shared, same = _asked(network, questions, share=True, batch=16)
        if name == "fp32":
            equal = sum(one == two for one, two in zip(texts, same, strict=True))
            figures.append(Figure(f"fp32: same texts with shared prefixes, of {len(texts)}", equal, least=len(texts)))
        else:
            batching = max(float(np.abs(together - alone).max()), 1e-6)
            ratio = float(np.abs(shared - alone).max()) / batching
            figures.append(Figure(f"{name}: differences by sharing over those by batching", ratio, most=4.0))
        if name == "bf16":
            figures += _ties(network, place)
        del network
    return figures


def _pictures_config(place: Place) -> AnyMALConfig:
    from dataclasses import replace

    from benchmarks.throughput_loads import shaped as pictured

    config = pictured()
    llm = shaped(*place.pick((8, 2048), (2, 64)), place.pick(8000, 512)).llm
    return replace(config, llm=llm, modalities={"image": config.modalities["image"]})


def _questions(place: Place) -> list[Request]:
    drawn, made = np.random.default_rng(0), []
    for picture in range(place.pick(8, 2)):
        file = place.folder / f"{picture}.png"
        Image.fromarray(drawn.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file)
        for number in range(place.pick(8, 3)):
            parts = (Media(kind="image", uri=str(file)), f"what is number {number}")
            message, how = (Message(role="user", parts=parts),), Decoding(max_new_tokens=8, min_new_tokens=8)
            made.append(Request(id=f"{picture}-{number}", messages=message, decoding=how))
            made.append(Request(id=f"{picture}-{number}-ranked", messages=message, candidates=OPTIONS))
    return made


def _asked(network: AnyMAL, requests: Sequence[Request], *, share: bool, batch: int) -> tuple[np.ndarray, list[str]]:
    """The options' scores, and the texts."""
    model = anymal.in_memory(network, anymal.Options(checkpoint="", share=share))
    found: list[Response] = []
    with contextlib.closing(model):
        run_requests(requests, model, found.extend, EngineSettings(batch_size=batch))
    require_answers(found)
    by_id = {response.id: response for response in found}
    ordered = [by_id[request.id] for request in requests]
    scores = np.array([each.option_scores for each in ordered if each.option_scores is not None])
    return scores, [str(each.answer) for each in ordered if each.option_scores is None]


def require_answers(found: Sequence[Response]) -> None:
    """Stop where a request failed."""
    if failed := [response.failure for response in found if response.failure is not None]:
        raise RuntimeError(f"{len(failed)} requests failed, the first: {failed[0].message}")


def _ties(network: AnyMAL, place: Place) -> Iterator[Figure]:
    """How often the two best of four options have the same score, with a head in bf16 and in fp32."""
    drawn, model = torch.Generator().manual_seed(1), network.llm.model
    rows = place.pick(2048, 64)
    options = torch.randint(10, 400, (rows, 4), generator=drawn).to(place.device)
    embeds = torch.randn(rows, 8, network.llm.width, generator=drawn).to(place.device, network.llm.dtype)
    shares: dict[str, list[Any]] = {"bf16": [], "fp32": []}
    with torch.no_grad():
        for name, head in (("bf16", contextlib.nullcontext), ("fp32", lambda: float32_head(model))):
            for part, own in zip(embeds.split(64), options.split(64), strict=True):
                with head():
                    logits = model(inputs_embeds=part, use_cache=False).logits[:, -1].gather(1, own)
                best = logits.topk(2, dim=1).values
                distinct = own.sort(dim=1).values.diff(dim=1).ne(0).all(dim=1)
                shares[name].append((best[:, 0] == best[:, 1])[distinct].float().cpu())
    for name, most in (("bf16", None), ("fp32", 0.5)):
        share = 100 * float(torch.cat(shares[name]).mean())
        yield Figure(f"rows whose two best options tie, head in {name}", share, "%", most=most)
