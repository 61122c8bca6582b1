"""``anymal-eval train``: aligns a network's projectors with its frozen language model, then tunes on instructions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

FOLDER = click.Path(path_type=Path, file_okay=False)
COUNT = click.IntRange(min=1)

OPTIONS = (
    click.option(
        "--data",
        "data",
        multiple=True,
        required=True,
        metavar="KIND:PATH",
        help="What to learn from; may be repeated: its samples are mixed.",
    ),
    click.option("--out", type=FOLDER, required=True, help="The training's folder; the same command goes on in it."),
    click.option(
        "--backbone",
        "backbones",
        multiple=True,
        metavar="PART=PATH",
        help="Where a frozen part lies: llm=PATH, image=PATH, ...",
    ),
    click.option("--preset", help="Hyper-parameters of AnyMAL's paper: image, audio, video, imu or instruct."),
    click.option("--steps", type=COUNT, help="Steps of the optimiser."),
    click.option("--batch-size", type=COUNT, help="Samples of a step, over all processes and parts."),
    click.option(
        "--accumulate", type=COUNT, help="Parts that a process computes its share of a step in.  [default: 1]"
    ),
    click.option("--learning-rate", type=float, help="At its highest."),
    click.option(
        "--warmup", type=click.FloatRange(min=0), help="Steps until then; below 1 a share of all steps.  [default: 0]"
    ),
    click.option(
        "--schedule", type=click.Choice(["cosine", "linear", "constant"]), help="How it falls.  [default: cosine]"
    ),
    click.option("--weight-decay", type=click.FloatRange(min=0), help="AdamW's.  [default: 0]"),
    click.option(
        "--max-grad-norm", type=click.FloatRange(min=0), help="Longer gradients are cut; 0: none.  [default: 1]"
    ),
    click.option("--seed", type=click.IntRange(min=0), help="Of fresh weights, order and dropout.  [default: 0]"),
    click.option(
        "--save-every", type=COUNT, default=500, show_default=True, help="Steps between states to go on from."
    ),
    click.option("--keep", type=COUNT, default=2, show_default=True, help="How many of them are kept."),
    click.option("--log-every", type=COUNT, default=10, show_default=True, help="Steps between lines of log.jsonl."),
    click.option("--eval-every", type=COUNT, help="Steps between evaluations by the harness."),
    click.option("--eval-tasks", help="Names, separated by commas."),
    click.option("--eval-limit", type=COUNT, default=200, show_default=True, help="Examples of each."),
    click.option(
        "--eval-data", type=click.Choice(["demo", "official"]), default="demo", show_default=True, help="Which."
    ),
    click.option("--eval-protocol", default="plain", show_default=True, help="How they are asked."),
    click.option(
        "--data-root", type=click.Path(path_type=Path), default=Path("data"), help="Official files: DIR/<task>/."
    ),
    click.option(
        "--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True, help="Of what is frozen."
    ),
    click.option(
        "--quantize",
        type=click.Choice(["none", "int8", "nf4"]),
        default="none",
        show_default=True,
        help="Of the language model.",
    ),
    click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where."
    ),
    click.option("--gradient-checkpointing", is_flag=True, help="Less memory for more time."),
    click.option("--features", type=FOLDER, help="The cache of the frozen encoders' outputs."),
    click.option("--threads", type=COUNT, default=2, show_default=True, help="Media decoded at once."),
    click.option(
        "--media-timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=60.0,
        show_default=True,
        help="Seconds to decode one clip or sound.",
    ),
    click.option(
        "--max-unreadable", default="1%", show_default=True, help="Samples that may be left out before it stops."
    ),
    click.option("--skip-missing-media", is_flag=True, help="Leave out samples whose file is absent."),
    click.option("--report-to", multiple=True, help="none, tensorboard, wandb, or another of transformers' reporters."),
    click.option("--note", default="", help="What a reader of the checkpoint's numbers must know."),
)


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.group()
def train() -> None:
    """Train the very network that is evaluated, in AnyMAL's two stages.

    Several processes: ``accelerate launch -m anymal_eval train ...`` or ``torchrun -m anymal_eval train ...``.
    """


@train.command()
@click.argument("network")
@click.option("--prompt", default="", help="The user's words after the medium.")
@_options
def align(network: str, **given: Any) -> None:
    """Stage 1: captions teach the projectors; the language model and the encoders stay as they are.

    NETWORK is an AnyMAL preset's name, a TOML file, or a checkpoint folder to go on from.
    """
    from anymal_eval.cli._train import carry_out

    carry_out("align", network, given)


@train.command()
@click.argument("checkpoint", type=FOLDER)
@click.option("--lora-rank", type=COUNT, default=64, show_default=True, help="Of the adapters.")
@click.option("--lora-alpha", type=COUNT, default=16, show_default=True, help="Their scale, over the rank.")
@click.option(
    "--lora-dropout", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True, help="While training."
)
@click.option("--no-lora", is_flag=True, help="Train the projectors alone.")
@_options
def instruct(checkpoint: Path, **given: Any) -> None:
    """Stage 2: instructions teach the projectors and, through adapters, the language model.

    CHECKPOINT is what stage 1 left: OUT/checkpoint.
    """
    from anymal_eval.cli._train import carry_out

    carry_out("instruct", str(checkpoint), {"prompt": "", **given})
