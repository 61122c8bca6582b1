"""Accepted runs: tracked baselines. Their scores are compressed; they hold no media and no responses."""

import gzip
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from anymal_eval.errors import NotInCatalog, OtherRun
from anymal_eval.store import digests
from anymal_eval.store.atomic import storage_errors, write_atomic
from anymal_eval.store.manifest import Manifest
from anymal_eval.store.stored import StoredRun, open_run

ACCEPTED = Path("results") / "accepted"
PLAIN = ("manifest.json", "results.json", digests.FILE)


def accept(run: StoredRun, folder: Path, *, replace: bool = False) -> Path:
    """Copy a run to ``folder/<its name>``.

    Args:
        run: verified by ``open_run``.
        folder: the folder of the accepted runs.
        replace: remove accepted runs of the same model, tasks and conditions.

    Raises:
        OtherRun: another run of the same kind is accepted and ``replace`` is not set, or it holds more tasks.
    """
    manifest = run.manifest
    target = folder / manifest.run
    rivals = [other for other in accepted_runs(folder) if other.root != target and _rivals(manifest, other.manifest)]
    if rivals and not replace:
        named = ", ".join(str(rival.root) for rival in rivals)
        raise OtherRun(f"{named} is the accepted run of {manifest.identity['model']} there; give --replace")
    before = [StoredRun(target)] if (target / "manifest.json").is_file() else []
    for rival in (*before, *rivals):
        lost = sorted(rival.manifest.tasks.keys() - manifest.tasks.keys())
        if lost:
            raise OtherRun(f"{rival.root} holds {', '.join(lost)} too, which {run.root} does not; accept a whole run")
    draft = folder / f".{manifest.run}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    with storage_errors(draft):
        _copy(run, draft)
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
    for rival in rivals:
        shutil.rmtree(rival.root)
    return target


def _copy(run: StoredRun, draft: Path) -> None:
    draft.mkdir(parents=True)
    for name in PLAIN:
        write_atomic(draft / name, digests.content(run.root, name))
    for task in run.manifest.tasks:
        (draft / task).mkdir()
        scores = digests.content(run.root, f"{task}/scores.jsonl")
        # Without a timestamp in the gzip header the same scores give the same bytes.
        write_atomic(draft / task / "scores.jsonl.gz", gzip.compress(scores, 9, mtime=0))
        write_atomic(draft / task / "statistics.npz", digests.content(run.root, f"{task}/statistics.npz"))


def accepted_runs(folder: Path) -> list[StoredRun]:
    """All accepted runs, sorted by name; their digests are not verified."""
    return [StoredRun(file.parent) for file in sorted(folder.glob("[!.]*/manifest.json"))]


def find(name: str, like: Manifest, folder: Path) -> Mapping[str, StoredRun]:
    """The accepted run of a model for each task, under the conditions of another run.

    Args:
        name: the value of ``--model``, with or without the checkpoint's name; or the accepted run's own name.
        like: the run to compare with; task, data, split, limit, protocol and ablation must match.
        folder: the folder of the accepted runs.

    Raises:
        NotInCatalog: no run of that name is accepted for any of the tasks.
        OtherRun: a task has several.
    """
    known = accepted_runs(folder)
    runs = [run for run in known if name in _names(run.manifest)]
    runs = runs or [run for run in known if name == str(run.manifest.identity["model"]).partition(":")[0]]
    found: dict[str, StoredRun] = {}
    for run in runs:
        for task in run.manifest.tasks.keys() & like.tasks.keys():
            if _conditions(run.manifest, task) != _conditions(like, task):
                continue
            if task in found:
                both = f"{found[task].root} and {run.root}"
                raise OtherRun(f"{task}: {both} are both accepted runs of {name}; name one of these folders")
            found[task] = run
    if not found:
        there = ", ".join(sorted({name for run in known for name in _names(run.manifest)})) or "nothing"
        raise NotInCatalog(
            f"no run folder and no accepted run named {name!r} with one of the tasks {', '.join(like.tasks)} under the "
            f"same data, split, limit and protocol; accepted in {folder}: {there}"
        )
    opened = {root: open_run(root) for root in {run.root for run in found.values()}}
    return {task: opened[run.root] for task, run in found.items()}


def _names(manifest: Manifest) -> tuple[str, str]:
    return manifest.run, str(manifest.identity["model"])


def _rivals(one: Manifest, other: Manifest) -> bool:
    shared: Iterable[str] = one.tasks.keys() & other.tasks.keys()
    same_model = one.identity["model"] == other.identity["model"]
    return same_model and any(_conditions(one, task) == _conditions(other, task) for task in shared)


def _conditions(manifest: Manifest, task: str) -> tuple[Any, ...]:
    entry = manifest.tasks[task]
    return entry.data, entry.split, entry.limit, entry.protocol, manifest.identity.get("ablate", "none")
