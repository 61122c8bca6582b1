"""``anymal-eval curve``: scores against training steps, with intervals."""

from pathlib import Path

import click

from anymal_eval.cli._help import Command
from anymal_eval.cli._printing import echo, echo_json, print_table

OUTPUT = click.Path(path_type=Path, dir_okay=False)


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
    from anymal_eval.store.atomic import write_user_file

    found = read_curve(folders)
    if task is not None:
        tasks = sorted({one.name.partition(" ")[0] for one in found})
        found = tuple(one for one in found if one.name.partition(" ")[0] == task)
        if not found:
            raise click.UsageError(f"--task {task}: there are {', '.join(tasks)}")
    title = f"scores against steps, {', '.join(map(str, folders))}"
    if as_json:
        echo_json(curve_data(found))
    else:
        print_table(curve_table(found, title))
    if svg is not None:
        write_user_file(svg, curve_svg(found, title))
        echo(f"written to {svg}", err=True)
