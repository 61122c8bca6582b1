"""What a user wants trained: one record, made of the options of ``train`` under the same names."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from anymal_eval.evaluation.plan import names_of
from anymal_eval.records import MediaOrder
from anymal_eval.sources.load import Kind
from anymal_eval.training.recipe import parse_rates


@dataclass(frozen=True, kw_only=True)
class AdapterOptions:
    """The LoRA adapters of stage 2. None: as in ``[lora]`` of the preset or checkpoint, AnyMAL's where it has none."""

    lora_rank: int | None = None
    lora_alpha: int | None = None
    lora_dropout: float | None = None
    lora_targets: str | None = None
    no_lora: bool = False


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """How the training is computed. ``features`` None caches in memory only.

    Projectors and adapters have the ``trained_precision``: bf16 ones are updated in fp32.
    ``precision`` is that of the frozen parts; auto is bf16 on a GPU and fp32 elsewhere.
    ``memory`` is the device's, in GiB; None for a GPU's own. ``shard`` spreads the language model over the processes,
    ``device_map`` over the GPUs of one. ``compile`` compiles the language model's layers.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    trained_precision: Literal["fp32", "bf16"] = "fp32"
    quantize: Literal["none", "int8", "nf4"] = "none"
    attn: Literal["auto", "sdpa", "flash", "eager"] = "auto"
    gradient_checkpointing: Literal["auto", "on", "off"] = "auto"
    memory: float | None = None
    shard: bool = False
    device_map: str = ""
    compile: bool = False
    features: Path | None = None
    threads: int = 2
    media_timeout: float = 60.0
    media_budget: float = 1.0
    max_unreadable: str | float = "1%"


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """How samples become batches.

    ``prefetch`` is the number of micro-batches that are read ahead of the step. ``weights`` are those of the data, in
    their order; empty shuffles all samples together. ``group_by_length`` makes batches of samples of about one length.
    ``pack`` lets short conversations share a row, which changes no loss. ``decode`` reduced decodes large JPEG files at
    a fraction of their size, at least twice the encoder's.
    """

    prefetch: int = 4
    weights: tuple[float, ...] = ()
    group_by_length: bool = False
    pack: bool = False
    decode: Literal["exact", "reduced"] = "exact"


@dataclass(frozen=True, kw_only=True)
class SavingOptions:
    """What is written during training, each so many steps; no result depends on it.

    ``keep`` is the number of saved states that are kept, 0 for all; ``eval_every`` is 0 for no evaluation.
    ``keep_best`` names the headline by which the best network is kept. ``with_changes`` lets a training be resumed with
    other steps, batches or data.
    """

    save_every: int = 500
    keep: int = 2
    log_every: int = 10
    eval_every: int = 0
    keep_best: str = ""
    with_changes: bool = False
    report_to: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """What is evaluated every ``eval_every`` steps: tasks by name, separated by commas."""

    eval_tasks: str = ""
    eval_metrics: str = ""
    eval_limit: int = 200
    eval_data: Kind = "demo"
    eval_protocol: str = "plain"
    data_root: Path = Path("data")


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """One training, before anything is looked up; ``train --help`` explains each option.

    Attributes:
        stage: align trains the projectors on captions; instruct trains them and LoRA adapters on instructions.
        network: a preset, a TOML file, or a checkpoint folder.
        prompt_order: where media without a tag are put; None for the network's own.
        recipe: fields of a recipe that override the preset's.
    """

    stage: Literal["align", "instruct"]
    network: str
    data: tuple[str, ...]
    out: Path
    prompt: str = ""
    prompt_order: MediaOrder | None = None
    skip_missing_media: bool = False
    backbones: tuple[str, ...] = ()
    preset: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    adapters: AdapterOptions = AdapterOptions()
    compute: ComputeOptions = ComputeOptions()
    input: InputOptions = InputOptions()
    saving: SavingOptions = SavingOptions()
    evaluation: EvaluationOptions = EvaluationOptions()


_SECTIONS: dict[str, Any] = {
    "adapters": AdapterOptions,
    "compute": ComputeOptions,
    "input": InputOptions,
    "saving": SavingOptions,
    "evaluation": EvaluationOptions,
}


def make_plan(**options: Any) -> TrainingPlan:
    """A plan from the options of ``train``, by their names. None is the default; any other name is a recipe's field.

    >>> make_plan(stage="align", network="tiny", data=("pairs:a.jsonl",), out=Path("a"), keep=3, steps=10).recipe
    {'steps': 10}
    """
    values = {name: value for name, value in options.items() if value is not None}
    if rates := parse_rates(values.pop("rate", ())):
        values["rates"] = rates
    if frozen := sorted(set(values.pop("freeze", ()))):
        values["freeze"] = tuple(frozen)
    if "report_to" in values:
        values["report_to"] = reporters_of(values["report_to"])
    sections = {name: section(**_take(values, section)) for name, section in _SECTIONS.items()}
    return TrainingPlan(**sections, **_take(values, TrainingPlan), recipe=values)


def _take(values: dict[str, Any], section: Any) -> dict[str, Any]:
    return {item.name: values.pop(item.name) for item in dataclasses.fields(section) if item.name in values}


def reporters_of(given: Iterable[str]) -> tuple[str, ...]:
    """The reporters that an option names, each once; several are separated by commas.

    >>> reporters_of(["tensorboard, wandb", "none", "wandb"])
    ('tensorboard', 'wandb')
    """
    return tuple(dict.fromkeys(name for text in given for name in names_of(text) if name != "none"))
