"""Training equals a plain loop, however it is computed, and no bit of the frozen weights changes."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from anymal_eval.anymal import checkpoint
from anymal_eval.anymal.model import AnyMAL
from anymal_eval.media.reader import MediaReader
from anymal_eval.training import run
from anymal_eval.training.load import LoadedTraining, load_network
from anymal_eval.training.parts import enable_gradients
from anymal_eval.training.resolve import ResolvedTraining
from anymal_eval.training.run import train
from anymal_eval.training.samples import Sample
from tests.training.conftest import align_job, assert_close, every_step, instruct_job, logged, losses


@dataclass(frozen=True)
class PlainStep:
    """One step of the plain loop, from the weights that the trainer had before it."""

    loss: float
    grad_norm: float
    rate: float
    weights: dict[str, Tensor]
    sizes: dict[str, Tensor]  # the root of Adam's second moment, by which it divides


def plain_loop(job: ResolvedTraining, saved: Path) -> list[PlainStep]:
    """The same training without transformers, our batches or our feature cache.

    Each step begins with the weights that the trainer saved before it: rounding differs between processors, and two
    trainings that each follow their own rounding diverge, since Adam divides a gradient by its own size.
    """
    recipe = job.recipe
    network = load_network(job)
    adapters = job.adapters is not None
    names = enable_gradients(network, adapters=adapters)
    trained = {name: network.get_parameter(name) for name in names}
    optimiser = torch.optim.AdamW(trained.values(), lr=0.0, weight_decay=0.0)
    samples = [sample for data in job.data for sample in data.samples or ()]
    steps = []
    network.train(adapters)
    torch.manual_seed(recipe.seed)
    with MediaReader() as reader:
        for step in range(recipe.steps):
            if step:
                for name, value in saved_weights(saved, step).items():
                    trained[name].data.copy_(value)
            rate = recipe.learning_rate * schedule(step, recipe.warmup_steps, recipe.steps)
            chosen = [at(samples, step * recipe.batch_size + place, recipe.seed) for place in range(recipe.batch_size)]
            loss = plain_loss(network, chosen, reader)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            norm = nn.utils.clip_grad_norm_(trained.values(), recipe.max_grad_norm)
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()
            weights = {name: value.detach().clone() for name, value in trained.items()}
            # A modality without data has no gradients, hence no moments.
            moments = {
                name: optimiser.state[value].get("exp_avg_sq", torch.zeros(())) for name, value in trained.items()
            }
            sizes = {
                name: (value / (1 - 0.999 ** (step + 1))).sqrt().expand_as(weights[name])
                for name, value in moments.items()
            }
            steps.append(PlainStep(loss.item(), norm.item(), rate, weights, sizes))
    return steps


def saved_weights(out: Path, step: int) -> dict[str, Tensor]:
    saved = load_file(out / "steps" / f"checkpoint-{step}" / "trained.safetensors")
    return {name.removeprefix("network."): value for name, value in saved.items()}


def assert_steps_equal(job: ResolvedTraining, out: Path) -> list[PlainStep]:
    steps = plain_loop(job, out)
    assert_close(losses(out), [step.loss for step in steps])
    assert_close([row["grad_norm"] for row in logged(out)], [step.grad_norm for step in steps])
    for number, step in enumerate(steps, 1):
        found = saved_weights(out, number)
        assert set(found) == set(step.weights)
        largest = max(float(size.max()) for size in step.sizes.values())
        compared = 0
        for name, value in step.weights.items():
            # Gradients of rounding size are moved by up to the whole rate, in any direction: they are left out.
            known = step.sizes[name] > 1e-3 * largest
            compared += int(known.sum())
            torch.testing.assert_close(found[name][known], value[known], rtol=0, atol=0.01 * step.rate + 1e-7)
        assert compared > 100
    return steps


def schedule(step: int, warmup: int, steps: int) -> float:
    if step < warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def at(samples: list[Sample], place: int, seed: int) -> Sample:
    epoch, within = divmod(place, len(samples))
    return samples[int(np.random.default_rng([seed, epoch]).permutation(len(samples))[within])]


def plain_loss(network: AnyMAL, samples: list[Sample], reader: MediaReader) -> Tensor:
    prompts, media, answers = [], [], []
    for sample in samples:
        *prompt, answer = sample.turns
        prefix, tails = network.chat.options(prompt, ["".join(map(str, answer.parts))])
        prompts.append(prefix)
        answers.append([*tails[0], network.chat.tokenizer.eos_token_id])
        given = []
        for medium in sample.media:
            array: Any = reader.image(medium) if medium.kind == "image" else reader.audio(medium, 48_000)
            features = network.encode(medium.kind, [network.preprocess(medium.kind, array, 48_000)])
            given += network.project(medium.kind, features)
        media.append(given)
    return network.loss(network.rows(prompts, media, answers))


def state(network: AnyMAL) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in network.named_parameters()}


def test_align_equals_a_plain_loop(folder: Path, whole: Path) -> None:
    job = align_job(folder, whole)
    steps = assert_steps_equal(job, whole)
    assert steps[-1].loss < steps[0].loss
    made = state(checkpoint.load(whole / "checkpoint", job.loading))
    assert all(torch.equal(made[name], value) for name, value in saved_weights(whole, len(steps)).items())


def test_instruct_equals_a_plain_loop(folder: Path, whole: Path, tmp_path: Path) -> None:
    job = every_step(instruct_job(folder, whole / "checkpoint", tmp_path / "second", learning_rate=1e-4))
    made = state(checkpoint.load(train(job).checkpoint, job.loading))
    steps = assert_steps_equal(job, job.plan.out)
    last = saved_weights(job.plan.out, len(steps))
    assert any("lora_B" in name and value.abs().max() > 0 for name, value in last.items())
    assert all(torch.equal(made[name], value) for name, value in last.items())


@pytest.mark.parametrize("kind", ["align", "instruct"])
def test_no_frozen_weight_changes_by_a_bit(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[AnyMAL] = []
    before: list[dict[str, Tensor]] = []
    real = run._fit

    def watched(loaded: LoadedTraining, *rest: Any) -> None:
        seen.append(loaded.network)
        before.append({name: value.detach().clone() for name, value in loaded.network.state_dict().items()})
        real(loaded, *rest)

    monkeypatch.setattr(run, "_fit", watched)
    job = align_job(folder, tmp_path / "out")
    if kind == "instruct":
        job = instruct_job(folder, folder / "checkpoint", tmp_path / "out")
    train(job)
    names = {name for name, value in seen[0].named_parameters() if value.requires_grad}
    after = seen[0].state_dict()
    changed = {name for name, value in before[0].items() if not torch.equal(value, after[name])}
    assert changed
    assert changed <= names
    assert all("lora_" in name or name.startswith("projectors.") for name in names)
    assert any("lora_" in name for name in changed) == (kind == "instruct")
    saved = load_file(tmp_path / "out" / "steps" / "checkpoint-6" / "trained.safetensors")
    assert {name.removeprefix("network.") for name in saved} == names


def test_projectors_alone(folder: Path, tmp_path: Path) -> None:
    job = instruct_job(folder, folder / "checkpoint", tmp_path / "out")
    train(replace(job, adapters=None))
    name = "lora/adapter_model.safetensors"
    made, was = load_file(tmp_path / "out/checkpoint" / name), load_file(folder / "checkpoint" / name)
    assert all(torch.equal(made[key], was[key]) for key in was)


def test_accumulation_equals_the_larger_batch(folder: Path, tmp_path: Path) -> None:
    # Adam divides a gradient by its own size, so a rounding error in one that is nearly 0 moves a weight by the whole
    # learning rate: with a large one the losses diverge after some steps.
    for parts in (1, 2, 5):
        train(every_step(align_job(folder, tmp_path / str(parts), accumulate=parts, learning_rate=1e-4)))
    assert_close(losses(tmp_path / "1"), losses(tmp_path / "2"))
    assert_close(losses(tmp_path / "1"), losses(tmp_path / "5"))


@pytest.mark.parametrize("kind", ["align", "instruct"])
def test_gradient_checkpointing_changes_nothing(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anymal_eval.training.training_module import TrainingModule

    real = TrainingModule.checkpoint_activations
    layers: list[bool] = []

    def watched(module: TrainingModule) -> None:
        real(module)
        module.train(True)
        layers.extend(bool(layer.training and layer.gradient_checkpointing) for layer in module._checkpointed)
        module.train(False)

    monkeypatch.setattr(TrainingModule, "checkpoint_activations", watched)
    for wanted in ("off", "on"):
        out = tmp_path / wanted
        job = align_job(folder, out, gradient_checkpointing=wanted, steps=3)
        if kind == "instruct":
            job = instruct_job(folder, folder / "checkpoint", out, gradient_checkpointing=wanted, steps=3)
        train(every_step(job))
        recorded = json.loads((out / "training.json").read_text())["options"]["gradient_checkpointing"]
        assert recorded is (wanted == "on")
    assert layers == [True, True]
    assert_close(losses(tmp_path / "off"), losses(tmp_path / "on"))


def test_seeds_reproduce(folder: Path, whole: Path, tmp_path: Path) -> None:
    for name, seed in (("same", 0), ("other", 2)):
        train(every_step(align_job(folder, tmp_path / name, seed=seed)))
    assert losses(tmp_path / "same") == losses(whole)
    assert losses(tmp_path / "other") != losses(whole)


def test_caption_tokens_alone_carry_the_loss(folder: Path, tmp_path: Path) -> None:
    job = align_job(folder, tmp_path / "out")
    network = load_network(job)
    from anymal_eval.anymal.tokenized_conversation import tokenize_conversation

    for sample in [one for data in job.data for one in data.samples or ()]:
        found = tokenize_conversation(network.chat, sample.turns, network.llm.ends)
        caption = "".join(map(str, sample.turns[-1].parts))
        words = [
            token
            for piece, marks in zip(found.prompt.pieces, found.learned, strict=True)
            for token, mark in zip(piece, marks, strict=True)
            if mark
        ]
        assert network.chat.tokenizer.decode(words) == f" {caption}</s>"
