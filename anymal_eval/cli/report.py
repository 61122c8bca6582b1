"""``anymal-eval report``: writes a static gallery of a run that opens offline."""

from dataclasses import replace
from pathlib import Path

import click

from anymal_eval.cli._help import Command
from anymal_eval.cli._printing import echo, echo_line
from anymal_eval.paths import accepted as accepted_runs

ACCEPTED = accepted_runs()


class AllOr(click.ParamType):  # type: ignore[type-arg]  # generic for type checkers alone
    """A number from 1, or ``all``, which is None."""

    name = "number"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """The number, or None."""
        if value == "all":
            return None
        if not str(value).isdecimal() or int(str(value)) < 1:
            self.fail(f"{value!r} is neither a number from 1 nor all", param, ctx)
        return int(str(value))


@click.command(cls=Command)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--against", multiple=True, metavar="BASE", help="A run folder, or an accepted run's model; repeatable.")
@click.option("--out", type=click.Path(path_type=Path), help="The folder to write; by default report in the first RUN.")
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data"), help="Official files: DIR/<task>/.")
@click.option("--examples", type=AllOr(), default="5000", metavar="N|all", help="Show at most N examples of a task.")
@click.option("--media", type=click.Choice(["copy", "none"]), default="copy", help="Bring pictures, sounds and clips.")
@click.option("--picture-side", type=click.IntRange(min=0), default=512, help="Fit pictures into N pixels; 0: as is.")
@click.option("--media-timeout", type=click.FloatRange(min=0, min_open=True), default=60.0, help="Seconds for a clip.")
@click.option("--media-budget", type=click.FloatRange(min=0.01), default=1.0, help="Multiplies a medium's limits.")
@click.option(
    "--tasks-dir",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="A folder of your own task files; repeatable.",
)
@click.option("--accepted", type=click.Path(path_type=Path), default=ACCEPTED, help="Where accepted runs lie.")
def report(
    runs: tuple[Path, ...],
    against: tuple[str, ...],
    out: Path | None,
    data_root: Path,
    examples: int | None,
    media: str,
    picture_side: int,
    media_timeout: float,
    media_budget: float,
    tasks_dir: tuple[Path, ...],
    accepted: Path,
) -> None:
    """Write a gallery of RUNs: numbers, plots, and every answer beside what it is about.

    The folder opens from the file system, without a server and without a network. Every RUN is compared with BASE, and
    the answers of all of them stand beside one another. Of several RUNs without --against, the first is BASE. A RUN may
    be a training's folder: the runs of its checkpoints (watch), and the scores in its log (--eval-every) as curves.
    """
    from anymal_eval.cli._progress import progress
    from anymal_eval.errors import WrongUse
    from anymal_eval.evaluation.report_content import ReportOptions, read_report
    from anymal_eval.judge.judged_results import judged_tables
    from anymal_eval.report.gallery.media_files import key
    from anymal_eval.report.gallery.write import Media, write_report
    from anymal_eval.store.results import FILE, read_results

    if out is None and any(runs[0].glob("*/scores.jsonl.gz")):
        raise WrongUse(f"{runs[0]} is an accepted run, which is tracked: give --out, so that no media get into it")
    options = ReportOptions(
        runs=runs, against=against, data_root=data_root, examples=examples, tasks_dir=tasks_dir, accepted=accepted
    )
    found = read_report(options)
    judged = [read_results(each) for each in (*runs, *map(Path, against)) if (each / FILE).is_file()]
    found = replace(found, judged=judged_tables(judged, (), echo_line))
    folder = out if out is not None else runs[0] / "report"
    copied = media == "copy"
    unique = {key(one) for page in found.pages for example in page.examples for one in example.media}
    with progress("media", len(unique) if copied else 0, 0) as advance:
        how = Media(copied=copied, picture_side=picture_side, timeout_s=media_timeout, budget=media_budget)
        size = write_report(folder, found, how, advance)
    echo(folder / "index.html")
    shown = sum(len(page.examples) for page in found.pages)
    echo(f"{shown:,} examples of {len(found.pages)} tasks, {size / 1e6:.1f} MB", err=True)
