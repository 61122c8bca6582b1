"""How ``run`` and ``score`` print a finished run: a short table on a terminal, Markdown elsewhere."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anymal_eval.cli._printing import draw, echo, on_terminal, terminal_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anymal_eval.evaluation.write import FinishedRun
    from anymal_eval.report.trackers import Record
    from anymal_eval.store.results import Results

DETAILS = click.option(
    "--details", is_flag=True, help="On a terminal: every measurement, with its version, method and signature."
)

LOG_TO = click.option(
    "--log-to", default="", metavar="NAMES", help="Trackers, with commas: wandb, mlflow, trackio, tensorboard."
)


def typed() -> str:
    """The command as it was typed, without secrets; empty where this process was started by another program."""
    from anymal_eval.store.sessions import command_line

    context = click.get_current_context(silent=True)
    name = None if context is None else context.info_name
    return command_line(sys.argv[1:]) if name in sys.argv[1:2] else ""


def trackers_of(log_to: str) -> tuple[str, ...]:
    """The trackers that were named, each installed; found out before anything is computed."""
    if not log_to:
        return ()
    from anymal_eval.report.trackers import chosen

    return chosen(log_to)


def log_results(root: Path, trackers: tuple[str, ...]) -> None:
    """Send the results of a run, and of the one without media inside it, to trackers."""
    if not trackers:
        return
    from anymal_eval.report.tracking import run_record
    from anymal_eval.store.folder import BLIND
    from anymal_eval.store.stored import open_run

    folders = [root, *([root / BLIND] if (root / BLIND / "results.json").is_file() else [])]
    send(trackers, [run_record(open_run(folder)) for folder in folders], root)


def send(trackers: tuple[str, ...], records: "Sequence[Record]", folder: Path) -> None:
    """Send records to trackers, and print where they are."""
    from anymal_eval.report.trackers import log

    for line in log(trackers, records, folder):
        echo(line, err=True)


def print_judged(runs: "Sequence[Results]", studies: tuple[Path, ...] = ()) -> None:
    """Print what ``studies``, by default those in results/studies, say of runs, as tables of their own."""
    from anymal_eval import paths

    if not studies and not paths.studies().is_dir():
        return
    from anymal_eval.cli._printing import echo_line, print_table
    from anymal_eval.judge.judged_results import judged_tables

    for table in judged_tables(runs, studies, echo_line):
        echo()
        print_table(table)


def print_results(finished: "FinishedRun", details: bool) -> None:
    """Print the results of a run.

    Args:
        finished: the run.
        details: on a terminal, every measurement in place of the headlines.
    """
    from anymal_eval.store.results import read_results

    if not on_terminal():
        echo(finished.table)
        print_judged([read_results(finished.root)])
        return
    from anymal_eval.report.run_screen import run_screen

    echo()
    draw(run_screen(finished.root, terminal_width(), details=details))
    print_judged([read_results(finished.root)])
    echo()
