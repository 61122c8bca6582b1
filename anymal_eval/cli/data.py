"""``anymal-eval data``: which files a benchmark needs, whether those on disk are whole; draws demo data."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anymal_eval.cli._help import CommandGroup
from anymal_eval.cli._printing import echo
from anymal_eval.cli._progress import progress

if TYPE_CHECKING:
    from anymal_eval.demo import WorldHalf
    from anymal_eval.records import Media
    from anymal_eval.sources.dataset import DataOptions
    from anymal_eval.sources.diagnosis import Symptom
    from anymal_eval.sources.linking import How
    from anymal_eval.sources.load import Kind
    from anymal_eval.task import Task

TASKS_DIR = click.option(
    "--tasks-dir",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="A folder of your own task files; repeatable.",
)


@click.group(cls=CommandGroup)
def data() -> None:
    """Which files a benchmark needs, and whether those on disk are whole."""


@data.command()
@click.argument("task")
@TASKS_DIR
def describe(task: str, tasks_dir: tuple[Path, ...]) -> None:
    """Say which files of TASK go where, and where they come from. Nothing is fetched."""
    from anymal_eval import catalog
    from anymal_eval.sources.own import OWN_ROWS, is_own, task_named

    found = task_named(task, tasks_dir)
    if is_own(task):
        labels = "" if found.splits[0].labelled else ", no answers: responses and an export, no value"
        echo(f"{task}: {found.kind} about {found.media}; metrics {', '.join(found.metrics)}{labels}")
        echo(f"\n{OWN_ROWS.strip()}")
        return
    known = catalog.tasks(tasks_dir)
    echo((known.module(task).__doc__ or "").strip())
    for split in found.splits:
        labels = "" if split.labelled else ", no labels: responses and an export, no value"
        expected = f"{split.expected:,}" if split.expected else "any number of"
        echo(f"\nsplit {split.name}: {expected} examples{labels}")
        for file in found.official.files(split):
            optional = "" if file.needed else "optional; " if not file.is_folder else "media; "
            echo(f"  DIR/{found.name}/{file.name}\n      {optional}from {file.origin}")
    if layout := getattr(found.official, "layout", ""):
        echo(f"\n{layout}")
    unknown = "no copy is known; give one of the same columns with --hub-id ID" if found.hub else "no copy is known"
    echo(f"\n--data hub: {getattr(found.hub, 'id', '') or unknown}")


@data.command()
@click.argument("task")
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data"), help="Official files: DIR/<task>/.")
@click.option("--split", help="The split; by default the one that papers report.")
@click.option("--media", "decode", is_flag=True, help="Decode every picture, sound, clip and motion.")
@click.option("--media-budget", type=click.FloatRange(min=0.01), default=1.0, help="Multiplies a medium's limits.")
@click.option("--annotations", is_flag=True, help="Look at the annotation files only, not for media.")
@click.option("--all", "every", is_flag=True, help="List every faulty row and file, not the first ones only.")
@TASKS_DIR
def check(
    *,
    task: str,
    data_root: Path,
    split: str | None,
    decode: bool,
    media_budget: float,
    annotations: bool,
    every: bool,
    tasks_dir: tuple[Path, ...],
) -> int:
    """Compare the files of TASK with its official counts; name what is missing, unreadable or double.

    Exits with 1 when something is wrong. Fewer examples than officially are no error: they are called a subset.
    """
    from anymal_eval.sources.check import SHOWN, count_line, media_findings
    from anymal_eval.sources.load import load_examples, whole_examples
    from anymal_eval.sources.own import task_named

    found = task_named(task, tasks_dir)
    chosen = found.split(split)
    faults: list[str] = []
    if every:
        examples, faults = whole_examples(found, chosen, data_root)
    else:
        examples = load_examples(found, chosen, "official", data_root)
    for fault in faults:
        echo(f"  {fault}")
    echo(f"{found.name} {chosen.name}: {count_line(len(examples), chosen)}")
    wrong = bool(faults) or (bool(chosen.expected) and len(examples) > chosen.expected)
    if annotations:
        return int(wrong)
    clusters = len({example.cluster for example in examples})
    with _decoder(found, media_budget if decode else 0) as decoder:
        findings = list(media_findings(examples, decoder))
    for finding in findings:
        echo(f"  {found.media}: {finding.line(None if every else SHOWN)}")
    if found.lacking_media and any(finding.what == "not there" for finding in findings):
        echo(f"  {found.lacking_media}")
    if not findings:
        echo(f"  {found.media}: nothing missing or {'unreadable' if decode else 'empty'}, {clusters} clusters")
    return int(wrong or bool(findings))


@data.command()
@click.argument("task")
@click.option("--data", "source", type=click.Choice(["official", "hub"]), help="[default: official; hub: with --hub-*]")
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data"), help="Written to DIR/<task>/.")
@click.option("--split", help="The split; by default the one that papers report, or the first that the copy has.")
@click.option("--annotations", is_flag=True, help="Fetch no media.")
@click.option("--yes", is_flag=True, help="Fetch without a question: you agree to the licence.")
@click.option("--keep-archives", is_flag=True, help="Keep zip files after they are unpacked, in .downloads/.")
@click.option(
    "--mirror",
    metavar="URL",
    envvar="ANYMAL_EVAL_MIRROR",
    default="",
    help="URL/HOST/PATH in place of the published addresses.",
)
@click.option("--hub-id", help="Another data set on the hub with the same columns.")
@click.option("--hub-config", help="Its configuration; by default the one that has the split.")
@click.option("--hub-revision", help="The commit; by default the newest.")
@TASKS_DIR
def fetch(
    *,
    task: str,
    source: "Kind | None",
    data_root: Path,
    split: str | None,
    annotations: bool,
    yes: bool,
    keep_archives: bool,
    mirror: str,
    hub_id: str | None,
    hub_config: str | None,
    hub_revision: str | None,
    tasks_dir: tuple[Path, ...],
) -> int:
    """Fetch the official files of TASK into DIR, after a question; cut downloads are resumed.

    With --data hub the copy on the hub is fetched, media too, into the cache of datasets. Runs stream a large copy that
    was not fetched; with HF_HUB_OFFLINE a run reads what was fetched, and nothing else.
    """
    from anymal_eval import catalog
    from anymal_eval.sources import dataset
    from anymal_eval.sources.fetching import fetch as fetch_files
    from anymal_eval.sources.fetching import fetch_plan, licence_line
    from anymal_eval.sources.own import task_named

    options = dataset.DataOptions(
        data=source, split=split, hub_id=hub_id, hub_config=hub_config, hub_revision=hub_revision
    )
    options.check()
    if options.kind == "hub":
        _fetch_copy(task, options, tasks_dir)
        return 0
    found = task_named(task, tasks_dir)
    plan = fetch_plan(found, found.split(split), data_root, annotations=annotations)
    echo(f"{found.name}: licence: {licence_line(catalog.tasks(tasks_dir).module(task).__doc__ or '') or 'not known'}")
    for line in plan.lines():
        echo(line)
    if not plan.lacking:
        echo("nothing to fetch")
        return int(bool(plan.by_hand))
    if not yes and not (sys.stdin.isatty() and click.confirm("fetch these under their licence?", err=True)):
        raise click.UsageError("nothing was fetched: give --yes to fetch these files under their licence")
    for name in fetch_files(plan, progress, mirror=mirror, keep_archives=keep_archives):
        echo(f"  fetched: {plan.root / name}")
    return int(bool(plan.by_hand))


def _fetch_copy(task: str, options: "DataOptions", tasks_dir: tuple[Path, ...]) -> None:
    from anymal_eval.sources.dataset import hub_split
    from anymal_eval.sources.hub_fetch import fetch as fetch_copy
    from anymal_eval.sources.load import with_hub_id
    from anymal_eval.sources.own import task_named

    found = with_hub_id(task_named(task, tasks_dir), options.hub_id, options.hub_config, options.hub_revision)
    chosen, notes = hub_split(found, options)
    for note in notes:
        echo(f"{found.name}: {note}", err=True)
    fetched = fetch_copy(found, chosen)
    echo(f"{fetched.id}@{fetched.revision} {fetched.split}: {fetched.rows:,} rows in {fetched.folder}")


@data.command()
@click.argument("task")
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data"), help="Official files: DIR/<task>/.")
@click.option("--split", help="The split; by default the one that papers report.")
@click.option("--fix", is_flag=True, help="Do what needs no person: unpack and link. Nothing is deleted or replaced.")
@TASKS_DIR
def doctor(*, task: str, data_root: Path, split: str | None, fix: bool, tasks_dir: tuple[Path, ...]) -> int:
    """Look for what lacks of TASK: archives not unpacked, other names and places, web pages in place of files.

    Exits with 1 while something lacks.
    """
    from anymal_eval.sources.diagnosis import diagnose
    from anymal_eval.sources.own import task_named

    found = task_named(task, tasks_dir)
    left = _treat(diagnose(found, found.split(split), data_root), fix=fix)
    if not left:
        echo(f"{found.name}: nothing lacks; anymal-eval data check {task} compares it with the official counts")
    return int(bool(left))


@data.command()
@click.argument("task")
@click.option("--from", "source", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
              help="A folder that holds the files, in any layout.")  # fmt: skip
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data"), help="Linked into DIR/<task>/.")
@click.option("--split", help="The split; by default the one that papers report.")
@click.option(
    "--how", type=click.Choice(["auto", "symlink", "hardlink", "copy"]), default="auto", show_default=True,
    help="auto: links that every command follows, else hard links.",
)  # fmt: skip
@TASKS_DIR
def link(
    *, task: str, source: Path, data_root: Path, split: str | None, how: "How", tasks_dir: tuple[Path, ...]
) -> int:
    """Link the files of TASK from another folder into DIR/<task>; nothing there is replaced.

    Exits with 1 where nothing was found.
    """
    from anymal_eval.sources.diagnosis import links
    from anymal_eval.sources.own import task_named

    found = task_named(task, tasks_dir)
    linked = 0
    for symptom in links(found, found.split(split), data_root, source, how):
        linked += 1
        _treat(iter([symptom]), fix=True)
    echo("" if linked else f"{source} holds nothing that {found.name} lacks", nl=not linked)
    return int(not linked)


def _treat(symptoms: "Iterator[Symptom]", *, fix: bool) -> int:
    """Print symptoms, and fix those that can be; gives the number of those that are left."""
    left = 0
    for symptom in symptoms:
        echo(f"  {symptom.what}")
        if fix and symptom.fix is not None:
            echo(f"      fixed: {symptom.fix()}")
            continue
        left += 1
        by_itself = "; --fix does it" if symptom.fix is not None else ""
        echo(f"      do: {symptom.remedy}{by_itself}")
    return left


@data.command()
@click.argument("task")
@click.option("--split", type=click.Choice(["train", "eval"]), default="train", help="Which half of the demo world.")
@click.option("--examples", type=click.IntRange(min=1), default=200, show_default=True, help="How many.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of what is drawn.")
@click.option("--data-root", type=click.Path(path_type=Path), required=True, help="Written to DIR/<task>/.")
def draw(*, task: str, split: "WorldHalf", examples: int, seed: int, data_root: Path) -> None:
    """Draw demo data in TASK's official layout, to train on or to look at.

    No medium of one half ever occurs in the other, whatever the seeds are.
    """
    from anymal_eval.demo import write_task

    echo(str(write_task(task, data_root, examples=examples, seed=seed, split=split)))


@contextmanager
def _decoder(task: "Task", budget: float) -> "Iterator[Callable[[Media], object] | None]":
    if not budget:
        yield None
        return
    from anymal_eval.media.budget import MediaBudget
    from anymal_eval.media.reader import MediaReader

    with MediaReader(budget=MediaBudget.times(budget)) as reader:
        readers: dict[str, Callable[[Media], object]] = {
            "image": reader.image,
            "audio": lambda medium: reader.audio(medium, 16_000),
            "video": lambda medium: reader.video(medium, 1),
            "imu": reader.imu,
        }
        yield readers[task.media]
