"""``anymal-eval train``: aligns a network's projectors with its frozen language model, then tunes on instructions."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from anymal_eval.cli._estimate import CHECKPOINTING, MEMORY, lines
from anymal_eval.cli._help import Command, CommandGroup
from anymal_eval.cli._printing import echo, on_terminal, terminal_width

FOLDER = click.Path(path_type=Path, file_okay=False)
COUNT, SEED = click.IntRange(min=1), click.IntRange(min=0)
WEIGHT = click.FloatRange(min=0, min_open=True)
FLOAT, SECONDS = click.FloatRange(min=0), click.FloatRange(min=0, min_open=True)
SCHEDULE = click.Choice(["cosine", "linear", "constant"])
OPTIM = click.Choice(["adamw", "adamw-8bit", "adamw-paged", "adamw-paged-8bit"])
ATTENTION = click.Choice(["auto", "sdpa", "flash", "eager"])
DATA, DEVICE = click.Choice(["demo", "official"]), click.Choice(["auto", "cpu", "cuda"])
PRECISION, QUANTIZE = click.Choice(["fp32", "bf16"]), click.Choice(["none", "int8", "nf4"])
ORDER = click.Choice(["media-first", "instruction-first", "system-first"])
DEFAULTS = {"show_default": True}
REPORTERS = "none, tensorboard, wandb, or another of transformers' reporters."

OPTIONS = (
    click.option("--data", multiple=True, metavar="KIND:PATH", help="Training data; mixed if repeated."),
    click.option("--weight", "weights", multiple=True, type=WEIGHT, help="Of the --data before it.  [default: 1]"),
    click.option("--pack", is_flag=True, help="Short conversations share a row, each attending to itself alone."),
    click.option("--group-by-length", is_flag=True, help="Batches of samples of about one length."),
    click.option("--out", type=FOLDER, help="The training's folder; the same command on it resumes."),
    click.option(
        "--backbone",
        "backbones",
        multiple=True,
        metavar="PART=PATH",
        help="A frozen part, as in llm=PATH; backbones=DIR holds several.",
    ),
    click.option("--preset", help="Hyper-parameters of AnyMAL's paper: image, audio, video, imu or instruct."),
    click.option("--steps", type=COUNT, help="Optimizer steps."),
    click.option("--batch-size", type=COUNT, help="Samples per step, over all processes and micro-batches."),
    click.option("--accumulate", type=COUNT, help="Micro-batches per process and step.  [default: 1]"),
    click.option("--learning-rate", type=float, help="The peak learning rate."),
    click.option("--warmup", type=FLOAT, help="Warm-up steps; below 1 a fraction of all steps.  [default: 0]"),
    click.option("--schedule", type=SCHEDULE, help="Decay after the warm-up.  [default: cosine]"),
    click.option("--weight-decay", type=FLOAT, help="Weight decay of AdamW.  [default: 0]"),
    click.option("--max-grad-norm", type=FLOAT, help="Clip gradients to this norm; 0: never.  [default: 1]"),
    click.option("--optim", type=OPTIM, help="AdamW's states; paged ones need a GPU.  [default: adamw]"),
    click.option("--rate", multiple=True, metavar="PART=RATE", help="Peak rate of a projector (image) or of lora."),
    click.option("--freeze", multiple=True, metavar="PART", help="Leave a projector, or lora, as it is."),
    click.option("--seed", type=SEED, help="Seed of fresh weights, sample order and dropout.  [default: 0]"),
    click.option("--save-every", type=COUNT, default=500, help="Steps between saved states to resume from."),
    click.option("--keep", type=COUNT, default=2, help="How many saved states are kept."),
    click.option("--keep-best", metavar="TASK", help="Keep the network that is best at this evaluated task: OUT/best."),
    click.option("--with-changes", is_flag=True, help="Resume with other --steps, --batch-size or --data."),
    click.option("--log-every", type=COUNT, default=10, help="Steps between lines of log.jsonl."),
    click.option("--eval-every", type=COUNT, help="Steps between evaluations of the network."),
    click.option("--eval-tasks", help="Tasks to evaluate on, separated by commas."),
    click.option("--eval-metrics", default="", help="Metrics beside each task's headline, separated by commas."),
    click.option("--eval-limit", type=COUNT, default=200, help="Examples of each task."),
    click.option("--eval-data", type=DATA, default="demo", help="Where the examples come from."),
    click.option("--eval-protocol", default="plain", help="The protocol of the evaluations."),
    click.option("--data-root", type=FOLDER, default=Path("data"), help="Official files: DIR/<task>/."),
    click.option("--precision", type=PRECISION, help="Of the frozen parts.  [default: bf16 on a GPU, else fp32]"),
    click.option("--trained-precision", type=PRECISION, default="fp32", help="Of what is trained; updated in fp32."),
    click.option("--quantize", type=QUANTIZE, default="none", help="Quantization of the language model."),
    click.option("--device", type=DEVICE, default="auto", help="Where the network runs."),
    click.option("--shard", is_flag=True, help="Shard the language model over the processes (FSDP2)."),
    click.option("--device-map", default="", help="Spread it over the GPUs of one process: auto, balanced, ..."),
    click.option("--compile", is_flag=True, help="Compile the language model's layers (torch.compile)."),
    click.option("--attn", type=ATTENTION, default="auto", help="Attention kernel of the language model."),
    CHECKPOINTING,
    MEMORY,
    click.option("--estimate", is_flag=True, help="Estimate the memory of a step, on any device, and train nothing."),
    click.option("--text-tokens", type=COUNT, help="For --estimate: of the longest row.  [default: of the data]"),
    click.option("--new-tokens", type=COUNT, help="For --estimate: of its answers.  [default: of the data]"),
    click.option("--features", type=FOLDER, help="Cache the frozen encoders' outputs in this folder."),
    click.option("--threads", type=COUNT, default=2, help="Media decoded in parallel."),
    click.option(
        "--decode",
        type=click.Choice(["exact", "reduced"]),
        default="exact",
        help="Large JPEG files whole, or at a fraction of their size.",
    ),
    click.option("--prefetch", type=COUNT, default=4, help="Micro-batches read ahead of the step."),
    click.option("--media-timeout", type=SECONDS, default=60.0, help="Seconds to decode one clip or sound."),
    click.option(
        "--media-budget",
        type=click.FloatRange(min=0.01),
        default=1.0,
        help="Multiplies the limits of one medium's size.",
    ),
    click.option("--max-unreadable", default="1%", help="Stop when more samples than this cannot be read."),
    click.option("--prompt-order", type=ORDER, help="Where media without a tag are put.  [default: the network's]"),
    click.option("--skip-missing-media", is_flag=True, help="Skip samples whose file does not exist."),
    click.option("--report-to", multiple=True, callback=lambda *given: _without_none(given[2]), help=REPORTERS),
    click.option("--note", help="What a reader of the checkpoint's results must know."),
)


class _TrainCommand(Command):
    """A command whose ``--weight`` belongs to the ``--data`` before it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without any ``--weight`` there are none, and all samples are shuffled together."""
        order = [each.name for each in self.make_parser(ctx).parse_args(list(args))[2]]
        rest = super().parse_args(ctx, args)
        given, weights = iter(ctx.params["weights"]), list[float]()
        names = [name for name in order if name in ("data", "weights")]
        for before, name in zip([None, *names], names, strict=False):
            if name == "data":
                weights.append(1.0)
            elif before == "data":
                weights[-1] = next(given)
            else:
                raise click.UsageError("--weight stands after the --data that it belongs to", ctx)
        ctx.params["weights"] = tuple(weights) if "weights" in names else ()
        return rest


def _without_none(reporters: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in reporters if name != "none")


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.group(cls=CommandGroup)
def train() -> None:
    """Train the network that is evaluated, in AnyMAL's two stages.

    Several processes: ``accelerate launch -m anymal_eval train ...`` or ``torchrun -m anymal_eval train ...``.
    """


@train.command(cls=_TrainCommand, context_settings=DEFAULTS)
@click.argument("network")
@click.option("--prompt", help="The user's text after the medium.")
@_options
def align(**options: Any) -> None:
    """Stage 1: train the projectors on captions; the language model and the encoders stay frozen.

    NETWORK is an AnyMAL preset, a TOML file, a checkpoint folder, or OWNER/NAME of the hub.
    """
    _train(stage="align", **options)


@train.command(cls=_TrainCommand, context_settings=DEFAULTS)
@click.argument("network", metavar="CHECKPOINT")
@click.option("--lora-rank", type=COUNT, help="Rank of the LoRA adapters.  [default: the network's own, else 64]")
@click.option("--lora-alpha", type=COUNT, help="Their scale, divided by the rank.  [default: its own, else 16]")
@click.option("--lora-dropout", type=click.FloatRange(0, 1, max_open=True), help="Their dropout.")
@click.option("--lora-targets", metavar="NAMES", help="Linear layers that get them, by commas, or all-linear.")
@click.option("--no-lora", is_flag=True, help="Train the projectors alone.")
@_options
def instruct(**options: Any) -> None:
    """Stage 2: train the projectors, and LoRA adapters of the language model, on instructions.

    CHECKPOINT is the one of stage 1: OUT/checkpoint. With --estimate it may be a preset or a TOML file.
    """
    _train(stage="instruct", **options)


def _train(estimate: bool, text_tokens: int | None, new_tokens: int | None, **options: Any) -> None:
    if estimate:
        _estimate(text_tokens, new_tokens, **options)
        return
    if text_tokens is not None or new_tokens is not None:
        raise click.UsageError("--text-tokens and --new-tokens are for --estimate alone")
    if not options["data"]:
        from anymal_eval.training.sources import catalog

        raise click.UsageError(f"--data is needed: KIND:PATH, where KIND is one of {', '.join(catalog().names())}")
    if not options["out"]:
        raise click.UsageError("--out is needed: the training's folder, which the same command resumes")
    from anymal_eval.cli._progress import Terminal
    from anymal_eval.errors import listed
    from anymal_eval.training.stop_signal import StopSignal

    # Threads that decode media share the cores with those of a step, which libgomp lets spin while they wait for one:
    # a step of 30 ms took up to 2.7 s. It reads this when torch is imported, and no number depends on it.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    stop = StopSignal()
    try:
        with stop.handled(), Terminal().opened() as console:
            # What libraries print while they are imported is kept, too.
            from anymal_eval.training import run
            from anymal_eval.training.plan import make_plan
            from anymal_eval.training.resolve import resolve

            finished = run.train(resolve(make_plan(**options)), console, stop)
    except KeyboardInterrupt:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # the process ends; a warning of that must not kill it
        echo(f"\ninterrupted: {_resumed_from(options['out'])}", err=True)
        raise
    if finished.is_main and finished.unreadable:
        named = listed([f"{where}: {reason}" for where, reason in finished.unreadable.items()], between="; ")
        echo(f"{len(finished.unreadable)} samples could not be read and were skipped: {named}", err=True)
    if finished.is_main:
        if on_terminal():
            from anymal_eval.training.loss_plot import plot

            for line in plot(options["out"], terminal_width()):
                echo(line)
        echo(str(finished.checkpoint))


def _resumed_from(out: Path) -> str:
    from anymal_eval.training.state_folders import STEPS, saved_states, step_of

    saved = saved_states(out / STEPS)
    if not saved:
        return f"no state is saved in {out} yet; the same command starts anew"
    return f"the same command resumes after step {step_of(saved[-1])}, the last that is saved in {out}"


def _estimate(text_tokens: int | None, new_tokens: int | None, *, out: Path | None, **options: Any) -> None:
    from anymal_eval.training.memory import forecast_training
    from anymal_eval.training.plan import make_plan

    plan = make_plan(out=out or Path(), **options)
    title, found, device = forecast_training(plan, text_tokens, new_tokens)
    for line in lines(title, found, device=device, train=True):
        echo(line)


@train.group()
def data() -> None:
    """Data of stage 1 before they are trained on."""


@data.command(context_settings=DEFAULTS)
@click.argument("shards")
@click.option("--out", type=FOLDER, required=True, help="The folder of the new shards; the same command resumes.")
@click.option(
    "--cat", is_flag=True, help="Keep captions with relations and an action that do not repeat a text in the picture."
)
@click.option("--blur-faces", is_flag=True, help="Blur every face that is found.")
@click.option("--spacy", default="en_core_web_sm", help="The spaCy pipeline that parses, or its folder.")
@click.option("--workers", type=click.IntRange(min=0), default=0, help="Ray workers; 0: this process.")
@click.option("--address", metavar="HOST:PORT", help="A running Ray cluster.")
def clean(**options: Any) -> None:
    """Clean WebDataset shards of pictures and captions, as AnyMAL's subset of LAION-2B was.

    SHARDS is a path with ranges, '{00000..00331}.tar', or a pattern. OUT gets the new shards, a report and a manifest.
    """
    from anymal_eval.cli._progress import Terminal
    from anymal_eval.errors import listed
    from anymal_eval.training.cleaning import run

    with Terminal().opened() as console:
        found = run.clean(run.CleaningPlan(**options), console)
    if found.unread:
        echo(f"left out: {listed(found.unread, shown=3, between='; ')}", err=True)
    dropped = "".join(f", {count} dropped for {rule}" for rule, count in found.dropped.most_common())
    echo(f"samples: {found.kept} kept{dropped}; shards: {found.shards}; faces blurred: {found.faces}")
    echo(str(options["out"] / run.REPORT))
