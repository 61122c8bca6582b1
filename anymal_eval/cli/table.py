"""``anymal-eval table``: runs side by side, or beside a paper's rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anymal_eval.cli._help import Command
from anymal_eval.cli._printing import echo, echo_raw, print_table
from anymal_eval.cli._results import print_judged

if TYPE_CHECKING:
    from anymal_eval.store.stored import StoredRun


@click.command(cls=Command)
@click.argument("runs", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--like", metavar="PAPER/TABLE", help="A paper's columns and rows, as anymal-2023/4; list: all of them.")
@click.option("--gains", metavar="PAPER", help="Recompute the gains that a paper claims, as anymal-2023.")
@click.option("--against", metavar="ROW", help="Show relative gains over the row of that name.")
@click.option("--columns", metavar="KEYS", default="", help="Only these columns, by their names, with commas.")
@click.option("--name", "names", metavar="TEXT", multiple=True, help="Of the first run's row, the second's, and so on.")
@click.option(
    "--judged",
    metavar="STUDY",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A study whose judgements of RUNS are shown below.  [default: those in results/studies]",
)
@click.option("--no-ci", "intervals", flag_value=False, default=True, help="Leave intervals out.")
@click.option(
    "--format",
    type=click.Choice(["md", "latex", "csv", "html"]),
    help="The text of the table.  [default: drawn on a terminal, md elsewhere]",
)
@click.option("--accepted", is_flag=True, help="Write results/tables/ anew from results/accepted/.")
def table(
    runs: tuple[Path, ...], like: str | None, gains: str | None, against: str | None, format: str | None,
    accepted: bool, columns: str, names: tuple[str, ...], intervals: bool, judged: tuple[Path, ...],
) -> None:  # fmt: skip
    """Print RUNS as rows and their tasks as columns.

    Measured rows stand below the published ones of --like and look different; footnotes say where a rule, a split,
    the data or their size differ.
    """
    from typing import cast

    from anymal_eval.errors import WrongUse
    from anymal_eval.report.gains import gains_table
    from anymal_eval.report.paper_table import Choice, listed_tables, paper_table
    from anymal_eval.report.rendering import Format, render
    from anymal_eval.store.results import read_results

    if accepted:
        if runs or like is not None or gains is not None or against is not None:
            raise WrongUse("--accepted writes the tables of all accepted runs: leave out everything else")
        _write_accepted()
        return
    if like == "list":
        for line in listed_tables():
            echo(line)
        return
    if len(names) > len(runs):
        raise WrongUse(f"{len(names)} times --name for {len(runs)} runs")
    given, runs = dict(zip(runs, names, strict=False)), _with_blind(runs)
    choice = Choice(
        columns=tuple(filter(None, columns.split(","))),
        names=tuple(_name(run, given) for run in runs) if names else (),
        intervals=intervals,
    )
    if gains is not None and (like is not None or against is not None or choice != Choice()):
        raise WrongUse("--gains is a table of its own: leave out --like, --against, --columns, --name and --no-ci")
    measured = [read_results(run) for run in runs]
    stored = [_stored(run) for run in runs]
    if gains is not None:
        made = gains_table(gains, measured, stored)
    else:
        made = paper_table(measured, like, against, stored, choice)
    if format is None:
        print_table(made)
    else:
        echo_raw(render(made, cast(Format, format)))
    if format in (None, "md"):
        print_judged(measured, judged)


def _stored(run: Path) -> "StoredRun | None":
    """The run of a folder, verified where it has digests; None for ``results.json`` alone."""
    from anymal_eval.scoring.verification import open_verified
    from anymal_eval.store import digests
    from anymal_eval.store.stored import StoredRun

    root = run if run.is_dir() else run.parent
    found = open_verified(root) if (root / digests.FILE).is_file() else StoredRun(root)
    return found if run.is_dir() and (run / "manifest.json").is_file() else None


def _with_blind(runs: tuple[Path, ...]) -> tuple[Path, ...]:
    """The runs, each followed by the one without media that ``run --with-blind`` left inside it."""
    from anymal_eval.store.folder import BLIND

    both = [
        folder for run in runs for folder in (run, run / BLIND) if folder == run or (folder / "results.json").is_file()
    ]
    return tuple(dict.fromkeys(both))


def _name(run: Path, given: Mapping[Path, str]) -> str:
    """The name that was given for a run, or for the one that lies inside it; empty for none."""
    from anymal_eval.store.folder import BLIND

    if run in given:
        return given[run]
    own = given.get(run.parent, "") if run.name == BLIND else ""
    return f"{own} (no-media)" if own else ""


def _write_accepted() -> None:
    from anymal_eval.report.accepted import TABLES, write_tables
    from anymal_eval.store.accepted import ACCEPTED

    for file in write_tables(ACCEPTED, TABLES):
        echo(str(file))
