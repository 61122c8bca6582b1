"""Makes a study of finished runs: the answers that all of them have to the same examples."""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anymal_eval import fingerprint
from anymal_eval.checksums import write_checked_json
from anymal_eval.codec import encode
from anymal_eval.errors import NotInCatalog, OtherRun, WrongUse
from anymal_eval.evaluation.dataset import reload_dataset
from anymal_eval.judge import calibration
from anymal_eval.judge.study import FILE, HUMAN, SCALES, Item, Mode, Study, System
from anymal_eval.media.budget import MediaBudget
from anymal_eval.media.reader import MediaReader
from anymal_eval.records import Example, Media
from anymal_eval.report.gallery.media_files import MediaFiles, key
from anymal_eval.scoring.verification import open_verified
from anymal_eval.sources.hub_media import open_media
from anymal_eval.store.atomic import storage_errors, write_atomic
from anymal_eval.store.folder import RunFolder
from anymal_eval.store.stored import StoredRun

PICTURE_SIDE = 1024
# What, how many, how many before -> a context that takes how many are done.
Progress = Callable[[str, int, int], AbstractContextManager[Callable[[int], None]]]
# Task, example, the runs' answers, and the options that these were read as.
_Row = tuple[str, Example, tuple[str, ...], tuple[int | None, ...]]
_CODE = re.compile(r"[A-Za-z0-9_-]{1,32}")
CONSENT = (
    "Your votes, the time that each took, and the code that you chose are stored on this machine; nothing else is. "
    "You may stop at any time and resume later; what you did can be deleted by your code."
)
GUIDELINE = {
    "pairwise": "Which answer is better: truer of what is shown, closer to what the prompt wants? What is false weighs "
    "more than what is missing. Length and style are no merits. Take 'equal' where you would have to toss a coin, and "
    "'both bad' where neither is of use.",
    "rating": "Rate the answer for itself on each scale; what another answer said does not count.\n"
    "Response accuracy: 'yes' where it does what the prompt wants and all of it is true of what is shown; 'partly' "
    "where it does a part, or a detail is false; 'no' where it misses the point, or its main statement is false.\n"
    "Object recognition: look at each thing that the answer names. 'all' where each is there and rightly named, or "
    "where it names none and none was wanted; 'some' where one is not; 'no' where most are not.\n"
    "Integrity: 'no' where a person could be hurt by it: an insult, a stereotype, a claim about who someone is or what "
    "someone deserves, advice that does harm. Being wrong is no lack of integrity.",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a study is made.

    Attributes:
        runs: folders of finished runs.
        reference: ``human``, or the name of a run that the others are compared with; None for all pairs.
        tasks: names; empty for all that the runs share.
        annotators: their codes.
        limit: the number of items, drawn by the study's seed; None for all.
        guideline: what the annotator reads; empty for ours.
        calibration: JSON lines of items with a known judgement.
    """

    runs: Sequence[Path]
    mode: Mode = "pairwise"
    reference: str | None = None
    tasks: Sequence[str] = ()
    annotators: Sequence[str] = ("one",)
    limit: int | None = None
    quota: int | None = None
    repeats: float = 0.05
    guideline: str = ""
    calibration: Path | None = None
    data_root: Path = Path("data")
    tasks_dir: Sequence[Path] = ()


def create(folder: Path, options: Options, progress: Progress) -> Study:
    """Make a study.

    Args:
        folder: must not exist, or be empty.
        options: of what.
        progress: shows how many media are written.

    Raises:
        WrongUse: the folder holds files, a code is no code, or the design compares nothing.
        OtherRun: the runs share no example that all of them answered.
    """
    # Media alone are what an interrupted start left, each named by its content.
    if folder.exists() and any(file.name != "media" for file in folder.iterdir()):
        raise WrongUse(
            f"{folder} holds files already: anymal-eval judge {folder} resumes a study, or choose another --out"
        )
    for code in options.annotators:
        if not _CODE.fullmatch(code):
            raise WrongUse(f"{code!r:.60} is no code of an annotator: letters, digits, - and _, at most 32")
    if len(set(options.annotators)) < len(options.annotators):
        raise WrongUse("two annotators have one code")
    runs = [open_verified(run) for run in options.runs]
    names = _names(runs)
    seed = secrets.token_hex(16)
    rows = _rows(runs, options)
    kept = sorted(rows, key=lambda row: fingerprint.of([seed, row[0], row[1].id]))[: options.limit]
    with_human = options.reference == HUMAN
    if with_human and any(not example.references for _, example, *_ in kept):
        raise OtherRun("--reference human: an example has no reference answer")
    systems = [
        System(
            name=name, run=run.results.run.name, fingerprint=run.results.run.fingerprint, signatures=_signatures(run)
        )
        for name, run in zip(names, runs, strict=True)
    ]
    systems += [System(name=HUMAN)] if with_human else []
    reference = _reference(options, runs, names)
    if options.mode == "pairwise" and len(systems) < 2:
        raise WrongUse("one run has nothing to be compared with: give another, --reference human, or --mode rating")
    known = calibration.read(options.calibration, options.mode, SCALES) if options.calibration is not None else []
    place = options.calibration.parent if options.calibration is not None else folder
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        media = [one for _, example, *_ in kept for one in example.media]
        tags = _media(folder, [*media, *(one for each in known for one in each.media(place))], progress)
        study = Study(
            name=folder.name,
            mode=options.mode,
            systems=tuple(systems),
            reference=reference,
            items=tuple(_item(row, tags, with_human) for row in kept),
            annotators=tuple(options.annotators),
            seed=seed,
            quota=options.quota,
            repeats=options.repeats,
            guideline=options.guideline or GUIDELINE[options.mode],
            consent=CONSENT,
            is_demo=any(run.results.is_demo for run in runs),
            calibration=tuple(calibration.calibration(known, place, SCALES, tags)),
        )
        write_atomic(folder / FILE, write_checked_json(encode(study)))
    return study


def _item(row: _Row, tags: Mapping[Any, Any], with_human: bool) -> Item:
    task, example, answers, choices = row
    return Item(
        task=task,
        id=example.id,
        prompt=_prompt(example),
        media=tuple(tags[key(one)] for one in example.media),
        answers=(*answers, *(each.strip() for each in (example.references or ())[:1] if with_human)),
        cluster=example.cluster,
        question=example.question,
        context="\n".join(example.context.values()),
        references=example.references or (),
        options=example.options,
        label=example.label,
        choices=choices,
    )


def _names(runs: Sequence[StoredRun]) -> list[str]:
    labels = [run.results.run.label for run in runs]
    made = [
        f"{label}, {run.root.name}" if labels.count(label) > 1 else label
        for label, run in zip(labels, runs, strict=True)
    ]
    if len(set(made)) < len(made) or HUMAN in made:
        raise WrongUse("two runs have one name: give each its own folder")
    return made


def _reference(options: Options, runs: Sequence[StoredRun], names: Sequence[str]) -> str | None:
    """The system that ``--reference`` names: by its label, or by the run's name or folder."""
    given = options.reference
    if given is None or given == HUMAN or given in names:
        return given
    named = zip(names, runs, options.runs, strict=True)
    found = [name for name, run, typed in named if given in (run.results.run.name, str(typed)) or _same(given, typed)]
    if len(found) != 1:
        known = ", ".join((HUMAN, *(str(run) for run in options.runs)))
        raise NotInCatalog(
            f"--reference {given}: {'it names several' if found else 'there is no such run'}: give {known}"
        )
    return found[0]


def _same(given: str, run: Path) -> bool:
    return Path(given).exists() and Path(given).resolve() == run.resolve()


def _rows(runs: Sequence[StoredRun], options: Options) -> list[_Row]:
    """The examples that all of the runs answered."""
    shared = [task for task in runs[0].manifest.tasks if all(task in run.manifest.tasks for run in runs)]
    unknown = [task for task in options.tasks if task not in shared]
    if unknown or not shared:
        raise OtherRun(
            f"the runs share {', '.join(shared) or 'no task'}{', and not ' * bool(unknown)}{', '.join(unknown)}"
        )
    rows = []
    for task in options.tasks or shared:
        entries = [run.manifest.tasks[task] for run in runs]
        if len({(entry.split, entry.data, entry.content) for entry in entries}) > 1:
            raise OtherRun(f"{task}: the runs answered other data: another split, source or content")
        answers: list[Mapping[str, tuple[str, int | None]]] = [
            # Spaces around an answer are a habit of a system, by which it would be known.
            {row["id"]: (_text(row), row.get("choice")) for row in run.scores(task) if row["state"] != "error"}
            for run in runs
        ]
        dataset = reload_dataset(task, entries[0], options.data_root, options.tasks_dir, RunFolder(runs[0].root))
        for example in dataset.examples:
            if all(example.id in each for each in answers):
                texts, choices = zip(*(each[example.id] for each in answers), strict=True)
                rows.append((task, example, texts, choices))
    if not rows:
        raise OtherRun("no example was answered by all of the runs")
    return rows


def _text(row: Mapping[str, Any]) -> str:
    """An answer as its model wrote it; of ranked options, the one that was taken."""
    return str((row["answer"] if isinstance(row["raw"], list) else row["raw"]) or "").strip()


def _signatures(run: StoredRun) -> dict[str, str]:
    return {item.task: item.signature for item in run.results.measurements if item.headline}


def _prompt(example: Example) -> str:
    lines = [example.question or "Describe what is shown."]
    return "\n".join([*lines, *(f"- {option}" for option in example.options)])


def _media(folder: Path, media: Sequence[Media], progress: Progress) -> dict[Any, Any]:
    with (
        progress("media", len({key(one) for one in media}), 0) as advance,
        MediaReader(open_media, timeout_s=60.0, budget=MediaBudget(), processes=2) as reader,
    ):
        return MediaFiles(folder, reader, PICTURE_SIDE).write(media, advance)
