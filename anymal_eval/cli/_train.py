"""What both commands of ``train`` do: options to a job, and how far it is on the screen."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from anymal_eval import paths
from anymal_eval.cli._progress import progress
from anymal_eval.errors import WrongUse, listed
from anymal_eval.evaluation.plan import parse_options

if TYPE_CHECKING:
    from anymal_eval.evaluation.during_training import HeadlineEvaluator
    from anymal_eval.training.recipe import Recipe
    from anymal_eval.training.stage import Job, Running
    from anymal_eval.training.starting import Start
    from anymal_eval.training.trainer import Keeping

RECIPE = (
    "steps", "batch_size", "accumulate", "learning_rate", "warmup", "schedule", "weight_decay", "max_grad_norm", "seed",
)  # fmt: skip
SAID_EVERY_S = 5.0


def carry_out(stage: Literal["align", "instruct"], network: str, given: dict[str, Any]) -> None:
    """Train.

    Raises:
        AnyMALEvalError: as the error tree says; what was saved stays.
    """
    from anymal_eval.training.recipe import recipe
    from anymal_eval.training.stage import Shown, train

    network = str(paths.demo_model()) if network == "anymal:demo" else network
    preset = given["preset"] or ("instruct" if stage == "instruct" else None)
    made = recipe(preset, {name: given[name] for name in RECIPE})
    job = _job(stage, network, made, given)
    try:
        folder = train(
            job, _evaluator(given, job.start.config().modalities), Shown(progress=progress, say=_Said(made.steps))
        )
    except KeyboardInterrupt:
        click.echo(f"\ninterrupted: the same command with --out {job.out} goes on from its last state", err=True)
        raise
    if os.environ.get("RANK", "0") == "0":
        _tell(job.out)
        click.echo(str(folder))


def _job(stage: Literal["align", "instruct"], network: str, made: Recipe, given: Mapping[str, Any]) -> Job:
    from anymal_eval.training.sources import open_data
    from anymal_eval.training.stage import Job

    start = _start(stage, network, given)
    start.config()
    skip = given["skip_missing_media"]
    return Job(
        stage=stage,
        start=start,
        sources=[open_data(each, prompt=given["prompt"], skip_missing=skip) for each in given["data"]],
        recipe=made,
        running=_running(given),
        keeping=_keeping(given),
        out=given["out"],
        note=given["note"],
    )


def _evaluator(given: Mapping[str, Any], accepts: Collection[str]) -> HeadlineEvaluator | None:
    from anymal_eval.evaluation.during_training import TrainingEvaluation, headline_evaluator

    if bool(given["eval_every"]) != bool(given["eval_tasks"]):
        raise WrongUse("--eval-every and --eval-tasks go together")
    if not given["eval_tasks"]:
        return None
    own = {name: given[f"eval_{name}"] for name in ("tasks", "protocol", "data", "limit")}
    shared = {name: given[name] for name in ("data_root", "features", "media_timeout")}
    return headline_evaluator(TrainingEvaluation(**own, **shared), accepts)


def _start(stage: str, network: str, given: Mapping[str, Any]) -> Start:
    from anymal_eval.anymal.config import LoraConfig
    from anymal_eval.training.starting import Start

    adapters = None
    if stage == "instruct":
        if not Path(network).is_dir():
            raise WrongUse(f"{network}: there is no such folder; train instruct goes on from the checkpoint of align")
        if not given["no_lora"]:
            adapters = LoraConfig(rank=given["lora_rank"], alpha=given["lora_alpha"], dropout=given["lora_dropout"])
    return Start(network=network, backbones=parse_options(given["backbones"]), adapters=adapters)


def _running(given: Mapping[str, Any]) -> Running:
    from anymal_eval.checkpoints.loading import loading_of
    from anymal_eval.models.anymal.options import Options
    from anymal_eval.training.stage import Running

    features = given["features"]
    how = Options(checkpoint="", device=given["device"], precision=given["precision"], quantize=given["quantize"])
    return Running(
        loading=loading_of(how),
        gradient_checkpointing=given["gradient_checkpointing"],
        features="" if features is None else str(features),
        threads=given["threads"],
        media_timeout=given["media_timeout"],
        max_unreadable=_share(given["max_unreadable"]),
    )


def _keeping(given: Mapping[str, Any]) -> Keeping:
    from anymal_eval.training.trainer import Keeping

    return Keeping(
        save_every=given["save_every"],
        keep=given["keep"],
        log_every=given["log_every"],
        eval_every=given["eval_every"] or 0,
        report_to=tuple(name for name in given["report_to"] if name != "none"),
    )


def _share(text: str) -> float:
    try:
        found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise WrongUse(f"--max-unreadable {text}: write a percentage, such as 1%")
    return found


class _Said:
    """A line on the screen now and then, and one at the end."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._last = 0.0

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        now = time.monotonic()
        scores = any(name.startswith("eval_") for name in values)
        if now - self._last < SAID_EVERY_S and step < self._steps and not scores:
            return
        self._last = now
        told = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        click.echo(f"step {step} of {self._steps}: {told}", err=True)


def _tell(out: Path) -> None:
    from anymal_eval.codec import read_json
    from anymal_eval.training.record import NAME

    left_out = read_json(out / NAME).get("unreadable", {})
    if left_out:
        named = [f"{where}: {reason}" for where, reason in left_out.items()]
        click.echo(f"{len(named)} samples could not be read and were left out: {listed(named, between='; ')}", err=True)
