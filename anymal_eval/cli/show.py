"""``anymal-eval show``: prints the exact prompt, media and reading of a few examples, before hours are spent."""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anymal_eval.cli._generation_options import generation_options
from anymal_eval.cli._help import Command, completing
from anymal_eval.cli._printing import echo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anymal_eval.evaluation.console import Console


@click.command(cls=Command)
@click.argument("task", shell_complete=completing("tasks"))
@click.option("-n", "count", type=click.IntRange(min=1), default=1, help="How many examples.")
@click.option("--model", default="constant", shell_complete=completing("models"), help="Whose wording.")
@click.option("-o", "options", multiple=True, metavar="KEY=VALUE", help="An option of the model.")
@click.option(
    "--protocol",
    default="plain",
    shell_complete=completing("protocols"),
    help="Prompts, decoding and reading of answers.",
)
@click.option("--data", type=click.Choice(["official", "hub", "demo"]), default="official", help="Which examples.")
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data"), help="Official files: DIR/<task>/.")
@click.option("--split", help="The split; by default the protocol's, else the one that papers report.")
@click.option(
    "--extract", metavar="RULE", help="How a choice is read from text; anymal-eval protocols lists the rules."
)
@generation_options
@click.option(
    "--ablate",
    type=click.Choice(["none", "no-media", "shuffled-media"]),
    default="none",
    help="Remove or shuffle the media.",
)
@click.option(
    "--tasks-dir",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="A folder of your own task files; repeatable.",
)
def show(task: str, count: int, **given: Any) -> None:
    """Print the exact prompt, media and reading of the first examples of TASK."""
    from anymal_eval.cli._progress import Terminal

    with Terminal().opened() as console:
        for line in _lines(task, count, given, console):
            echo(line)


def _lines(task: str, count: int, given: "Mapping[str, Any]", console: "Console") -> "Iterator[str]":
    from anymal_eval.evaluation.load import load_model, warn_of_cleaning
    from anymal_eval.evaluation.plan import make_plan
    from anymal_eval.evaluation.prompts import prompt_lines, sent_lines
    from anymal_eval.evaluation.requests import build_requests
    from anymal_eval.evaluation.resolve import resolve
    from anymal_eval.protocols.reading import reading_for

    plan = make_plan(task, **given)
    resolved = resolve(plan, console, media=False)
    loaded = load_model(resolved)
    try:
        warn_of_cleaning(resolved, loaded.wording, console)
        for dataset in resolved.datasets:
            requests = build_requests(dataset, loaded.wording, resolved.protocol, plan.ablate).requests
            reading = reading_for(dataset.task, loaded.wording, resolved.protocol)
            for example, request in itertools.islice(zip(dataset.examples, requests, strict=False), count):
                yield from prompt_lines(dataset.task.name, example, request, reading)
                yield from sent_lines(loaded, request)
                yield ""
    finally:
        loaded.close()
