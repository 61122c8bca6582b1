"""``data doctor`` and ``data link``: what is lacking in ``DIR/<task>``, where it is, and how it gets there."""

import difflib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from anymal_eval.errors import AnyMALEvalError, listed, shown_path
from anymal_eval.media.location import allowing
from anymal_eval.records import Example
from anymal_eval.sources.alternatives import Index
from anymal_eval.sources.check import media_findings
from anymal_eval.sources.clips import NEXTQA_VIDEOS
from anymal_eval.sources.fetching import fetch_plan
from anymal_eval.sources.linking import How, Placed, place
from anymal_eval.sources.load import load_examples, missing_media
from anymal_eval.sources.unpacking import WORK, holds, is_archive, unpack
from anymal_eval.task import DataFile, Split, Task

SHOWN = 3
_COCO = re.compile(r"(?:train|val|test)20\d\d/")
NEAR = 0.8  # difflib's ratio from which a name is offered
_PARTIAL = (".part", ".crdownload", ".aria2", ".partial", ".download")
_COPIES = ("{stem} (1){end}", "{stem}(1){end}", "{stem}-1{end}", "{stem}{end}{end}", "{stem}{end}.txt")


@dataclass(frozen=True, kw_only=True)
class Symptom:
    """One thing that is wrong.

    Attributes:
        what: in a line.
        remedy: what to do, in a line.
        fix: does it, and returns what it did; None where a person must. It deletes and replaces nothing.
    """

    what: str
    remedy: str
    fix: Callable[[], str] | None = None


def diagnose(task: Task, split: Split, data_root: Path) -> Iterator[Symptom]:
    """What is wrong with the files of a split, one symptom at a time, so that a fix may come before the next.

    Args:
        task: the benchmark.
        split: one of its splits.
        data_root: ``DIR``.
    """
    root = data_root / task.name
    if (moved := _is_task_folder(task, split, data_root)) is not None:
        yield moved
        return
    places = [each for each in (root, data_root) if each.is_dir()]
    shared = [each for each in _children(data_root) if each.is_dir() and each.name != task.name]
    yield from _files(task, split, _Source(root=root, places=[root], archives=_archives(places), shared=shared))
    yield from _partial_files(root)
    yield from _media(task, split, data_root, [root], "auto")


def links(task: Task, split: Split, data_root: Path, source: Path, how: How = "auto") -> Iterator[Symptom]:
    """What lies in another folder, to be placed into ``DIR/<task>``; arguments as for :func:`diagnose`.

    Args:
        task: the benchmark.
        split: one of its splits.
        data_root: ``DIR``.
        source: the other folder, in any layout.
        how: how it is placed.
    """
    root = data_root / task.name
    with allowing(source):
        found = _files(task, split, _Source(root=root, places=[source], how=how))
        yield from (each for each in found if each.fix is not None)
        yield from (each for each in _media(task, split, data_root, [source], how) if each.fix is not None)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where lacking files are looked for, and how they are placed below ``root``.

    ``shared`` are folders of other benchmarks, of which only those of COCO's pictures are taken.
    """

    root: Path
    places: list[Path]
    archives: list[Path] = field(default_factory=list)
    shared: list[Path] = field(default_factory=list)
    how: How = "auto"


def _is_task_folder(task: Task, split: Split, data_root: Path) -> Symptom | None:
    names = [file.name for file in task.official.files(split) if not file.is_folder]
    own = [name for name in names if (data_root / name).is_file()]
    if not own or any((data_root / task.name / name).is_file() for name in names):
        return None
    given = Path(os.path.abspath(data_root))
    what = f"{shown_path(data_root)} holds {own[0]}: it is the folder of {task.name} itself"
    if given.name == task.name:
        return Symptom(what=what, remedy=f"give the folder above it: --data-root {shown_path(given.parent)}")
    other = shown_path(given.parent / "data")
    return Symptom(
        what=what,
        remedy=f"link it into a folder of its own: anymal-eval data link {task.name} --from {shown_path(data_root)} "
        f"--data-root {other}",
    )


def _lacking(root: Path, files: tuple[DataFile, ...]) -> list[DataFile]:
    return [file for file in files if not _is_there(root / file.name, is_folder=file.is_folder)]


def _is_there(path: Path, *, is_folder: bool) -> bool:
    try:
        return any(path.iterdir()) if is_folder else path.is_file()
    except OSError:
        return False


def _expected(task: Task, files: tuple[DataFile, ...]) -> dict[str, dict[str, str]]:
    """For each file and folder of the layout: the names it has in archives and elsewhere."""
    found = {file.name: {file.name: file.name} for file in files}
    for members in [*(each.members for each in task.downloads), *(each.members for each in task.by_hand)]:
        for name, target in members.items():
            if target in found:
                found[target] |= {name: target}
    return found


def _files(task: Task, split: Split, source: _Source) -> Iterator[Symptom]:
    root = source.root
    files = task.official.files(split)
    expected = _expected(task, files)
    unpacked: set[str] = set()
    for file in _lacking(root, files):
        if file.name in unpacked or _is_there(root / file.name, is_folder=file.is_folder):
            continue  # a fix before brought it
        for archive in source.archives:
            symptom = _in_archive(archive, {k: v for names in expected.values() for k, v in names.items()}, file, root)
            if symptom is not None:
                unpacked.add(file.name)
                yield symptom
                break
        else:
            yield from _elsewhere(task, split, file, list(expected[file.name]), source)


def _in_archive(archive: Path, members: Mapping[str, str], file: DataFile, root: Path) -> Symptom | None:
    try:
        found = [
            name
            for name in holds(archive, members)
            if not _is_there(root / members[name], is_folder=name.endswith("/"))
        ]
    except AnyMALEvalError as error:
        return Symptom(what=str(error), remedy="fetch it again") if file.needed else None
    if file.name not in [members[name] for name in found]:
        return None
    wanted = {name: members[name] for name in found}
    what = f"{shown_path(archive)} is not unpacked: it holds {', '.join(sorted(set(wanted.values())))}"

    def fix() -> str:
        unpack(archive, wanted, root)
        if (root / WORK).is_dir() and not any((root / WORK).iterdir()):
            (root / WORK).rmdir()
        return f"unpacked {', '.join(sorted(set(wanted.values())))} into {shown_path(root)}"

    return Symptom(what=what, remedy=f"unpack it into {shown_path(root)}", fix=fix)


def _elsewhere(task: Task, split: Split, file: DataFile, names: list[str], source: _Source) -> Iterator[Symptom]:
    """A file or folder of the layout under another name, or in another place."""
    root, index, target = source.root, Index(source.places), source.root / file.name
    found = _candidates(index, names, file)
    if file.is_folder and _COCO.fullmatch(file.name):
        found += [each / file.name for each in source.shared if _is_there(each / file.name, is_folder=True)]
    found = [each for each in found if not _same(each, target)]
    if found:
        yield _linked(f"{file.name} is {shown_path(found[0])}", found[0], target, source)
        return
    if not file.needed and not file.is_folder:
        if file.name == NEXTQA_VIDEOS and (layout := _vidor(root)) is not None:
            yield layout
        return
    near = [] if file.is_folder else _near(index, Path(file.name).name)
    hint = f"; is it {listed([shown_path(each) for each in near], SHOWN)}?" if near else ""
    plan = fetch_plan(task, split, root.parent)
    by_fetch = any(file.name in each.targets for each in plan.lacking)
    by_hand = next((each for each in plan.by_hand if file.name in (*each.members.values(), *each.what.split())), None)
    remedy = f"put it there (from {file.origin})"
    if by_fetch:
        remedy = f"anymal-eval data fetch {task.name} --split {split.name} --data-root {shown_path(root.parent)}"
    elif by_hand is not None:
        remedy = f"{by_hand.why}: {by_hand.address}"
    yield Symptom(what=f"{file.name} is not in {shown_path(root)}{hint}", remedy=remedy)


def _candidates(index: Index, names: list[str], file: DataFile) -> list[Path]:
    if file.is_folder:
        found = [each for name in names for each in index.folders_named(Path(name.rstrip("/")).name)]
        return [each for each in found if _is_there(each, is_folder=True)]
    paths = [Path(name) for name in names]
    copies = [form.format(stem=each.stem, end=each.suffix) for each in paths for form in _COPIES]
    return [Path(found) for name in [*(each.name for each in paths), *copies] for found in index.named(name)]


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _near(index: Index, name: str) -> list[Path]:
    """Files of nearly the same name. They are shown, not taken: the files of train and val differ by few letters."""
    every = {Path(file).name for folder in index.folders for file in _shallow(folder)}
    close = difflib.get_close_matches(name, sorted(every), n=SHOWN, cutoff=NEAR)
    return [Path(found) for each in close for found in index.named(each)[:1]]


def _shallow(folder: Path) -> Iterator[str]:
    for at, below, names in os.walk(folder):
        if len(Path(at).relative_to(folder).parts) >= 2:
            below.clear()
        if len(names) < 1000:  # more is a folder of media
            yield from (os.path.join(at, name) for name in names)


def _vidor(root: Path) -> Symptom | None:
    """Videos in VidOR's numbered folders, without the file that says which is which."""
    videos = root / "videos"
    numbered = [each for each in _children(videos) if each.is_dir() and each.name.isdecimal()]
    if not numbered or any(each.suffix == ".mp4" for each in _children(videos)):
        return None
    return Symptom(
        what=f"{shown_path(videos)} has VidOR's layout ({numbered[0].name}/...), and {NEXTQA_VIDEOS} is not there",
        remedy=f"fetch it: anymal-eval data fetch {root.name} --annotations --data-root {shown_path(root.parent)}",
    )


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _archives(places: list[Path]) -> list[Path]:
    found = [each for folder in places for each in [*_children(folder), *_children(folder / WORK)]]
    return [each for each in found if is_archive(each.name) and each.is_file()]


def _partial_files(root: Path) -> Iterator[Symptom]:
    found = [each for each in _children(root) if each.name.endswith(_PARTIAL)]
    if found:
        names = listed([each.name for each in found], SHOWN)
        yield Symptom(
            what=f"downloads in {shown_path(root)} are not whole: {names}", remedy="finish them, or fetch again"
        )


def _media(task: Task, split: Split, data_root: Path, places: list[Path], how: How) -> Iterator[Symptom]:
    """Media that the examples name and that lie under other names, and files that are none."""
    root = data_root / task.name
    try:
        examples = load_examples(task, split, "official", data_root)
    except AnyMALEvalError as error:
        if all(_is_there(root / file.name, is_folder=False) for file in task.official.files(split) if file.needed):
            yield Symptom(what=str(error), remedy="mend that file, or move it away and fetch it again")
        return
    if bad := _pages(examples):
        yield bad
    absent = missing_media(examples)
    if not absent:
        return
    index, home = Index(places), str(root.absolute())
    found = {name: other for name in absent if (other := index.like(name.removeprefix(f"{home}/")))}
    pairs = {Path(name): Path(other) for name, other in found.items() if not _same(Path(name), Path(other))}
    if pairs:
        first, under = next(iter(pairs.items()))
        count = f"{len(pairs):,} of {len(absent):,} lacking {task.media} files have other names"
        what = f"{count}: {first.name} is {shown_path(under)}"
        yield Symptom(what=what, remedy=f"link them into {shown_path(root)}", fix=lambda: _place_all(pairs, root, how))
    if rest := [name for name in absent if Path(name) not in pairs]:
        whole = f"{len(rest):,} {task.media} files are nowhere in {listed([shown_path(each) for each in places])}"
        note = f" ({task.lacking_media})" if task.lacking_media else ""
        yield Symptom(what=f"{whole}, first {Path(rest[0]).name}{note}", remedy=_of_media(task, split, data_root))


def _of_media(task: Task, split: Split, data_root: Path) -> str:
    by_hand = next((each for each in task.by_hand if "/" in each.what), None)
    if by_hand is not None:
        return f"{by_hand.why}: {by_hand.address}"
    if any(each.media for each in task.downloads):
        return (
            f"anymal-eval data fetch {task.name} --split {split.name} --data-root {shown_path(data_root)}, or from a "
            f"folder that has them: anymal-eval data link {task.name} --from FOLDER --data-root {shown_path(data_root)}"
        )
    return "put them there"


def _pages(examples: list[Example]) -> Symptom | None:
    for finding in media_findings(examples):
        if "in place of" in finding.what:
            return Symptom(what=str(finding), remedy="move them away and fetch them again")
    return None


def _linked(what: str, found: Path, target: Path, source: _Source) -> Symptom:
    return Symptom(
        what=what,
        remedy=f"link it to {shown_path(target)}",
        fix=lambda: _place_all({target: found}, source.root, source.how),
    )


def _place_all(pairs: Mapping[Path, Path], root: Path, how: How) -> str:
    placed = [found for target, source in pairs.items() if (found := place(source, target, root, how)) is not None]
    kinds = Counter(each.how for each in placed)
    text = ", ".join(f"{count:,} {kind}{'s' * (count > 1)}" for kind, count in kinds.items())
    return (text or "nothing: they are there") + _allowed(placed)


def _allowed(placed: list[Placed]) -> str:
    folders = sorted({each.allow for each in placed if each.allow})
    if not folders:
        return ""
    return f"; commands that read them need {' '.join(f'--allow-links {shown_path(each)}' for each in folders)}"
