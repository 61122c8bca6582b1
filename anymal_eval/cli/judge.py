"""``anymal-eval judge``: people compare or rate answers on a local page, blind; and what their votes mean."""

from pathlib import Path
from typing import Any

import click

from anymal_eval.cli._printing import echo, echo_raw, print_table
from anymal_eval.paths import studies

STUDY = click.argument("study", type=click.Path(exists=True, file_okay=False, path_type=Path))


class Judge(click.Group):
    """A group whose first argument may be a run: then a study is made of the runs, and opened."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what names no command as the arguments of ``open``."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["open", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Judge)
def judge() -> None:
    """Let people judge the answers of runs on a local page; see what their votes mean.

    anymal-eval judge RUN RUN makes a study of what both answered, and opens it; anymal-eval judge STUDY resumes it.
    """


@judge.command("open")
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--reference", metavar="human|NAME", help="Compare each with the reference answers, or with one run.")
@click.option("--mode", type=click.Choice(["pairwise", "rating"]), default="pairwise", show_default=True)
@click.option("--task", "tasks", multiple=True, help="Only these tasks; repeatable.")
@click.option("--annotators", default="one", show_default=True, help="Their codes, separated by commas; no names.")
@click.option("--limit", type=click.IntRange(min=1), help="Draw N items.")
@click.option("--quota", type=click.IntRange(min=1), help="Items for each annotator.  [default: all]")
@click.option("--repeats", type=click.FloatRange(0, 0.5), default=0.05, show_default=True, help="Trials shown again.")
@click.option(
    "--guideline", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A text for annotators."
)
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data"), help="Official files: DIR/<task>/.")
@click.option("--tasks-dir", type=click.Path(exists=True, path_type=Path), multiple=True, help="Own task files.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="The folder of the new study.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the page.  [default: a free one]")
@click.option("--no-browser", is_flag=True, help="Print the link alone.")
def open_(runs: tuple[Path, ...], port: int, no_browser: bool, out: Path | None, **given: Any) -> None:
    """Make a study of RUNS, or resume one, and serve its page until Ctrl-C.

    The page is on this machine alone; nothing on it says whose an answer is.
    """
    from anymal_eval.judge.guard import Site
    from anymal_eval.judge.server import serve
    from anymal_eval.judge.session import Session
    from anymal_eval.judge.study import FILE, read
    from anymal_eval.judge.votes import Votes

    folder = runs[0] if len(runs) == 1 and (runs[0] / FILE).is_file() else _create(runs, out, given)
    with Votes(folder) as votes:
        session = Session(read(folder), votes)
        site = Site(port)
        echo(f"{folder}: {len(session.study.items):,} items, {session.left:,} votes to give", err=True)
        echo(site.url)
        echo("Ctrl-C ends it; every vote is on disk, and the same study is resumed later", err=True)
        if not no_browser:
            import webbrowser

            webbrowser.open(site.url)
        serve(session, folder, site)


@judge.command()
@STUDY
@click.option("--format", type=click.Choice(["md", "latex", "csv", "html"]), help="Print all tables in one format.")
def report(study: Path, format: str | None) -> None:
    """Print what the votes of STUDY mean: outcomes, strengths, ratings, agreement."""
    from typing import cast

    from anymal_eval.judge.results import judged
    from anymal_eval.judge.tables import tables
    from anymal_eval.report.rendering import Format, render

    for table in tables(judged(study)):
        if format is None:
            print_table(table)
        else:
            echo_raw(render(table, cast(Format, format)) + "\n")


@judge.command()
@STUDY
def votes(study: Path) -> None:
    """Print the votes of STUDY as CSV, with the systems that they were about."""
    from anymal_eval.judge.results import judged
    from anymal_eval.judge.vote_table import vote_table
    from anymal_eval.report.rendering import render

    echo_raw(render(vote_table(judged(study)), "csv"))


@judge.command()
@STUDY
@click.argument("code")
def forget(study: Path, code: str) -> None:
    """Delete all votes of the annotator CODE from STUDY."""
    from anymal_eval.judge.votes import forget as delete

    echo(f"{study}: {delete(study, code):,} lines of {code} deleted")


def _create(runs: tuple[Path, ...], out: Path | None, given: dict[str, Any]) -> Path:
    from anymal_eval.cli._progress import progress
    from anymal_eval.judge.creation import Options, create

    text = given.pop("guideline")
    codes = [code.strip() for code in given.pop("annotators").split(",") if code.strip()]
    folder = out if out is not None else studies() / "-".join(run.name for run in runs)[:100]
    options = Options(runs=runs, annotators=codes, guideline=text.read_text(encoding="utf-8") if text else "", **given)
    create(folder, options, progress)
    return folder
