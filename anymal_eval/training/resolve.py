"""Step 1, resolve: look up and check all that a plan names, and read its data, before a weight is loaded."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from anymal_eval.anymal import importers
from anymal_eval.anymal.backbones import placed, relocated
from anymal_eval.anymal.checkpoint_facts import is_network, located, read
from anymal_eval.anymal.config import AnyMALConfig, LoraConfig, named
from anymal_eval.anymal.lora import require_targets
from anymal_eval.anymal.recognition import what_it_is
from anymal_eval.checkpoints.loading import Loading, attention_of, loading_of
from anymal_eval.checkpoints.transformers_folder import LoadingOptions
from anymal_eval.errors import NeedsExtra, WrongUse
from anymal_eval.evaluation.during_training import (
    HeadlineEvaluator,
    TrainingEvaluation,
    evaluated_outputs,
    headline_evaluator,
)
from anymal_eval.evaluation.plan import parse_options
from anymal_eval.records import MediaOrder, media_order
from anymal_eval.training.batches import require_few_bad_rows
from anymal_eval.training.best import Headline, headline_of
from anymal_eval.training.parts import require_parts, require_reached
from anymal_eval.training.peers import require_launched
from anymal_eval.training.placement import require_placement
from anymal_eval.training.plan import TrainingPlan
from anymal_eval.training.recipe import Recipe, resolve_recipe
from anymal_eval.training.sources import TrainingData, open_data, require_kind

# The packages of which one is needed, by reporter; transformers' own texts name no remedy for some.
_REPORTERS = {
    "tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "mlflow": ("mlflow",), "trackio": ("trackio",),
    "comet_ml": ("comet_ml",), "neptune": ("neptune",), "clearml": ("clearml",), "swanlab": ("swanlab",),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ResolvedTraining:
    """What will be trained, on what, and how.

    Attributes:
        plan: what the user wants.
        recipe: the hyper-parameters.
        config: the network's.
        checkpoint: the folder that training starts from; None for a network with fresh weights.
        backbones: the paths of frozen parts that replace those of ``config.json``, by ``llm`` or medium.
        adapters: the LoRA adapters to train besides the projectors; None for the projectors alone.
        loading: precision and quantization of the frozen parts, and the device.
        data: in the order of the plan.
        max_unreadable: the fraction of samples that may be skipped.
        evaluate: headlines of the network at a step, every ``eval_every`` steps.
        best: the one by which the best network is kept.
    """

    plan: TrainingPlan
    recipe: Recipe
    config: AnyMALConfig
    checkpoint: Path | None
    loading: Loading
    data: Sequence[TrainingData]
    backbones: Mapping[str, str] = field(default_factory=dict)
    adapters: LoraConfig | None = None
    max_unreadable: float = 0.01
    evaluate: HeadlineEvaluator | None = None
    best: Headline | None = None


def resolve(plan: TrainingPlan) -> ResolvedTraining:
    """Look up the recipe, the network, the data and the evaluation.

    Raises:
        NotInCatalog, WrongUse: a name or a combination that does not exist.
        BadCheckpoint, BadDefinition: the network is not what its file must hold.
        MissingData, BadData: data are missing, have another layout, or media that the network has no encoder for.
    """
    for each in plan.data:
        require_kind(each)  # before what depends on it: which steps, which preset
    _require_reporters(plan.saving.report_to)
    recipe = resolve_recipe(plan.preset or ("instruct" if plan.stage == "instruct" else None), plan.recipe)
    backbones = parse_options(plan.backbones, "--backbone")
    folder = _checkpoint(plan)
    if folder is not None:
        importers.refuse(folder)
    config = relocated(named(plan.network), backbones) if folder is None else placed(read(folder), backbones)
    if plan.prompt_order is not None:
        config = replace(config, prompt_order=plan.prompt_order)
    compute, most = plan.compute, fraction(plan.compute.max_unreadable)
    adapters = adapters_of(plan, config.lora or LoraConfig())
    require_placement(plan)
    options = LoadingOptions(
        checkpoint="",
        device=compute.device,
        precision=compute.precision,
        quantize=compute.quantize,
        device_map=compute.device_map,
    )
    loading = loading_of(options, "--device-map ")
    loading = replace(loading, attention=attention_of(compute.attn), sharded=compute.shard)
    _require_installed(recipe)
    require_launched(loading.device)
    evaluation = _evaluation(plan, recipe.steps)
    best = _best(plan.saving.keep_best, evaluation, config)
    data = data_of(plan, recipe, replace(config, lora=adapters), loading.device)
    return ResolvedTraining(
        plan=plan,
        recipe=recipe,
        config=config,
        checkpoint=folder,
        loading=loading,
        data=data,
        backbones=backbones,
        adapters=adapters,
        max_unreadable=most,
        evaluate=None if evaluation is None else headline_evaluator(evaluation, config.modalities),
        best=best,
    )


def trained_orders(resolved: ResolvedTraining) -> tuple[MediaOrder, ...]:
    """Where the prompts of training have their media: the orders of at least a twentieth of them.

    Prompts that are a medium alone have none; where all are, the order is that of the checkpoint before, or of the
    network.
    """
    own, counted = resolved.config.prompt_order, Counter[MediaOrder]()
    for each in resolved.data:
        if each.samples is None:
            return (own,)  # captions, not read yet
        counted.update(order for sample in each.samples if (order := media_order(sample.turns)) is not None)
    found = tuple(order for order, count in sorted(counted.items()) if 20 * count >= counted.total())
    before = read(resolved.checkpoint).orders if resolved.checkpoint is not None else (own,)
    return found or before


def data_of(plan: TrainingPlan, recipe: Recipe, config: AnyMALConfig, device: str) -> list[TrainingData]:
    """The data of a plan that can be trained: what can be refused without them is refused before they are read.

    Args:
        plan: the plan.
        recipe: its recipe.
        config: its network, whose ``lora`` is that of the plan: None where no adapters are trained.
        device: where it is trained.

    Raises:
        WrongUse: parts, an optimizer, weights or an order that the network, the device or the data lack.
        MissingData, BadData: data are missing, have another layout, or media that the network has no encoder for; more
            of their rows than ``--max-unreadable`` hold no sample.
    """
    adapters = config.lora is not None
    require_parts(recipe.rates, recipe.freeze, config.modalities, adapters=adapters)
    _require_pageable(recipe, device)
    most = fraction(plan.compute.max_unreadable)
    how = {"prompt": plan.prompt, "skip_missing": plan.skip_missing_media, "order": config.prompt_order}
    data = [open_data(each, **how, count_bad_rows=most > 0) for each in plan.data]
    require_few_bad_rows(data, most)
    for each in data:
        for sample in each.samples or ():
            sample.require_encoders(config.modalities)
    _require_order(plan, data)
    require_reached(_kinds_of(data), recipe.freeze, config.modalities, adapters=adapters)
    return data


def _kinds_of(data: Sequence[TrainingData]) -> set[str] | None:
    """The kinds of media of tables; None where there are none, or a part of the data is streamed or holds no sample."""
    if not data or not all(each.samples for each in data):
        return None
    return {media.kind for each in data for sample in each.samples or () for media in sample.media}


def _require_order(plan: TrainingPlan, data: Sequence[TrainingData]) -> None:
    """Refuse weights and an order that the data cannot have.

    Raises:
        WrongUse: naming what they can have.
    """
    weights = plan.input.weights
    total = sum(weights)
    # The share of one beside a number of another magnitude may be 0, and that of numbers without a sum.
    if weights and not (len(weights) == len(data) and min(weights) > 0 and min(weights) / total > 0):
        shown = ", ".join(map(str, weights))
        raise WrongUse(f"--weight {shown}: {len(data)} data need as many numbers above 0, such as 1 and 2")
    if plan.input.group_by_length and (weights or any(each.samples is None for each in data)):
        raise WrongUse("--group-by-length takes tables without --weight: shards are read in their own order")


def _require_installed(recipe: Recipe) -> None:
    if recipe.optim != "adamw" and find_spec("bitsandbytes") is None:
        raise NeedsExtra(f"--optim {recipe.optim} needs bitsandbytes: pip install bitsandbytes, or give --optim adamw")


def _require_pageable(recipe: Recipe, device: str) -> None:
    """Refuse an optimizer of paged states on a processor.

    Raises:
        WrongUse: with what to give instead.
    """
    if device == "cpu" and "paged" in recipe.optim:
        other = recipe.optim.replace("-paged", "")
        raise WrongUse(f"--optim {recipe.optim}: only a GPU's memory is paged; give --optim {other}")


def _require_reporters(names: Sequence[str]) -> None:
    """Ensure that the packages of reporters are installed, before minutes are spent on loading."""
    for name in names:
        packages = _REPORTERS.get(name, ())
        if packages and not any(find_spec(each) is not None for each in packages):
            raise NeedsExtra(
                f"--report-to {name}: the Python package {packages[0]} is not installed; install it "
                f"(python -m pip install {packages[0]}), or give --report-to none: log.jsonl is always written"
            )


def _checkpoint(plan: TrainingPlan) -> Path | None:
    if is_network(plan.network):
        return located(plan.network)
    if plan.stage == "instruct":
        why = what_it_is(Path(plan.network))
        raise WrongUse(f"{why}; train instruct starts from the checkpoint of train align")
    return None


def adapters_of(plan: TrainingPlan, default: LoraConfig) -> LoraConfig | None:
    """The adapters to train: the default, with what the plan gives in its place; None for the projectors alone.

    Raises:
        WrongUse: the plan gives adapters that it leaves out, or targets that say nothing.
    """
    options = plan.adapters
    given: dict[str, Any] = {"rank": options.lora_rank, "alpha": options.lora_alpha, "dropout": options.lora_dropout}
    if options.lora_targets is not None:
        given["targets"] = tuple(dict.fromkeys(name.strip() for name in options.lora_targets.split(",")))
    given = {name: value for name, value in given.items() if value is not None}
    if options.no_lora and given:
        shown = ", ".join(f"--lora-{name}" for name in given)
        raise WrongUse(f"--no-lora: there are no adapters to have {shown}; leave one of them out")
    if plan.stage == "align" or options.no_lora:
        return None
    wanted = replace(default, **given)
    require_targets(wanted.targets)
    return wanted


def fraction(text: str | float) -> float:
    """A percentage, or a fraction, as a number.

    Raises:
        WrongUse: it is neither, or not between 0 and 1.
    """
    try:
        value = float(str(text).removesuffix("%")) / (100 if str(text).endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise WrongUse(f"--max-unreadable {text}: write a percentage, such as 1%")
    return value


def _evaluation(plan: TrainingPlan, steps: int) -> TrainingEvaluation | None:
    options, every = plan.evaluation, plan.saving.eval_every
    if bool(every) != bool(options.eval_tasks):
        raise WrongUse("--eval-every and --eval-tasks go together")
    if not options.eval_tasks:
        return None
    if every and every > steps:
        raise WrongUse(f"--eval-every {every}: the training has {steps} steps, so nothing would be evaluated")
    return TrainingEvaluation(
        **{name.removeprefix("eval_"): value for name, value in vars(options).items()},
        features=plan.compute.features,
        media_timeout=plan.compute.media_timeout,
        media_budget=plan.compute.media_budget,
    )


def _best(wanted: str, evaluation: TrainingEvaluation | None, config: AnyMALConfig) -> Headline | None:
    if not wanted:
        return None
    return headline_of(wanted, {} if evaluation is None else evaluated_outputs(evaluation, config.modalities))
