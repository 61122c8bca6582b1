"""``anymal-eval run``: evaluates a model on benchmarks and prints the table."""

from pathlib import Path
from typing import Any

import click

from anymal_eval.cli._config import plans, read_into
from anymal_eval.cli._generation_options import generation_options
from anymal_eval.cli._help import Command, completing
from anymal_eval.cli._printing import echo, echo_line
from anymal_eval.cli._results import DETAILS, LOG_TO, log_results, print_results, trackers_of, typed


@click.command(cls=Command)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=read_into,
    help="Options from a TOML or YAML file; those given here go first. anymal-eval init writes one.",
)
@click.option(
    "--tasks",
    required=True,
    shell_complete=completing("tasks"),
    help="Names separated by commas, or all; my.jsonl (.tsv, .csv): your own rows.",
)
@click.option("--metrics", help="Names separated by commas; by default all of a task, or those of your rows' answers.")
@click.option(
    "--model", shell_complete=completing("models"), help="NAME[:CHECKPOINT], replay:FILE or package.module:Class."
)
@click.option("-o", "options", multiple=True, metavar="KEY=VALUE", help="An option of the model; repeatable.")
@click.option(
    "--data",
    type=click.Choice(["official", "hub", "demo"]),
    help="Where the examples come from.  [default: official; demo: no --model]",
)
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data"), help="Official files: DIR/<task>/.")
@click.option("--hub-id", help="Another data set on the hub with the same columns (one task only).")
@click.option("--hub-config", help="Its configuration; by default the one that has the split.")
@click.option("--hub-revision", help="The commit to read; by default the newest, or the newest in the cache.")
@click.option("--split", help="The split; by default the protocol's, else the one that papers report.")
@click.option("--limit", type=click.IntRange(min=1), help="Sample about N examples, in whole clusters.")
@click.option("--demo-examples", type=click.IntRange(min=1), default=200, help="Number of examples in the demo world.")
@click.option(
    "--protocol",
    shell_complete=completing("protocols"),
    help="Prompts, decoding and reading of answers; see anymal-eval protocols.  [default: plain; demo: the demo model]",
)
@click.option(
    "--extract", metavar="RULE", help="How a choice is read from text; anymal-eval protocols lists the rules."
)
@generation_options
@click.option(
    "--ablate",
    type=click.Choice(["none", "no-media", "shuffled-media"]),
    default="none",
    help="Remove or shuffle the media.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=1,
    help="Answer K times with --temperature; the mean is beside.",
)
@click.option("--with-blind", is_flag=True, help="Run again without media and show those scores beside.")
@click.option("--skip-missing-media", is_flag=True, help="Leave out examples whose media file is absent.")
@click.option("--max-errors", help="Stop when more than N, or N%, of a task's answers are errors.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Device of the model.  [default: auto]")
@click.option(
    "--precision", type=click.Choice(["fp32", "bf16"]), help="Of the weights.  [default: bf16 on a GPU, else fp32]"
)
@click.option(
    "--quantize",
    type=click.Choice(["none", "int8", "nf4"]),
    help="Quantization of the language model.  [default: none]",
)
@click.option(
    "--media-timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds allowed for decoding one clip or sound.  [default: 60]",
)
@click.option(
    "--media-budget", type=click.FloatRange(min=0.01), help="Multiplies the limits of one medium's size.  [default: 1]"
)
@click.option("--batch-size", default="auto", metavar="auto|N", help="Requests per batch; auto finds what fits.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", help="This process, or Ray workers.")
@click.option("--workers", type=click.IntRange(min=1), default=2, help="Number of Ray workers; each loads the model.")
@click.option("--gpus-per-worker", type=click.FloatRange(min=0), default=0.0, help="GPUs per Ray worker.")
@click.option("--address", help="A running Ray cluster; by default one starts here.")
@click.option("--features", type=click.Path(file_okay=False), help="Cache the frozen encoders' outputs in this folder.")
@click.option("--threads", type=click.IntRange(min=1), default=4, help="Requests prepared in parallel.")
@click.option("--ptb", type=click.Choice(["python", "java"]), default="python", help="The caption tokenizer.")
@click.option(
    "--tasks-dir",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="A folder of your own task files; repeatable.",
)
@click.option("--allow-environment-change", is_flag=True, help="Resume with other packages or another device.")
@click.option("--out", type=click.Path(path_type=Path), help="The run folder; the same command resumes it.")
@click.option("--name", help="Of the run, and of its folder in results/runs where there is no --out.")
@LOG_TO
@click.option("--dry-run", is_flag=True, help="Show tasks, data, first prompts, memory and time; keep nothing.")
@DETAILS
@click.pass_context
def run(context: click.Context, /, *, details: bool, dry_run: bool, log_to: str, **given: Any) -> int:
    """Evaluate a model on benchmarks, and print the table.

    After an interruption or a crash the same command answers only what is missing.
    """
    trackers = trackers_of(log_to)
    wanted = plans(context, given)
    if len(wanted) == 1:
        return _one(wanted[0], trackers, details=details, dry_run=dry_run, is_whole_process=True)
    from anymal_eval.errors import AnyMALEvalError

    codes = []
    for number, one in enumerate(wanted, 1):
        named = ", ".join(str(one[key]) for key in ("model", "protocol") if one[key] is not None)
        echo(f"run {number} of {len(wanted)}: {named}", err=True)
        try:
            codes.append(_one(one, trackers, details=details, dry_run=dry_run, is_whole_process=False))
        except AnyMALEvalError as error:  # the other runs do not depend on it
            echo_line(f"error: {named}: {error}")
            codes.append(error.exit_code)
    return next(filter(None, codes), 0)


def _one(
    given: dict[str, Any], trackers: tuple[str, ...], *, details: bool, dry_run: bool, is_whole_process: bool
) -> int:
    from anymal_eval.cli._progress import Terminal

    with Terminal().opened() as console:
        # What libraries print while they are imported is kept, too.
        from anymal_eval.evaluation.dry_run import dry_run as rehearse
        from anymal_eval.evaluation.plan import make_plan
        from anymal_eval.evaluation.run import run as evaluate

        if dry_run:
            for line in rehearse(make_plan(**given), console):
                echo(line)
            return 0
        finished = evaluate(make_plan(**given, command=typed()), console, is_whole_process=is_whole_process)
    print_results(finished, details)
    echo(f"written to {finished.root}", err=True)
    log_results(finished.root, trackers)
    return finished.exit_code
