"""``anymal-eval runs``: lists the runs in a folder: what each is, when it was made, and its scores."""

from pathlib import Path

import click

from anymal_eval.cli._help import Command
from anymal_eval.cli._printing import echo, echo_json, echo_line, print_table
from anymal_eval.paths import runs as run_folders


@click.command(cls=Command)
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), default=run_folders())
@click.option("--model", metavar="TEXT", help="Only runs of a model with TEXT in its name; * and ? as in a shell.")
@click.option("--task", metavar="TEXT", help="Only runs that hold the task; its score with the interval.")
@click.option("--protocol", metavar="TEXT", help="Only runs under the protocol.")
@click.option("--data", metavar="TEXT", help="Only runs over official, hub or demo data.")
@click.option("--name", metavar="TEXT", help="Only runs with TEXT in their name.")
@click.option("--sort", default="date", show_default=True, metavar="KEY", help="date, name, model, time, or a task.")
@click.option("--reverse", is_flag=True, help="The latest, or the highest, first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: command, host, times and all headlines too.")
def runs(folder: Path, sort: str, reverse: bool, as_json: bool, **wanted: str | None) -> int:
    """List the runs in DIR and its subfolders, by default results/runs.

    Nothing is verified and no answer is read. A folder that is no whole run is one line below the list, and the exit
    code is 0.
    """
    from anymal_eval.report.run_list import BrokenRun, Filter, ListedRun, read_runs, runs_data, runs_table, sorted_runs

    found = list(read_runs(folder))
    conditions = Filter(**wanted)
    listed = [run for run in found if isinstance(run, ListedRun) and conditions.takes(run)]
    listed = sorted_runs(listed, sort, descending=reverse) if listed else []
    broken = [run for run in found if isinstance(run, BrokenRun)]
    if as_json:
        echo_json(runs_data(listed, broken))
        return 0
    if listed:
        print_table(runs_table(listed, folder, wanted["task"]))
    else:
        left = sum(isinstance(run, ListedRun) for run in found)
        echo(f"{folder}: no run{f' of {left} fits these conditions' if left else ''}", err=True)
    for run in broken:
        echo_line(f"{run.root}: {run.why}")
    return 0
