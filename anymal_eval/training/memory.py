"""The memory of a training's step, from its plan alone or from its data, and whether it recomputes activations."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from anymal_eval.anymal.backbones import placed, relocated
from anymal_eval.anymal.config import AnyMALConfig, LLMConfig, LoraConfig, named
from anymal_eval.anymal.conversation import Chat
from anymal_eval.anymal.forecast import facts_of
from anymal_eval.anymal.memory import Workload, estimate
from anymal_eval.anymal.recomputation import StepMemory, choose, device_memory
from anymal_eval.anymal.tokenized_conversation import tokenize_conversation
from anymal_eval.checkpoints.loading import (
    Loading,
    attention_of,
    checkpoint_errors,
    device_named,
    library,
    loading_of,
    quiet,
)
from anymal_eval.checkpoints.locating import find
from anymal_eval.checkpoints.transformers_folder import LoadingOptions
from anymal_eval.errors import BadData
from anymal_eval.evaluation.plan import parse_options
from anymal_eval.training.order import BatchPartition
from anymal_eval.training.parts import is_16_bit
from anymal_eval.training.peers import processes
from anymal_eval.training.placement import require_placement
from anymal_eval.training.plan import ComputeOptions, TrainingPlan
from anymal_eval.training.recipe import Optim, Recipe, resolve_recipe
from anymal_eval.training.resolve import adapters_of, data_of
from anymal_eval.training.sources import TrainingData

Text = tuple[int, int]  # tokens of a row's prompt, and of its answers
# Of the longest row, where its text is not known: a caption; an instruction with its answer.
ASSUMED: Mapping[str, Text] = {"align": (128, 32), "instruct": (400, 112)}
RATE = 300  # TFLOP/s that a GPU computes, for an estimate of hours: three tenths of an H100's peak in bf16
_CANDIDATES = 64  # rows with the most characters, of which the one with the most tokens is taken


def forecast_training(
    plan: TrainingPlan, text_tokens: int | None = None, new_tokens: int | None = None
) -> tuple[str, StepMemory, str]:
    """The memory of a step. Nothing is loaded but, where it is on this machine, the tokenizer.

    Args:
        plan: its ``data`` may be empty, and its device need not be here.
        text_tokens: of the longest row's prompt; None for that of the data, or else an assumption.
        new_tokens: of its answers.

    Returns:
        A title, the memory, and the device.

    Raises:
        NotInCatalog, WrongUse, BadCheckpoint, BadDefinition: of the network or the recipe, as a training's.
        NeedsExtra: flash attention on a processor.
        MissingData, BadData: of the data.
    """
    fallback = {"steps": 1, "learning_rate": 1.0} if plan.preset is None and plan.stage == "align" else {}
    preset = plan.preset or ("instruct" if plan.stage == "instruct" else None)
    recipe = resolve_recipe(preset, {**fallback, **plan.recipe})
    facts, backbones = facts_of(plan.network), parse_options(plan.backbones, "--backbone")
    config = relocated(named(plan.network), backbones) if facts is None else placed(facts, backbones)
    config = replace(config, lora=adapters_of(plan, config.lora or LoraConfig()))
    config = replace(config, prompt_order=plan.prompt_order or config.prompt_order)
    compute, device = plan.compute, device_named(plan.compute.device)
    require_placement(plan)
    if device == "cpu":  # a GPU may have what this machine lacks
        attention_of(compute.attn)
    data = data_of(plan, recipe, config, device)
    chat = _chat(config.llm, list(config.modalities)) if data else None
    found = longest(data, chat, {chat.tokenizer.eos_token_id}) if chat is not None else None
    assumed = found or ASSUMED[plan.stage]
    text = (text_tokens or assumed[0], new_tokens or assumed[1])
    partition = BatchPartition(batch_size=recipe.batch_size, accumulate=recipe.accumulate, processes=processes())
    precision = compute.precision
    if precision == "auto":
        precision = "bf16" if device == "cuda" else "fp32"
    options = LoadingOptions(checkpoint="", device="cpu", precision=precision, quantize=compute.quantize)
    work = step_workload(partition, text, recipe.optim, recipe.freeze)
    attention = None if compute.attn in ("auto", "flash") else compute.attn
    memory = step_memory(config, replace(loading_of(options), device=device, attention=attention), work, compute)
    memory = replace(memory, work=_work(recipe, partition, work.rows, memory.estimate.operations))
    source = "of the data" if found else "assumed"
    source = "given" if text_tokens and new_tokens else source
    weights = precision if compute.quantize == "none" else f"{compute.quantize}, else {precision}"
    rows = f"{work.rows} rows at once, {text[0]} + {text[1]} tokens of text ({source})"
    return f"{plan.network}, train {plan.stage}, {weights}, {rows}, on {device}", memory, device


def _work(recipe: Recipe, partition: BatchPartition, rows: int, operations: int) -> str:
    """What the layers of the language model compute in all steps, of which ``operations`` are those of some rows."""
    step = operations * partition.batch_size / rows / 1e12
    hours = step * recipe.steps / RATE / partition.processes / 3600
    return (
        f"{recipe.steps} steps of {partition.batch_size} rows this long, {step:,.0f} TFLOP each: {hours:,.0f} hours of "
        f"{partition.processes} x {RATE} TFLOP/s, without the encoders"
    )


def step_workload(
    partition: BatchPartition, text: Text, optim: Optim = "adamw", frozen: Sequence[str] = ()
) -> Workload:
    """One micro-batch of this process, all of whose rows are as long as the longest."""
    rows = max(len(partition.positions(number)) for number in range(partition.accumulate))
    return Workload(
        rows=rows,
        text_tokens=text[0],
        new_tokens=text[1],
        train=True,
        accumulate=partition.accumulate > 1,
        optimizer="adamw-8bit" if optim.endswith("8bit") else "adamw",
        frozen=tuple(frozen),
    )


def step_memory(config: AnyMALConfig, loading: Loading, work: Workload, compute: ComputeOptions) -> StepMemory:
    """The memory of a step, with activations recomputed as the options want it."""
    work = replace(work, masters=is_16_bit(compute), shards=processes() if compute.shard else 1)
    return choose(
        lambda recompute: estimate(config, loading, replace(work, recompute=recompute)),
        compute.gradient_checkpointing,
        device_memory(loading.device, compute.memory),
    )


def longest(data: Sequence[TrainingData], chat: Chat, ends: Collection[int]) -> Text | None:
    """The text of the longest row; None where data are streamed, so that their rows are not known."""
    if not data or any(each.samples is None for each in data):
        return None
    samples = sorted((sample for each in data for sample in each.samples or ()), key=_characters)[-_CANDIDATES:]
    rows = []
    for sample in samples:
        with suppress(BadData):  # counted, or refused, when it is trained on
            rows.append(tokenize_conversation(chat, sample.turns, ends))
    return max(((row.prompt.text_tokens - row.targets, row.targets) for row in rows), key=sum, default=None)


def _characters(sample: Any) -> int:
    return sum(len(part) for turn in sample.turns for part in turn.parts if isinstance(part, str))


def _chat(config: LLMConfig, media: Sequence[Any]) -> Chat | None:
    folder = find(config.path)
    if folder is None:
        return None
    with checkpoint_errors(f"{folder} has no tokenizer that can be read"), quiet():
        return Chat(
            library().AutoTokenizer.from_pretrained(folder, padding_side="left"), style=config.chat, media=media
        )
