"""``anymal-eval score``: scores a run again from its responses, without the model."""

from pathlib import Path
from typing import Literal

import click

from anymal_eval.cli._help import Command
from anymal_eval.cli._printing import echo
from anymal_eval.cli._results import DETAILS, LOG_TO, log_results, print_results, trackers_of


@click.command(cls=Command)
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data"), help="Official files: DIR/<task>/.")
@click.option("--metrics", default="", help="Names separated by commas; by default all of the tasks'.")
@click.option("--ptb", type=click.Choice(["python", "java"]), help="The caption tokeniser; by default the run's.")
@click.option(
    "--tasks-dir",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="A folder of your own task files; repeatable.",
)
@LOG_TO
@DETAILS
def score(
    run: Path, data_root: Path, metrics: str, ptb: Literal["python", "java"] | None, tasks_dir: tuple[Path, ...],
    details: bool, log_to: str,
) -> int:  # fmt: skip
    """Score RUN again from its responses, without the model."""
    from anymal_eval.cli._progress import Terminal

    trackers = trackers_of(log_to)
    with Terminal().opened() as console:
        from anymal_eval.evaluation.plan import names_of
        from anymal_eval.evaluation.run import rescore

        chosen = names_of(metrics)
        finished = rescore(run, console, data_root=data_root, ptb=ptb, tasks_dir=tasks_dir, metrics=chosen)
    print_results(finished, details)
    echo(f"written to {finished.root}", err=True)
    log_results(finished.root, trackers)
    return finished.exit_code
