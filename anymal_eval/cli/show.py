"""``anymal-eval show``: prints the exact prompt, media and reading of a few examples, before hours are spent."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anymal_eval.protocols.reading import Reading
    from anymal_eval.records import Example, Media, Request


@click.command()
@click.argument("task")
@click.option("-n", "count", type=click.IntRange(min=1), default=1, help="How many examples.")
@click.option("--model", default="constant", help="Whose wording; it is not loaded where its words are known before.")
@click.option("-o", "options", multiple=True, metavar="KEY=VALUE", help="An option of the model.")
@click.option("--protocol", default="plain", help="How to ask.")
@click.option("--data", type=click.Choice(["official", "hub", "demo"]), default="official", help="Which examples.")
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data"), help="Official files: DIR/<task>/.")
@click.option("--split", help="The split; by default the protocol's, else the one that papers report.")
@click.option("--ablate", type=click.Choice(["none", "no-media", "shuffled-media"]), default="none", help="Blind it.")
@click.option("--tasks-dir", type=click.Path(exists=True, path_type=Path), multiple=True, help="Your own task files.")
def show(
    task: str,
    count: int,
    model: str,
    options: tuple[str, ...],
    protocol: str,
    data: str,
    data_root: Path,
    split: str | None,
    ablate: str,
    tasks_dir: tuple[Path, ...],
) -> None:
    """Print the exact prompt, media and reading of the first examples of TASK."""
    from anymal_eval.cli import _asked
    from anymal_eval.cli import _evaluate as flow
    from anymal_eval.cli._run import typed_options
    from anymal_eval.models import choose_model
    from anymal_eval.protocols.reading import reading_for

    spec = choose_model(model, typed_options(options))
    tasks, _ = flow.choose_tasks(task, spec, tasks_dir)
    choice = flow.DataChoice(kind=data, root=data_root, split=split)  # type: ignore[arg-type]  # click checked it
    named = flow.protocol_of(protocol)
    words = named[1]
    loaded = [flow.load_task(each, _asked.with_split(each, choice, named)) for each in tasks]
    ready = spec.load()
    try:
        _asked.say_lacking((one.task for one in loaded), ready.wording, words)
        for one in loaded:
            reading = reading_for(one.task, ready.wording, words)
            asked = flow.requests(one, words, ready, ablate)
            for example, request in list(zip(one.examples, asked, strict=True))[:count]:
                click.echo("\n".join(_lines(one.task.name, example, request, reading)))
                click.echo()
    finally:
        ready.close()


def _lines(task: str, example: "Example", request: "Request", reading: "Reading") -> "Iterator[str]":
    from anymal_eval.records import Media

    yield f"=== {task} {example.id} (cluster {example.cluster})"
    for message in request.messages:
        text = "".join(f"<{part.kind}: {_named(part)}>" if isinstance(part, Media) else part for part in message.parts)
        yield f"[{message.role}] {text}"
    if request.answer_prefix:
        yield f"[answer begins] {request.answer_prefix}"
    if request.candidates:
        by = "log p a token" if request.length_normalise else "sum of log p"
        yield f"ranked       {' | '.join(request.candidates)} ({by})"
    else:
        how = request.decoding
        beams = "greedy" if how.beams == 1 else f"{how.beams} beams, length penalty {how.length_penalty:g}"
        stop = f", stop at {how.stop!r}" if how.stop else ""
        yield f"generated    {how.min_new_tokens} to {how.max_new_tokens} tokens, {beams}{stop}"
    if any(part.kind == "video" for part in request.media):
        yield f"frames       {request.frames}"
    yield f"read         unwrap {reading.unwrap}, clean {reading.clean}, extract {reading.extract}"
    if example.label is not None:
        yield f"label        {example.label}: {example.options[example.label]}"
    if example.references is not None:
        yield f"references   {' | '.join(example.references)}"


def _named(media: "Media") -> str:
    cut = "" if media.start_s is None else f" {media.start_s:g}-{media.end_s:g} s"
    return f"{media.uri}{cut}"
