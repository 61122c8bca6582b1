"""Step 2, load: the processes, the network, and the record of the training so far."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import transformers

from anymal_eval import fingerprint
from anymal_eval.anymal import checkpoint, lora
from anymal_eval.anymal.allocator import return_large_blocks
from anymal_eval.anymal.backbones import pinned, stored
from anymal_eval.anymal.config import AnyMALConfig, with_paths, write_config
from anymal_eval.anymal.model import AnyMAL, create, to_bf16
from anymal_eval.anymal.recomputation import device_memory
from anymal_eval.anymal.sharding import shard
from anymal_eval.checkpoints.loading import quiet
from anymal_eval.errors import WrongUse
from anymal_eval.records import MediaOrder
from anymal_eval.training import record, state_digests
from anymal_eval.training.best import require_usable
from anymal_eval.training.changes import CHANGES, SCHEDULES, described, shift_of, starts_data, with_change
from anymal_eval.training.memory import ASSUMED, longest, step_memory, step_workload
from anymal_eval.training.order import BatchPartition
from anymal_eval.training.parts import enable_gradients, is_16_bit
from anymal_eval.training.peers import connect
from anymal_eval.training.plan import SavingOptions
from anymal_eval.training.recipe import Recipe
from anymal_eval.training.reporters import Reporter, begin_reporters, require_reporters
from anymal_eval.training.resolve import ResolvedTraining, trained_orders
from anymal_eval.training.sources import TrainingData
from anymal_eval.training.state_folders import STEPS, step_of

CHECKPOINT = "checkpoint"
ORDERS = "trained_orders"  # in the record: of the prompts
NETWORK = "network"  # in the record: the network, with its frozen parts as a checkpoint in CHECKPOINT names them
DAMAGED = "damaged"  # in the record: states that were found damaged, and what training resumed from instead
_EVALUATION = timedelta(hours=24)  # that the other processes wait while the first one evaluates
_STEP = timedelta(minutes=30)  # that they wait for each other else
_LARGE = 256 << 20  # bytes of a language model from which memory matters more than a few per cent of time
_OPTIMIZERS = {
    "adamw": "adamw_torch",
    "adamw-8bit": "adamw_bnb_8bit",
    "adamw-paged": "paged_adamw_32bit",
    "adamw-paged-8bit": "paged_adamw_8bit",
}


@dataclass(frozen=True, kw_only=True)
class LoadedTraining:
    """A training that is ready to run, or has finished before.

    Attributes:
        resolved: what is trained.
        arguments: what transformers' ``Trainer`` takes.
        partition: this process's part of every batch.
        network: only what is trained takes gradients.
        choice: of the state to resume from.
        messages: what the user must know about it.
        recompute: whether activations are recomputed (gradient checkpointing).
        new_data: whether the state's place in the data is that of other data.
        record: the content of ``training.json``; its ``finished`` is 0 until training has finished.
        reporters: which have begun; of the first process.
    """

    resolved: ResolvedTraining
    arguments: transformers.TrainingArguments
    partition: BatchPartition
    network: AnyMAL
    choice: state_digests.Choice
    messages: Sequence[str]
    record: Mapping[str, Any]
    recompute: bool = False
    new_data: bool = False
    reporters: Sequence[Reporter] = ()

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and shows the results."""
        return self.partition.rank == 0

    @property
    def state(self) -> Path | None:
        """The last saved state that is whole, to resume from; None at the start."""
        return self.choice.state

    @property
    def orders(self) -> tuple[MediaOrder, ...]:
        """Where the prompts of training have their media, those of data before a change included."""
        return tuple(self.record[ORDERS])

    def begin(self) -> None:
        """Write the record, and move damaged states away: nothing given is refused from here on.

        Raises:
            StorageFull, WrongUse: it cannot be written.
        """
        if self.is_main and not self.record["finished"]:
            record.write(self.resolved.plan.out, self.record)
            state_digests.set_aside(self.choice)


def load(resolved: ResolvedTraining) -> LoadedTraining:
    """Load the network, and compare the training with the one in its folder, where nothing is written yet.

    Raises:
        WrongUse: the batch cannot be partitioned, one network is to be sharded over several devices, a reporter is
            unknown or cannot begin, the network already has adapters of another rank, alpha or targets, or the folder
            of the new checkpoint holds other files.
        NeedsExtra: a reporter is not installed.
        OtherRun: ``out`` holds another training.
        BadCheckpoint: a part is missing, not whole, or not the one that the checkpoint was trained with.
    """
    out, recipe = resolved.plan.out, resolved.recipe
    out.mkdir(parents=True, exist_ok=True)
    connect(resolved.loading.device, _EVALUATION if resolved.plan.saving.eval_every else _STEP)
    arguments = _arguments(recipe, resolved.plan.saving, out / STEPS, cpu=resolved.loading.device == "cpu")
    partition = BatchPartition(
        batch_size=recipe.batch_size,
        accumulate=recipe.accumulate,
        rank=arguments.process_index,
        processes=arguments.world_size,
    )
    checkpoint.require_replaceable(out / CHECKPOINT)
    if resolved.best is not None:
        require_usable(out, resolved.best)
    before, identity = record.read(out), _identity(resolved, partition)
    changes = resolved.plan.saving.with_changes
    changed = record.require_same(out, before, identity, unknown="start", changes=changes)
    is_finished = not changed and before.get("finished") and (out / CHECKPOINT / checkpoint.CONFIG).exists()
    choice = state_digests.Choice() if is_finished else state_digests.choose(out / STEPS)
    step, names = step_of(choice.state), resolved.plan.saving.report_to
    made = with_change(before, changed, step, recipe)
    with quiet():
        begun = () if is_finished or partition.rank else begin_reporters(names, arguments, out, step)
        network = load_network(resolved)
    identity["start"] = _start(resolved, network)
    record.require_same(out, before, identity, changes=changes)  # the network may not differ
    trained = enable_gradients(network, adapters=resolved.adapters is not None, frozen=recipe.freeze)
    if is_16_bit(resolved.plan.compute):
        to_bf16(network)
    recompute, messages = _recompute(resolved, partition, network)
    content: dict[str, Any] = {
        "stage": resolved.plan.stage,
        "identity": identity,
        "data": _data(resolved),
        "trained": {"tensors": len(trained), "numbers": sum(network.get_parameter(name).numel() for name in trained)},
        CHANGES: made,
        ORDERS: sorted({*trained_orders(resolved), *before.get(ORDERS, ())}),
        NETWORK: write_config(stored(network.config, out / CHECKPOINT)),
        "options": {**_options(resolved, partition), "gradient_checkpointing": recompute},
        "versions": record.versions(),
        "finished": 0,
    }
    partition = replace(partition, shift=shift_of(made))
    messages += described(made, step, recipe) if changed else []
    if choice.damaged or before.get(DAMAGED):
        content[DAMAGED] = [*before.get(DAMAGED, []), *choice.record]
    return LoadedTraining(
        resolved=resolved,
        arguments=arguments,
        partition=partition,
        network=network,
        choice=choice,
        messages=[*messages, *choice.messages],
        recompute=recompute,
        new_data=starts_data(made, step),
        record=before if is_finished else content,
        reporters=begun,
    )


def load_network(resolved: ResolvedTraining) -> AnyMAL:
    """The network, with weights drawn from the recipe's seed where it has none yet.

    Raises:
        BadCheckpoint: a part is missing, not whole, or not the one that the checkpoint was trained with.
        WrongUse: the checkpoint has adapters of another rank, alpha or targets.
    """
    config, folder, wanted = resolved.config, resolved.checkpoint, resolved.adapters
    if _llm_bytes(config) >= _LARGE:
        return_large_blocks()
    torch.manual_seed(resolved.recipe.seed)
    if folder is None:
        network = create(replace(config, lora=None), resolved.loading)
        network.config = pinned(config)
    else:
        network = checkpoint.load(folder, resolved.loading, resolved.backbones, trainable=wanted is not None)
        network.config = replace(network.config, prompt_order=config.prompt_order)
    existing = network.config.lora if lora.is_attached(network.llm.model) else None
    if wanted is not None and existing is None:
        network.llm.model = lora.attach(network.llm.model, wanted)
        network.config = replace(network.config, lora=wanted)
    elif wanted is not None and existing is not None and replace(wanted, dropout=existing.dropout) != existing:
        raise WrongUse(
            f"{folder} has adapters of rank {existing.rank}, alpha {existing.alpha} on {', '.join(existing.targets)}: "
            "leave --lora-rank, --lora-alpha and --lora-targets out to continue training them"
        )
    if resolved.loading.sharded:
        shard(network.llm.model, resolved.loading.device)
    return network


def _recompute(resolved: ResolvedTraining, partition: BatchPartition, network: AnyMAL) -> tuple[bool, list[str]]:
    """Whether activations are recomputed, and what the user must know about it."""
    compute = resolved.plan.compute
    memory = device_memory(resolved.loading.device, compute.memory)
    is_given = compute.gradient_checkpointing != "auto" and compute.memory is None
    if memory is None or is_given:  # an estimate takes seconds
        return compute.gradient_checkpointing == "on", []
    text = longest(resolved.data, network.chat, network.llm.ends) or ASSUMED[resolved.plan.stage]
    config = network.config if lora.is_attached(network.llm.model) else replace(network.config, lora=None)
    recipe = resolved.recipe
    work = step_workload(partition, text, recipe.optim, recipe.freeze)
    found = step_memory(config, resolved.loading, work, compute)
    return found.recompute, [line for line in (found.line * found.recompute, found.warning) if line]


def _llm_bytes(config: AnyMALConfig) -> int:
    folder = Path(config.llm.path)
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder.is_dir() else _LARGE


def _arguments(recipe: Recipe, saving: SavingOptions, folder: Path, *, cpu: bool) -> transformers.TrainingArguments:
    require_reporters(saving.report_to)
    for sharding in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        if os.environ.get(f"ACCELERATE_USE_{sharding}", "false").lower() == "true":
            here = "here each process holds the whole network; --shard shards its language model"
            raise WrongUse(f"accelerate launch asks for {sharding}: {here}")
    made = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=recipe.steps,
        per_device_train_batch_size=1,  # unused: ``Batches`` makes the batches, but transformers needs a number
        gradient_accumulation_steps=recipe.accumulate,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=SCHEDULES[recipe.schedule],
        warmup_steps=recipe.warmup_steps,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        optim=_OPTIMIZERS[recipe.optim],
        seed=recipe.seed,
        logging_steps=saving.log_every,
        logging_nan_inf_filter=False,
        save_steps=saving.save_every,
        report_to="none",  # they begin before the network is loaded: see ``reporters``
        disable_tqdm=True,
        log_level="error",
        use_cpu=cpu,
        ignore_data_skip=True,
        ddp_find_unused_parameters=True,  # a step may hold no sample of some medium
        ddp_broadcast_buffers=False,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
    )
    made._n_gpu = min(made.n_gpu, 1)  # several GPUs take several processes
    return made


def _identity(resolved: ResolvedTraining, partition: BatchPartition) -> dict[str, Any]:
    """All that the result depends on; ``start`` is known when the network is loaded."""
    streamed, options = any(each.samples is None for each in resolved.data), resolved.plan.input
    return {
        "stage": resolved.plan.stage,
        "recipe": resolved.recipe.identity,
        "data": [each.fingerprint for each in resolved.data],
        "start": None,
        "adapters": resolved.adapters is not None,
        "precision": str(resolved.loading.precision).removeprefix("torch."),
        "quantize": resolved.loading.quantize,
        "note": resolved.plan.note,
        **({"processes": partition.processes, "accumulate": partition.accumulate} if streamed else {}),
        **({"weights": list(options.weights)} if options.weights else {}),
        **({"group_by_length": True} if options.group_by_length else {}),
        **({"decode": options.decode} if options.decode != "exact" else {}),
        **({"trained_precision": "bf16"} if is_16_bit(resolved.plan.compute) else {}),
    }


def _start(resolved: ResolvedTraining, network: AnyMAL) -> dict[str, Any]:
    """The architecture, the frozen weights, and the trained weights of the checkpoint that training starts from."""
    folder = resolved.checkpoint
    files = [] if folder is None else checkpoint.read(folder).weights
    # Adapters that only a later stage will have do not count.
    config = network.config if lora.is_attached(network.llm.model) else replace(network.config, lora=None)
    written = write_config(with_paths(config, dict.fromkeys(("llm", *network.config.modalities), "")))
    if config.prompt_order == "media-first":  # the order of the versions that recorded none
        del written["prompt_order"]
    return {
        "network": written,
        "frozen": checkpoint.fingerprints(network),
        "from": [f"{file.relative_to(folder)} {fingerprint.of_file(file)}" for file in files] if folder else None,
    }


def _options(resolved: ResolvedTraining, partition: BatchPartition) -> dict[str, Any]:
    """How it is computed and saved; no result depends on it."""
    compute = resolved.plan.compute
    return {
        "network": str(resolved.checkpoint or resolved.plan.network),
        "device": resolved.loading.device,
        "accumulate": resolved.recipe.accumulate,
        "processes": partition.processes,
        "features": str(compute.features or ""),
        "attn": compute.attn,
        "prefetch": resolved.plan.input.prefetch,
        "pack": resolved.plan.input.pack,
        "shard": compute.shard,
        "compile": compute.compile,
        "max_unreadable": resolved.max_unreadable,
        **asdict(resolved.plan.saving),
    }


def _data(resolved: ResolvedTraining) -> list[dict[str, Any]]:
    weights = [{"weight": weight} for weight in resolved.plan.input.weights] or [{} for _ in resolved.data]
    return [
        {"name": each.name, "fingerprint": each.fingerprint, **_size(each), **weight, **_cleaned(each)}
        for each, weight in zip(resolved.data, weights, strict=True)
    ]


def _cleaned(data: TrainingData) -> dict[str, Any]:
    return {} if data.cleaned is None else {"cleaned": dict(data.cleaned)}


def _size(data: TrainingData) -> dict[str, int]:
    return {"shards": data.shards} if data.samples is None else {"samples": len(data.samples)}
