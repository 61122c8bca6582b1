"""``anymal-eval curve``: scores against training steps, with intervals."""

from pathlib import Path

import click

from anymal_eval.cli._help import Command
from anymal_eval.cli._output_files import OUTPUT, is_printed, write_output
from anymal_eval.cli._printing import echo_json, print_table


@click.command(cls=Command)
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--task", metavar="NAME", help="Only this task.")
@click.option("--svg", type=OUTPUT, help="Write the curves as SVG.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def curve(folders: tuple[Path, ...], task: str | None, svg: Path | None, as_json: bool) -> None:
    """Show scores against steps.

    DIR is a training's folder (what watch evaluated, and the scores of --eval-every), a folder of runs, or a run. The
    step is the number at the end of a run's folder, name or model, as in step-200. Scores under other conditions are
    curves of their own.
    """
    from anymal_eval.report.curve import curve_data, curve_table, read_curve
    from anymal_eval.report.curve_drawing import curve_svg

    if as_json and is_printed(svg):
        raise click.UsageError("--json is printed too; write --svg to a file")
    found = read_curve(folders)
    if task is not None:
        tasks = sorted({one.name.partition(" ")[0] for one in found})
        found = tuple(one for one in found if one.name.partition(" ")[0] == task)
        if not found:
            raise click.UsageError(f"--task {task}: there are {', '.join(tasks)}")
    title = f"scores against steps, {', '.join(map(str, folders))}"
    if as_json:
        echo_json(curve_data(found))
    elif not is_printed(svg):
        print_table(curve_table(found, title))
    write_output(svg, lambda: curve_svg(found, title), announced=True)
