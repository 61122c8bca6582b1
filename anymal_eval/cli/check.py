"""``anymal-eval check``: fails when a run is worse than its accepted baseline."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from anymal_eval.cli._help import Command
from anymal_eval.cli._output_files import OUTPUT, is_printed, write_output
from anymal_eval.cli._printing import draw, echo, on_terminal, print_table, terminal_width
from anymal_eval.cli._results import LOG_TO, send, trackers_of
from anymal_eval.paths import accepted as accepted_runs
from anymal_eval.visible import visible_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anymal_eval.report.noise_floor import Floor
    from anymal_eval.report.policy import Policy
    from anymal_eval.report.regression import Check, Further
    from anymal_eval.store.stored import StoredRun


class Shown(NamedTuple):
    """What is shown and where, beside the files, and the studies that are compared too."""

    table: bool
    details: bool
    trackers: tuple[str, ...]
    judged: tuple[Path, ...]


ACCEPTED = accepted_runs()
POLICY = click.Path(dir_okay=False, path_type=Path)


@click.command(cls=Command)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--against", metavar="BASE", help="A run folder, or the model of an accepted run; by default RUN's own.")
@click.option(
    "--judged",
    metavar="STUDY",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A study that judges both runs, as a further metric; repeatable.",
)
@click.option("--noise", is_flag=True, help="Say how much repeated runs of one model differ.")
@click.option("--policy", type=POLICY, help="A TOML file: tiers, limits, allowed missing, noise floor.")
@click.option("--junit", type=OUTPUT, help="Write JUnit XML.")
@click.option("--markdown", type=OUTPUT, help="Write Markdown for a pull request.")
@click.option("--json", "as_json", type=OUTPUT, help="Write JSON, every changed example included; - prints it.")
@click.option("--accepted", type=click.Path(path_type=Path), default=ACCEPTED, help="Where accepted runs lie.")
@LOG_TO
@click.option("--details", is_flag=True, help="On a terminal: every column, and the reason of each verdict.")
def check(
    runs: tuple[Path, ...],
    against: str | None,
    judged: tuple[Path, ...],
    noise: bool,
    policy: Path | None,
    junit: Path | None,
    markdown: Path | None,
    as_json: Path | None,
    accepted: Path,
    log_to: str,
    details: bool,
) -> None:
    """Compare RUN with another run of the same tasks, example by example; a verdict a task.

    Exits with 0 when nothing is worse, 3 when a task is worse by more than chance and more than its limit, 4 when it
    cannot tell, 1 when the runs may not be compared. With --noise: what RUNS of one model differ by.
    """
    from anymal_eval.errors import WrongUse
    from anymal_eval.store.stored import open_run

    trackers = trackers_of(log_to)
    table = not is_printed(junit, markdown, as_json)
    if noise:
        if against is not None or policy is not None or junit is not None or judged:
            raise WrongUse(
                "--noise takes runs, --json and --markdown; leave out --against, --judged, --policy and --junit"
            )
        _noise([open_run(run) for run in runs], markdown, as_json)
        return
    if len(runs) != 1:
        raise WrongUse("check takes one RUN; --noise takes several")
    chosen, floors = _policy(policy)
    run = open_run(runs[0])
    name, bases = _bases(run, against, accepted)
    files = {"junit": junit, "markdown": markdown, "json": as_json}
    _check(run, (name, bases), (chosen, floors), files, Shown(table, details, trackers, judged))


def _policy(file: Path | None) -> "tuple[Policy, Mapping[str, Floor]]":
    from anymal_eval.report.noise_floor import read_floors
    from anymal_eval.report.policy import Policy, read_policy

    if file is None:
        return Policy(), {}
    chosen = read_policy(file)
    return chosen, read_floors(Path(chosen.noise)) if chosen.noise else {}


def _bases(run: "StoredRun", against: str | None, accepted: Path) -> "tuple[str, Mapping[str, StoredRun]]":
    from anymal_eval.store.accepted import base_runs, find

    name = str(run.manifest.identity["model"]) if against is None else against
    if against is not None and Path(against).exists():
        return name, base_runs(against, run.manifest, accepted)
    found = find(name, run.manifest, accepted)
    for root in dict.fromkeys(base.root for base in found.values()):
        tasks = ", ".join(task for task, base in found.items() if base.root == root)
        echo(f"the accepted run of {name} for {tasks}: {root}", err=True)
    return name, found


def _check(
    run: "StoredRun",
    base: "tuple[str, Mapping[str, StoredRun]]",
    rules: "tuple[Policy, Mapping[str, Floor]]",
    files: "Mapping[str, Path | None]",
    shown: Shown,
) -> None:
    from anymal_eval.codec import write_json_pretty
    from anymal_eval.errors import AnyMALEvalError
    from anymal_eval.report import check_texts
    from anymal_eval.report.junit import junit
    from anymal_eval.report.regression import check as compare

    found = compare(run, base[1], base[0], *rules, _judged(run, base[1], shown.judged))
    if shown.table and on_terminal():
        draw(check_texts.check_screen(found, terminal_width(), details=shown.details))
    elif shown.table:
        echo(check_texts.terminal(found), nl=False)
    write_output(files["markdown"], lambda: check_texts.markdown(found))
    write_output(files["junit"], lambda: junit(found))
    write_output(files["json"], lambda: write_json_pretty(check_texts.as_data(found)), show=visible_json)
    error = found.error()
    try:
        _log(run, found, shown.trackers)
    except AnyMALEvalError as failed:
        if error is None:
            raise
        echo(f"error: {failed}", err=True)  # the verdict is what the exit code says
    if error is not None:
        raise error


def _judged(run: "StoredRun", bases: "Mapping[str, StoredRun]", studies: tuple[Path, ...]) -> "list[Further]":
    if not studies:
        return []
    from anymal_eval.judge.judged_check import judged_check

    return [one for study in studies for one in judged_check(run, bases, study)]


def _log(run: "StoredRun", found: "Check", trackers: tuple[str, ...]) -> None:
    if trackers:
        from anymal_eval.report.tracking import check_record

        send(trackers, [check_record(found)], run.root)


def _noise(runs: "list[StoredRun]", markdown: Path | None, as_json: Path | None) -> None:
    from anymal_eval.report.noise_floor import measure, noise_json, noise_table
    from anymal_eval.report.rendering import render

    found = measure(runs)
    text = render(noise_table(found), "md")
    if not is_printed(markdown, as_json):
        print_table(noise_table(found))
    write_output(markdown, lambda: text)
    write_output(as_json, lambda: noise_json(found), show=visible_json)
