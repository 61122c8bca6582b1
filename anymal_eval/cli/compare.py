"""``anymal-eval compare``: any number of runs side by side, with verdicts against one of them."""

from pathlib import Path

import click

from anymal_eval.cli._help import Command
from anymal_eval.cli._output_files import OUTPUT, is_printed, write_output
from anymal_eval.cli._printing import echo_json, print_table
from anymal_eval.cli._results import print_judged
from anymal_eval.paths import accepted as accepted_runs

ACCEPTED = accepted_runs()


@click.command(cls=Command)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--against", metavar="BASE", help="One of the runs, another folder, or an accepted run's model.")
@click.option("--accepted", type=click.Path(path_type=Path), default=ACCEPTED, help="Where accepted runs lie.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", type=OUTPUT, help="Write Markdown.")
def compare(runs: tuple[Path, ...], against: str | None, accepted: Path, as_json: bool, markdown: Path | None) -> None:
    """Show RUNs side by side: each task's score with its interval, and whether it is better than in BASE.

    BASE is the first RUN by default. Runs of a task are compared example by example, as check does, and only under
    the same conditions: others are marked, with the reason. The exit code is 0 whatever the verdicts are; for a gate
    there is check.
    """
    from anymal_eval.report.rendering import render
    from anymal_eval.report.run_matrix import matrix_data, matrix_table, run_matrix
    from anymal_eval.store.accepted import base_runs
    from anymal_eval.store.stored import open_run

    if as_json and is_printed(markdown):
        raise click.UsageError("--json is printed too; write --markdown to a file")
    opened = [open_run(run) for run in runs]
    base = 0
    if against is not None:
        roots = [run.root.resolve() for run in opened]
        named = Path(against).resolve()
        if named not in roots:
            found = {run.root: run for run in base_runs(against, opened[0].manifest, accepted).values()}
            if len(found) > 1:
                which = ", ".join(map(str, found))
                raise click.UsageError(f"--against {against}: accepted are {which}; name one of these folders")
            opened = [*found.values(), *opened]
        else:
            base = roots.index(named)
    if len(opened) < 2:
        raise click.UsageError("compare takes two RUNs or more, or one RUN and --against")
    matrix = run_matrix(opened, base)
    table = matrix_table(matrix)
    if as_json:
        echo_json(matrix_data(matrix))
    elif not is_printed(markdown):
        print_table(table)
        print_judged([run.results for run in opened])
    write_output(markdown, lambda: render(table, "md"), announced=True)
