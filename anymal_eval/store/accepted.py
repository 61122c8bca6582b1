"""Accepted runs: tracked baselines. Their scores are compressed; they hold no media and no responses."""

import contextlib
import hashlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anymal_eval import paths
from anymal_eval.codec import decode, encode, read_json, write_json
from anymal_eval.errors import NotInCatalog, OtherRun, StorageFull, WrongUse
from anymal_eval.locks import hold
from anymal_eval.paths import inside
from anymal_eval.store import digests
from anymal_eval.store.atomic import storage_errors, write_atomic
from anymal_eval.store.manifest import Manifest
from anymal_eval.store.packed import pack
from anymal_eval.store.stored import StoredRun, open_run

ACCEPTED = paths.accepted()
PLAIN = ("manifest.json", "results.json", digests.FILE)
PER_TASK = ("scores.jsonl.gz", "statistics.npz")
# What a swap keeps beside NAME until it ends: .NAME.draft the new run, .NAME.older the one before, .NAME.removed what
# is being deleted, .NAME.replaces a list of the runs that go once NAME is new.
_UNFINISHED = re.compile(r"\.([^.].*)\.(draft|older|removed|replaces)")


@dataclass(frozen=True)
class _Replaced:
    """The SHA-256 of the new run's ``digests.json``, and the names of the accepted runs that it replaces."""

    new: str
    runs: tuple[str, ...]


def accept(run: StoredRun, folder: Path, *, replace: bool = False) -> Path:
    """Copy a run to ``folder/<its name>``. A process that is killed leaves the baseline of before, or the new one.

    Args:
        run: verified by ``open_run``.
        folder: the folder of the accepted runs.
        replace: remove accepted runs of the same model, tasks and conditions.

    Raises:
        OtherRun: another run of the same kind is accepted and ``replace`` is not set, it holds more tasks, a folder
            to replace holds other files, or another process is accepting a run.
        BadData: the run's name is no name for a folder.
    """
    manifest = run.manifest
    target = inside(folder, manifest.run)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, wait=False):
        _recover(folder)
        rivals = [other for other in _listed(folder) if other.root != target and _rivals(manifest, other.manifest)]
        if rivals and not replace:
            named = ", ".join(str(rival.root) for rival in rivals)
            raise OtherRun(f"{named} is the accepted run of {manifest.identity['model']} there; give --replace")
        before = [StoredRun(target)] if target.exists() else []
        for rival in (*before, *rivals):
            _require_replaceable(rival, run)
        with storage_errors(target):
            _copy(run, _beside(target, "draft"))
            replaced = _Replaced(_mark(_beside(target, "draft")), tuple(rival.root.name for rival in rivals))
            write_atomic(_beside(target, "replaces"), write_json(encode(replaced)))
            if before:
                target.rename(_beside(target, "older"))
            _beside(target, "draft").rename(target)
            _recover(folder)
    return target


def _require_replaceable(rival: StoredRun, run: StoredRun) -> None:
    _require_ours(rival.root)
    models = [str(each.manifest.identity["model"]) for each in (rival, run)]
    if models[0] != models[1]:
        raise OtherRun(f"{rival.root} is a run of {models[0]}, and {run.root} of {models[1]}; its manifest is wrong")
    lost = sorted(rival.manifest.tasks.keys() - run.manifest.tasks.keys())
    if lost:
        raise OtherRun(f"{rival.root} holds {', '.join(lost)} too, which {run.root} does not; accept a whole run")


def _copy(run: StoredRun, draft: Path) -> None:
    draft.mkdir(parents=True)
    for name in PLAIN:
        write_atomic(
            draft / name, digests.accepted(run.root) if name == digests.FILE else digests.content(run.root, name)
        )
    for task in run.manifest.tasks:
        inside(draft, task).mkdir()
        scores = digests.content(run.root, f"{task}/scores.jsonl")
        _require_readable(run, task, len(scores))
        write_atomic(inside(draft, task, "scores.jsonl.gz"), pack(scores))
        write_atomic(inside(draft, task, "statistics.npz"), digests.content(run.root, f"{task}/statistics.npz"))


def _require_readable(run: StoredRun, task: str, size: int) -> None:
    most = digests.limit(run.sizes, f"{task}/scores.jsonl")
    if size > most:
        raise WrongUse(
            f"{run.root / task / 'scores.jsonl'} has {size:,} bytes: an accepted run of its size holds {most:,}"
        )


def _beside(target: Path, what: str) -> Path:
    return target.with_name(f".{target.name}.{what}")


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[None]:
    # Beside the folder, which holds accepted runs alone and is tracked.
    busy = "" if wait else f"{folder}: another process is accepting a run; wait for it"
    with storage_errors(folder), hold(folder.with_name(f".{folder.name}.lock"), busy):
        yield


def _recover(folder: Path) -> None:
    """Finish the swaps that took place, and undo those that a kill stopped before. The folder is locked."""
    for journal in folder.glob("..*.replaces.draft"):  # write_atomic's
        journal.unlink()
    left: dict[str, set[str]] = {"draft": set(), "older": set(), "removed": set(), "replaces": set()}
    for file in folder.iterdir():
        found = _UNFINISHED.fullmatch(file.name)
        if found:
            left[found[2]].add(found[1])
    for name in sorted(left["older"]):
        target = inside(folder, name)
        if not target.exists() and _foreign(_beside(target, "older")) is None:
            _beside(target, "older").rename(target)
    for name in sorted(left["replaces"]):
        target = inside(folder, name)
        journal = _beside(target, "replaces")
        replaced = decode(_Replaced, read_json(journal), str(journal))
        if _mark(target) == replaced.new:
            for rival in replaced.runs:
                _discard(inside(folder, rival))
        journal.unlink()
    for what in ("draft", "older", "removed"):
        for name in sorted(left[what]):
            _delete(_beside(inside(folder, name), what))


def _mark(root: Path) -> str:
    file = root / digests.FILE
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def _discard(root: Path) -> None:
    """Delete an accepted run. It leaves the list at once, not file by file."""
    if root.exists():
        _require_ours(root)
        _delete(_beside(root, "removed"))
        root.rename(_beside(root, "removed"))
        _delete(_beside(root, "removed"))


def _delete(root: Path) -> None:
    """Delete what a swap left.

    Raises:
        OtherRun: it holds files that are none of ours.
    """
    if root.exists() or root.is_symlink():
        foreign = _foreign(root)
        if foreign is not None:
            raise OtherRun(f"{foreign} is no file of an accepted run: {root} is left as it is; move it away")
        shutil.rmtree(root)


def _foreign(root: Path) -> Path | None:
    """Something in a folder that ``accept`` does not write; None where there is nothing."""
    if root.is_symlink() or not root.is_dir():
        return root
    for path in root.rglob("*"):
        name = re.sub(r"^\.(.+)\.draft$", r"\1", path.name)
        known = {1: PLAIN, 2: PER_TASK}.get(len(path.relative_to(root).parts), ())
        is_task = path.parent == root and path.is_dir()
        if path.is_symlink() or not (is_task or (name in known and path.is_file())):
            return path
    return None


def _require_ours(root: Path) -> None:
    """Ensure that a folder is an accepted run and holds nothing else, before it is replaced.

    Raises:
        OtherRun, BadData, MissingData: it is none, or it holds other files.
    """
    foreign = _foreign(root) if (root / "manifest.json").is_file() else root
    if foreign is None:
        tasks = StoredRun(root).manifest.tasks
        foreign = next((each for each in root.iterdir() if each.is_dir() and each.name not in tasks), None)
    if foreign is not None:
        raise OtherRun(f"{foreign} is no part of an accepted run: {root} is left as it is; move it away")
    digests.read(root)


def accepted_runs(folder: Path) -> list[StoredRun]:
    """All accepted runs, sorted by name; their digests are not verified. A swap that a kill stopped is recovered."""
    if any(folder.glob(".*.older")) or any(folder.glob(".*.replaces")):
        # Where the folder is read-only, or holds what is none of ours, the list names what can be read.
        with contextlib.suppress(WrongUse, StorageFull), _locked(folder, wait=True):
            _recover(folder)
    return _listed(folder)


def _listed(folder: Path) -> list[StoredRun]:
    found = {file.parent.name: file.parent for file in folder.glob("[!.]*/manifest.json")}
    for older in folder.glob(".*.older"):
        name = older.name.removeprefix(".").removesuffix(".older")
        if not (folder / name).exists() and (older / "manifest.json").is_file():
            found[name] = older
    return [StoredRun(found[name]) for name in sorted(found)]


def base_runs(name: str, like: Manifest, folder: Path) -> Mapping[str, StoredRun]:
    """The runs to compare with, by task: a run folder, or a model's accepted runs as :func:`find` gives them."""
    if not Path(name).exists():
        return find(name, like, folder)
    base = open_run(Path(name))
    return dict.fromkeys(base.manifest.tasks, base)


def find(name: str, like: Manifest, folder: Path) -> Mapping[str, StoredRun]:
    """The accepted run of a model for each of its tasks, under the conditions of another run.

    Tasks that the other run lacks are among them.

    Args:
        name: the value of ``--model``, with or without the checkpoint's name; or the accepted run's own name.
        like: the run to compare with; task, data, split, limit, protocol and ablation must match.
        folder: the folder of the accepted runs.

    Raises:
        NotInCatalog: no run of that name is accepted for any of the tasks.
        OtherRun: a task has several, or the runs are of several models.
    """
    known = accepted_runs(folder)
    runs = [run for run in known if name in _names(run.manifest)]
    runs = runs or [run for run in known if name == str(run.manifest.identity["model"]).partition(":")[0]]
    fitting = {run.root: tasks for run in runs if (tasks := _fitting(run.manifest, like))}
    shared = [task for tasks in fitting.values() for task in tasks if task in like.tasks]
    if not shared:
        there = ", ".join(sorted({name for run in known for name in _names(run.manifest)})) or "nothing"
        raise NotInCatalog(
            f"no run folder and no accepted run named {name!r} with one of the tasks {', '.join(like.tasks)} under the "
            f"same data, split, limit and protocol; accepted in {folder}: {there}"
        )
    models = {str(run.manifest.identity["model"]) for run in runs if run.root in fitting}
    twice = sorted({task for task in shared if shared.count(task) > 1})
    if twice or len(models) > 1:
        which = [f"{run.root} ({run.manifest.identity['model']})" for run in runs
                 if run.root in fitting and (len(models) > 1 or set(twice) & set(fitting[run.root]))]  # fmt: skip
        what = f"{', '.join(twice)}: " if twice else ""
        raise OtherRun(f"{what}{' and '.join(which)} are accepted runs of {name}; name one of these folders")
    opened = {root: open_run(root) for root in fitting}
    return {task: opened[root] for root, tasks in fitting.items() for task in tasks}


def _fitting(manifest: Manifest, like: Manifest) -> list[str]:
    """The tasks of an accepted run under the conditions of another run; those that it lacks too, of such a run."""
    shared = [
        task for task in manifest.tasks if task in like.tasks and _conditions(manifest, task) == _conditions(like, task)
    ]
    keys = ("data", "split", "limit", "protocol", "ablate")
    same = all(manifest.identity.get(key) == like.identity.get(key) for key in keys)
    return shared + [task for task in manifest.tasks if task not in like.tasks and (shared or same)]


def _names(manifest: Manifest) -> tuple[str, str]:
    return manifest.run, str(manifest.identity["model"])


def _rivals(one: Manifest, other: Manifest) -> bool:
    shared: Iterable[str] = one.tasks.keys() & other.tasks.keys()
    same_model = one.identity["model"] == other.identity["model"]
    return same_model and any(_conditions(one, task) == _conditions(other, task) for task in shared)


def _conditions(manifest: Manifest, task: str) -> tuple[Any, ...]:
    entry = manifest.tasks[task]
    return entry.data, entry.split, entry.limit, entry.protocol, manifest.identity.get("ablate", "none")
