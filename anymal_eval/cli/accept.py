"""``anymal-eval accept``: makes a run a tracked baseline that check finds by task and model."""

from pathlib import Path

import click

from anymal_eval.cli._printing import echo


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Take the place of the accepted run of the same model and conditions.")
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), help="Above accepted/ and tables/."
)
def accept(run: Path, replace: bool, results: Path) -> None:
    """Make RUN a tracked baseline: its scores and statistics, compressed, its manifest and results; no media.

    Runs with errors or without all of their answers are refused. The tables of the accepted runs are written anew.
    """
    from anymal_eval.report.accepted import require_whole, write_tables
    from anymal_eval.store.accepted import accept as keep
    from anymal_eval.store.stored import open_run

    whole = open_run(run)
    require_whole(whole)
    kept = keep(whole, results / "accepted", replace=replace)
    tables = write_tables(results / "accepted", results / "tables")
    echo(f"accepted as {kept}; {len(tables)} tables written to {results / 'tables'}; commit both")
