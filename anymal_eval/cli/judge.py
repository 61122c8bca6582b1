"""``anymal-eval judge``: people, or a model, compare or rate answers, blind; and what their judgements mean."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anymal_eval.cli._printing import echo, echo_raw, print_table
from anymal_eval.paths import studies

if TYPE_CHECKING:
    from anymal_eval.judge.judge_protocol import JudgeProtocol

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
@click.option("--mode", type=click.Choice(["pairwise", "rating"]), help="[default: pairwise, or the protocol's]")
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
@click.option(
    "--calibration",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON lines with items whose judgement is known, shown among the others.",
)
@click.option("--judge", "model", metavar="openai:MODEL@URL", help="A model judges, in place of the page.")
@click.option("--judge-protocol", metavar="NAME|FILE.toml", help="How it judges; `judge protocols` lists them.")
@click.option("-o", "options", multiple=True, metavar="KEY=VALUE", help="An option of the judge; repeatable.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the page.  [default: a free one]")
@click.option("--no-browser", is_flag=True, help="Print the link alone.")
def open_(
    runs: tuple[Path, ...], port: int, no_browser: bool, out: Path | None, model: str | None,
    judge_protocol: str | None, options: tuple[str, ...], **given: Any,
) -> None:  # fmt: skip
    """Make a study of RUNS, or resume one, and serve its page until Ctrl-C; or let a model judge it.

    The page is on this machine alone; nothing on it says whose an answer is. With --judge, the same command requests
    only the answers that are missing.
    """
    from anymal_eval.errors import WrongUse

    if model is None and (judge_protocol is not None or options):
        raise WrongUse("--judge-protocol and -o are of --judge")
    from anymal_eval.judge.study import FILE

    is_there = len(runs) == 1 and (runs[0] / FILE).is_file()
    if is_there:
        _require_none(("out", *given))
    protocol = _protocol(model, judge_protocol, given)
    folder = runs[0] if is_there else _create(runs, out, given)
    if model is not None:
        _by_model(folder, model, protocol, options)
    else:
        _by_people(folder, port, no_browser)


def _require_none(names: tuple[str, ...]) -> None:
    """Refuse options of a new study for one that is there, whose votes are on what it is."""
    from click.core import ParameterSource

    from anymal_eval.errors import WrongUse

    context = click.get_current_context()
    given = [each for each in names if context.get_parameter_source(each) is ParameterSource.COMMANDLINE]
    if given:
        option = next(each.opts[0] for each in context.command.params if each.name == given[0])
        raise WrongUse(f"{option} is of a new study: leave it out, or give RUN RUN and another --out")


def _protocol(model: str | None, named: str | None, given: dict[str, Any]) -> "JudgeProtocol | None":
    """The protocol that was named; the mode of a new study is its."""
    from anymal_eval.judge.judge_protocol import find

    found = find(named) if model is not None and named is not None else None
    given["mode"] = given["mode"] or ("pairwise" if found is None else found.mode)
    return found


def _by_people(folder: Path, port: int, no_browser: bool) -> None:
    from anymal_eval.judge.guard import Site
    from anymal_eval.judge.server import serve
    from anymal_eval.judge.session import Session
    from anymal_eval.judge.study import read
    from anymal_eval.judge.votes import Votes

    with Votes(folder) as votes:
        session = Session(read(folder), votes)
        site = Site(port)
        echo(f"{folder}: {len(session.study.items):,} items, {session.left:,} votes to give", err=True)
        echo(site.url)
        echo("Ctrl-C ends it; every vote is on disk, and the same study is resumed later", err=True)
        if not no_browser:
            import threading
            import webbrowser

            # Some browsers end only when they are closed, and must not be waited for.
            threading.Thread(target=webbrowser.open, args=(site.url,), daemon=True).start()
        serve(session, folder, site)


def _by_model(folder: Path, model: str, protocol: "JudgeProtocol | None", options: tuple[str, ...]) -> None:
    from anymal_eval.cli._progress import progress
    from anymal_eval.evaluation.plan import parse_options
    from anymal_eval.judge.model_judge import judge_by
    from anymal_eval.judge.model_tables import summary

    judge, done = judge_by(folder, model, parse_options(options), protocol, progress)
    echo(f"{folder}: {done.text}", err=True)
    echo(summary(folder, judge))
    echo(f"anymal-eval judge report {folder} says what that means", err=True)
    done.require_all()


@judge.command()
@STUDY
@click.option("--format", type=click.Choice(["md", "latex", "csv", "html"]), help="Print all tables in one format.")
def report(study: Path, format: str | None) -> None:
    """Print what the votes of STUDY mean: outcomes, strengths, ratings, agreement; and what models say, apart."""
    from typing import cast

    from anymal_eval.judge.model_results import model_judged
    from anymal_eval.judge.model_tables import model_tables
    from anymal_eval.judge.results import judged
    from anymal_eval.judge.tables import tables
    from anymal_eval.report.rendering import Format, render

    people, models = judged(study), model_judged(study)
    votes = any(one.votes or one.skipped for one in people.annotators)
    shown = [*(tables(people) if votes or not models else ()), *model_tables(models, people)]
    for number, table in enumerate(shown):
        if format is None:
            echo(nl=number > 0)
            print_table(table)
        else:
            echo_raw(render(table, cast(Format, format)) + "\n")


@judge.command()
@STUDY
@click.option("--models", is_flag=True, help="The verdicts of models instead; of a comparison, both orders.")
def votes(study: Path, models: bool) -> None:
    """Print the votes of STUDY as CSV, with the systems that they were about."""
    from anymal_eval.judge.model_results import model_judged
    from anymal_eval.judge.results import judged
    from anymal_eval.judge.vote_table import vote_table
    from anymal_eval.report.rendering import render

    people, found = judged(study), model_judged(study) if models else []
    comparisons = [one for each in found for one in each.sides] if models else people.comparisons
    ratings = [one for each in found for one in each.ratings] if models else people.ratings
    echo_raw(render(vote_table(people.study.name, comparisons, ratings), "csv"))


@judge.command()
@STUDY
@click.argument("code")
def forget(study: Path, code: str) -> None:
    """Delete all votes of the annotator CODE from STUDY."""
    from anymal_eval.judge.votes import forget as delete

    echo(f"{study}: {delete(study, code):,} lines of {code} deleted")


@judge.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def protocols(name: str | None, as_json: bool) -> None:
    """List how models are made to judge, or print NAME's prompts and where they are from."""
    from anymal_eval import catalog
    from anymal_eval.cli._listing import list_or_show
    from anymal_eval.codec import encode
    from anymal_eval.judge.judge_protocol import find

    list_or_show(catalog.judge_protocols(), name, as_json, lambda known: dict(encode(find(known))))


def _create(runs: tuple[Path, ...], out: Path | None, given: dict[str, Any]) -> Path:
    from anymal_eval.cli._progress import progress
    from anymal_eval.judge.creation import Options, create

    text = given.pop("guideline")
    codes = [code.strip() for code in given.pop("annotators").split(",") if code.strip()]
    folder = out if out is not None else studies() / "-".join(run.name for run in runs)[:100]
    options = Options(runs=runs, annotators=codes, guideline=text.read_text(encoding="utf-8") if text else "", **given)
    create(folder, options, progress)
    return folder
