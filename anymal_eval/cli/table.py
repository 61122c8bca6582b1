"""``anymal-eval table``: runs side by side, or beside a paper's rows."""

from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--like", metavar="PAPER/TABLE", help="A paper's columns and rows, as anymal-2023/4 (or /2, /5, /6).")
@click.option("--gains", metavar="PAPER", help="Recompute the gains that a paper claims, as anymal-2023.")
@click.option("--against", metavar="ROW", help="Show relative gains over the row of that name.")
@click.option("--format", type=click.Choice(["md", "latex", "csv", "html"]), default="md", show_default=True)
def table(runs: tuple[Path, ...], like: str | None, gains: str | None, against: str | None, format: str) -> None:
    """Print RUNS as rows and their tasks as columns.

    Measured rows stand below the published ones of --like and look different; footnotes say where a rule, a split,
    the data or their size differ.
    """
    from typing import cast

    from anymal_eval.errors import WrongUse
    from anymal_eval.report.gains import gains_table
    from anymal_eval.report.measurements import read_results
    from anymal_eval.report.paper_table import paper_table
    from anymal_eval.report.rendering import Format, render

    if gains is not None and (like is not None or against is not None):
        raise WrongUse("--gains is a table of its own: leave out --like and --against")
    measured = [read_results(run) for run in runs]
    made = gains_table(gains, measured) if gains is not None else paper_table(measured, like, against)
    click.echo(render(made, cast(Format, format)), nl=False)
