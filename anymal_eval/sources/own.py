"""A user's own rows as a task: ``--tasks my.jsonl``, JSON lines or a table of commas (``.csv``) or tabs (``.tsv``).

The rows say what kind of answer is wanted, and the kind which metrics are computed. ``OWN_ROWS`` has all keys.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

from anymal_eval import catalog
from anymal_eval.errors import BadData, MissingData, WrongUse
from anymal_eval.records import AnswerKind, MediaKind
from anymal_eval.sources import own_rows
from anymal_eval.sources.own_rows import Shape
from anymal_eval.sources.tables import CsvFiles, JsonFiles, Row, Table, without_faults
from anymal_eval.task import DataFile, Split, Task

ENDINGS = (".jsonl", ".jsonlines", ".tsv", ".csv")
SPLIT = "all"
YES_NO = ("no", "yes")
ANNOTATORS = 10  # for which the VQA rule is defined
METRICS: dict[AnswerKind, tuple[str, ...]] = {
    "caption": ("cider", "bleu", "rouge_l", "meteor", "spice", "spider"),
    "short_answer": ("answer_accuracy", "vqa_accuracy"),
    "choice": ("choice_accuracy",),
    "yes_no": ("yes_no_accuracy", "roc_auc"),
}
DEFAULTS: dict[AnswerKind, tuple[str, ...]] = {
    **METRICS,
    "caption": ("cider", "bleu", "rouge_l"),
    "short_answer": ("answer_accuracy",),
}
OWN_ROWS = own_rows.__doc__ or ""


class OwnFile(Table):
    """A table whose file, and the media that it names, lie where the user says, not under ``--data-root``."""

    home: Path

    def files(self, split: Split) -> tuple[DataFile, ...]:
        """The file, which the user named; what it names lies beside it."""
        return (DataFile(name=self._name(split), origin="the command line"),)


@dataclass(frozen=True, kw_only=True)
class OwnLines(OwnFile, JsonFiles):
    """Rows of JSON lines."""

    home: Path


@dataclass(frozen=True, kw_only=True)
class OwnTable(OwnFile, CsvFiles):
    """Rows of a table."""

    home: Path


def is_own(name: str) -> bool:
    """Whether a name of a task is a file of the user's own rows."""
    return name.lower().endswith(ENDINGS)


def task_named(name: str, folders: Sequence[Path] = (), metrics: Sequence[str] = ()) -> Task:
    """The benchmark of that name, or the task that a file of rows is.

    Args:
        name: of a task, or of a file.
        folders: the user's own task files.
        metrics: which to compute on a file's rows; the first is the headline. Empty for those of its kind of answer.
            A benchmark has its own.

    Raises:
        NotInCatalog: there is no such task, or no such metric.
        MissingData, BadData: the file is not there, or holds no rows of one kind.
        WrongUse: a metric is not for that kind of answer.
    """
    if is_own(name):
        return own_task(Path(name), metrics, catalog.tasks(folders).names())
    return catalog.tasks(folders).get(name, "TASK", Task)


def own_task(file: Path, metrics: Sequence[str] = (), taken: Collection[str] = ()) -> Task:
    """A file of rows as a task, named after the file; ``own_`` stands before the name of a benchmark.

    Raises:
        MissingData: there is no such file.
        BadData: no row could be read, or rows are of several kinds of answers or media.
        WrongUse, NotInCatalog: a metric cannot be computed.
    """
    file = file.expanduser()
    if not file.is_file():
        raise MissingData(f"--tasks {file}: there is no such file")
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", file.stem).strip("-_") or "own"
    where: dict[str, Any] = {"file": file.name, "home": file.parent.absolute(), "origin": "the command line"}
    source = OwnTable(**where) if file.suffix.lower() in (".tsv", ".csv") else OwnLines(**where)
    shape = _shape(source)
    chosen = tuple(metrics) or _default_metrics(shape)
    _refuse_unfit(chosen, shape, file)
    return Task(
        name=f"own_{name}" if name in taken else name,
        version=1,
        kind=shape.kind,
        media=shape.media,
        splits=(Split(SPLIT, expected=0, labelled=shape.labelled),),
        official=source,
        to_example=partial(own_rows.to_example, shape=shape),
        metrics=chosen,
        headline=chosen[0],
        headline_output="cider" if chosen[0] == "cider" else "",
    )


def own_file(task: Task) -> Path | None:
    """The file whose rows the task is; None for a benchmark."""
    return task.official.home / task.official.file if isinstance(task.official, OwnLines | OwnTable) else None


def _shape(source: OwnLines | OwnTable) -> Shape:
    """What the rows have in common; rows that cannot be read are left to their reader, which names them."""
    file = source.home / source.file
    faults: list[str] = []
    rows = list(without_faults(_rows(source), faults))
    if not rows:
        raise BadData(faults[0] if faults else f"{file}: it holds no row")
    own_rows.refuse_misspelt(rows[0])
    kinds = [kind for kind in get_args(MediaKind) if any(row.has(kind) and row.raw(kind) for row in rows)]
    if len(kinds) != 1:
        found = f"media of {len(kinds)} kinds ({', '.join(kinds)})" if kinds else "no medium"
        raise BadData(
            f"{file}: it has {found}; name one file of media a row under one of {', '.join(get_args(MediaKind))}, and "
            "put other kinds into a file of their own"
        )
    answered = [row for row in rows if own_rows.has_answer(row)]
    kind = _kind(rows, answered)
    counts = [len(own_rows.answers(row)) for row in answered] if kind == "short_answer" else []
    return Shape(kind=kind, media=kinds[0], labelled=bool(answered), annotators=min(counts, default=0))


def _rows(source: OwnLines | OwnTable) -> Iterator[Row]:
    return iter(source.rows(source.home, Split(SPLIT, expected=0)))


def _kind(rows: Sequence[Row], answered: Sequence[Row]) -> AnswerKind:
    named = {row.text("kind") for row in rows if row.has("kind") and row.raw("kind")}
    if named:
        first = next(row for row in rows if row.has("kind") and row.raw("kind"))
        if len(named) > 1 or not named <= set(get_args(AnswerKind)):
            raise first.bad(f"'kind' must be one of {', '.join(get_args(AnswerKind))}, the same in every row")
        return named.pop()  # type: ignore[return-value]
    if any(own_rows.options(row) for row in rows):
        return "choice"
    if not any(row.has("question") and row.raw("question") for row in rows):
        return "caption"
    answers = {text.strip().lower() for row in answered for text in own_rows.answers(row)}
    return "yes_no" if answers and answers <= set(YES_NO) else "short_answer"


def _default_metrics(shape: Shape) -> tuple[str, ...]:
    if shape.kind == "short_answer" and shape.annotators == ANNOTATORS:
        return ("vqa_accuracy@2021", *DEFAULTS["short_answer"])
    return DEFAULTS[shape.kind]


def _refuse_unfit(chosen: Sequence[str], shape: Shape, file: Path) -> None:
    known = {name: kind for kind, names in METRICS.items() for name in names}
    for name in chosen:
        bare = name.partition("@")[0]
        catalog.metrics().file(bare)
        if known.get(bare, shape.kind) != shape.kind:
            fit = ", ".join(METRICS[shape.kind])
            raise WrongUse(f"--metrics {name} is not for the answers of {file} ({shape.kind}); those have {fit}")
        if bare == "vqa_accuracy" and shape.annotators < ANNOTATORS:
            raise WrongUse(
                f"--metrics {name} needs {ANNOTATORS} answers to each question of {file}, and one has "
                f"{shape.annotators}; answer_accuracy takes any number"
            )
