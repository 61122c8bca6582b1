"""``anymal-eval export``: writes a run in the formats that test servers, model cards and other harnesses read."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from anymal_eval.cli._help import Command
from anymal_eval.cli._printing import echo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anymal_eval.records import Example
    from anymal_eval.report.exports import Exported
    from anymal_eval.store.stored import StoredRun

FORMATS = ("evalai", "eval-results", "every-eval-ever", "inspect")
RELATIONSHIPS = ("first_party", "third_party", "collaborative", "other")


@click.command(cls=Command)
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--format", type=click.Choice(FORMATS), required=True, help="What to write.")
@click.option("--tasks", help="Names, separated by commas; by default all of the run's.")
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data"), help="Official files: DIR/<task>/.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Where to; by default RUN/export.")
@click.option("--organization", default="unknown", help="Who ran it (every-eval-ever).")
@click.option("--relationship", type=click.Choice(RELATIONSHIPS), default="other", help="To the model's makers.")
@click.option(
    "--push", metavar="OWNER/NAME", help="Open a pull request with them in a model's repository (eval-results)."
)
@click.option("--no-samples", is_flag=True, help="Leave out the single examples (every-eval-ever).")
@click.option(
    "--tasks-dir",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="A folder of your own task files; repeatable.",
)
def export(
    run: Path,
    format: str,
    tasks: str | None,
    data_root: Path,
    out: Path | None,
    organization: str,
    relationship: str,
    push: str | None,
    no_samples: bool,
    tasks_dir: tuple[Path, ...],
) -> None:
    """Write RUN as EvalAI's upload files, Hugging Face's .eval_results and model card, Every Eval Ever or inspect_ai.

    The questions that two of them show are read from --data-root again. --push opens a pull request: what the
    repository holds is changed by its owner alone.
    """
    from anymal_eval.errors import WrongUse
    from anymal_eval.report.exports import Exported, scored_at
    from anymal_eval.scoring.verification import open_verified

    if push is not None and format != "eval-results":
        raise WrongUse("--push goes with --format eval-results")
    opened = open_verified(run)
    exported = Exported(
        run=opened,
        tasks=_tasks(opened, tasks),
        examples=_reader(opened, data_root, tasks_dir),
        organization=organization,
        relationship=relationship,
        date=scored_at(run),
    )
    folder = out if out is not None else run / "export"
    for file in _write(exported, format, folder, (data_root, not no_samples)):
        echo(str(file))
    if push is not None:
        echo(_propose(push, folder, run.name))


def _propose(name: str, folder: Path, run: str) -> str:
    from anymal_eval.checkpoints.uploading import propose
    from anymal_eval.report.exports.eval_results import CARD, proposed

    written = [*folder.glob(".eval_results/*.yaml"), folder / CARD]
    files = {file.relative_to(folder).as_posix(): file.read_text(encoding="utf-8") for file in written}
    return propose(name, lambda card: proposed(files, card), message=f"Results of anymal_eval: {run}")


def _tasks(run: "StoredRun", named: str | None) -> tuple[str, ...]:
    from anymal_eval.errors import NotInCatalog

    if named is None:
        return tuple(run.manifest.tasks)
    wanted = tuple(dict.fromkeys(name.strip() for name in named.split(",") if name.strip()))
    unknown = [name for name in wanted if name not in run.manifest.tasks]
    if unknown or not wanted:
        raise NotInCatalog(f"{run.root} holds {', '.join(run.manifest.tasks)}, and not {', '.join(unknown) or named!r}")
    return wanted


def _reader(run: "StoredRun", data_root: Path, tasks_dir: tuple[Path, ...]) -> "Callable[[str], Mapping[str, Example]]":
    from dataclasses import replace

    from anymal_eval.evaluation.dataset import reload_dataset
    from anymal_eval.store.folder import RunFolder

    def read(task: str) -> "Mapping[str, Example]":
        # All of the split's examples: those that the run holds are picked by id.
        entry = replace(run.manifest.tasks[task], subset="")
        dataset = reload_dataset(task, entry, data_root, tasks_dir, RunFolder(run.root))
        return {example.id: example for example in dataset.examples}

    return read


def _write(exported: "Exported", format: str, folder: Path, given: tuple[Path, bool]) -> list[Path]:
    from anymal_eval.paths import inside
    from anymal_eval.report.exports.eval_results import eval_results
    from anymal_eval.report.exports.evalai import evalai
    from anymal_eval.report.exports.every_eval_ever import every_eval_ever
    from anymal_eval.report.exports.inspect_log import inspect_logs
    from anymal_eval.store.atomic import write_files

    match format:
        case "inspect":
            return inspect_logs(exported, folder / "inspect")
        case "evalai":
            files, messages = evalai(exported, given[0])
        case "eval-results":
            files, messages = eval_results(exported)
        case _:
            files, messages = every_eval_ever(exported, samples=given[1])
    for line in messages:
        echo(line, err=True)
    # Only the first part may start with a dot: it is the format's own, such as .eval_results.
    for name in files:
        inside(folder / name.partition("/")[0], *name.split("/")[1:])
    return write_files(folder, files)
