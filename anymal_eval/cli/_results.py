"""How ``run`` and ``score`` print a finished run: a short table on a terminal, Markdown elsewhere."""

from typing import TYPE_CHECKING

import click

from anymal_eval.cli._printing import draw, echo, on_terminal, terminal_width

if TYPE_CHECKING:
    from anymal_eval.evaluation.write import FinishedRun

DETAILS = click.option(
    "--details", is_flag=True, help="On a terminal: every measurement, with its version, method and signature."
)


def print_results(finished: "FinishedRun", details: bool) -> None:
    """Print the results of a run.

    Args:
        finished: the run.
        details: on a terminal, every measurement in place of the headlines.
    """
    if not on_terminal():
        echo(finished.table)
        return
    from anymal_eval.report.run_screen import run_screen

    echo()
    draw(run_screen(finished.root, terminal_width(), details=details))
    echo()
