"""``data fetch``: the official files of a benchmark, into the layout that the sources read."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from anymal_eval.errors import StorageFull
from anymal_eval.locks import hold
from anymal_eval.media.location import safe_path
from anymal_eval.sources.downloading import Patience, download
from anymal_eval.sources.unpacking import WORK, unpack
from anymal_eval.task import ByHand, Download, Split, Task

Progress = Callable[[str, int, int], AbstractContextManager[Callable[[int], None]]]
"""Shows a download: its name, the total in MiB, and how many of these are done."""

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class FetchPlan:
    """What ``data fetch`` would do for a split.

    Attributes:
        root: ``DIR/<task>``.
        lacking: files to fetch.
        there: names below the root that are there already, and stay as they are.
        by_hand: what a browser must fetch.
    """

    root: Path
    lacking: tuple[Download, ...]
    there: tuple[str, ...] = ()
    by_hand: tuple[ByHand, ...] = ()

    def lines(self) -> Iterator[str]:
        """What the plan does, for the user to agree to."""
        for name in self.there:
            yield f"  there already: {self.root / name}"
        for wanted in self.lacking:
            yield f"  {wanted.url}"
            yield f"      {_size(wanted)}, {_checked(wanted)}; makes {', '.join(wanted.targets)}"
        for each in self.by_hand:
            yield f"  not fetched: {each.what}: {each.why}: {each.address}"


def fetch_plan(task: Task, split: Split, data_root: Path, *, annotations: bool = False) -> FetchPlan:
    """What is lacking of a split.

    Args:
        task: the benchmark.
        split: one of its splits.
        data_root: ``DIR``.
        annotations: leave media out.

    Raises:
        BadData: what is there is a link out of the data folder.
    """
    root = data_root / task.name
    wanted = [each for each in task.downloads if not each.splits or split.name in each.splits]
    wanted = [each for each in wanted if not (annotations and each.media)]
    lacking = tuple(each for each in wanted if not _is_there(root, each))
    there = [name for each in wanted if each not in lacking for name in each.targets]
    by_hand = [each for each in task.by_hand if not each.splits or split.name in each.splits]
    by_hand = [each for each in by_hand if not _holds(root, each.what)]
    return FetchPlan(root=root, lacking=lacking, there=tuple(there), by_hand=tuple(by_hand))


def fetch(
    plan: FetchPlan,
    progress: Progress,
    *,
    mirror: str = "",
    keep_archives: bool = False,
    patience: Patience | None = None,
) -> list[str]:
    """Fetch and unpack what is lacking.

    Args:
        plan: of :func:`fetch_plan`.
        progress: shows each download.
        mirror: a base address in place of the published ones.
        keep_archives: leave archives in ``DIR/<task>/.downloads`` after they are unpacked.
        patience: with slow servers.

    Returns:
        What is there now, below the root.

    Raises:
        BadData: a server gives something else, or an archive is damaged or hostile.
        IncompleteRun: a connection is cut again and again. StorageFull: there is too little space.
        OtherRun: another command works on the folder.
    """
    _require_space(plan)
    work = plan.root / WORK
    work.mkdir(parents=True, exist_ok=True)
    made: list[str] = []
    with hold(work / "lock", f"another command fetches into {plan.root}; wait for it"):
        for wanted in plan.lacking:
            file = work / _name(wanted)
            if not file.is_file():
                _download(wanted, file, progress, mirror, patience)
            if wanted.to:
                target = safe_path(plan.root, wanted.to)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, target)
                made.append(wanted.to)
                continue
            got = unpack(file, wanted.members, plan.root)
            made += [wanted.members[name] for name in got]
            if not keep_archives:
                file.unlink()
    with contextlib.suppress(OSError):  # an archive is kept, or another command waits
        work.rmdir()
    return made


def licence_line(documentation: str) -> str:
    r"""The line on the licence in the text of a task's file; empty where it has none.

    >>> licence_line("VQAv2: ...\n\nLicence   CC BY 4.0; pictures under\n          other terms\nPaper     ...")
    'CC BY 4.0; pictures under other terms'
    """
    found: list[str] = []
    for line in documentation.splitlines():
        if line.startswith("Licence") or (found and line.startswith(" ")):
            found.append(line.removeprefix("Licence").strip())
        elif found:
            break
    return " ".join(found)


def _download(wanted: Download, file: Path, progress: Progress, mirror: str, patience: Patience | None) -> None:
    done = 0
    total = -(-(wanted.size or 0) // MIB)
    with progress(_name(wanted), total, 0) as advance:

        def count(size: int) -> None:
            nonlocal done
            before, done = done // MIB, done + size
            if done // MIB != before:
                advance(done // MIB - before)

        download(wanted, file, count, mirror=mirror, patience=patience)


def _require_space(plan: FetchPlan) -> None:
    """A file needs its size, and an archive once more as much while it is unpacked."""
    place = next(each for each in (plan.root.absolute(), *plan.root.absolute().parents) if each.exists())
    need = sum((each.size or 0) * (1 if each.to else 2) for each in plan.lacking)
    free = shutil.disk_usage(place).free
    if need > free:
        raise StorageFull(
            f"{plan.root}: {need / MIB:,.0f} MiB are needed, and {free / MIB:,.0f} MiB are free: make space"
        )


def _is_there(root: Path, wanted: Download) -> bool:
    # An archive that was not unpacked to its end is still there.
    return not (root / WORK / _name(wanted)).exists() and all(_holds(root, name) for name in wanted.targets)


def _holds(root: Path, name: str) -> bool:
    """Whether a file, or a folder with something in it, is there; of ``*.jsonl and img/`` the last word counts."""
    name = name.rpartition(" ")[2]
    path = safe_path(root, name.rstrip("/"))
    if not name.endswith("/"):
        return path.is_file()
    return path.is_dir() and any(path.iterdir())


def _name(wanted: Download) -> str:
    return urlsplit(wanted.url).path.rpartition("/")[2]


def _size(wanted: Download) -> str:
    return f"{wanted.size / MIB:,.1f} MiB" if wanted.size else "its size is not published"


def _checked(wanted: Download) -> str:
    return f"checked by SHA-256 ({wanted.cited})" if wanted.sha256 else "no checksum is published"
