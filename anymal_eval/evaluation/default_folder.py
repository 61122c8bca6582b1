"""The run folder where no ``--out`` is given: named after everything that makes a run another run."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval import fingerprint, paths
from anymal_eval.codec import encode
from anymal_eval.errors import BadData, OtherRun, WrongUse
from anymal_eval.sources.dataset import DataOptions
from anymal_eval.store import manifest as manifests
from anymal_eval.store.folder import SAMPLES
from anymal_eval.store.manifest import Manifest

if TYPE_CHECKING:
    from anymal_eval.evaluation.console import Console
    from anymal_eval.evaluation.plan import EvaluationPlan

_MANIFEST = "manifest.json"
# In the manifest's identity already, or no part of what the run is.
_IDENTITY = ("data", "split", "limit", "data_root")
_DEMO = ("demo_examples", "demo_seed")


def place(plan: EvaluationPlan, manifest: Manifest, console: Console) -> tuple[Path, Manifest]:
    """The folder of a run, and its manifest under the run's name there.

    The name follows from the model, its weights, the protocol, the prompts' settings, and which examples are answered.
    A folder that an earlier version named, by fewer of them, is found again where it holds the same run.

    Args:
        plan: without ``out``.
        manifest: of the run, under the name that follows from its identity.
        console: where the folder is named if another run has the usual one.

    Raises:
        WrongUse: ``--name`` is no name for a folder.
    """
    if plan.name is not None:
        return paths.runs() / plan.name, manifest
    earlier, own = manifest, manifest
    more = _more(plan)
    if more:
        label = manifest.run.rpartition("-")[0]
        own = manifests.new({**manifest.identity, **more}, label, {})
        own = replace(manifest, run=own.run)
        root = _root(earlier)
        if (root / _MANIFEST).is_file() and not _differing(root, earlier) and _has_samples(root) == (plan.samples > 1):
            return root, earlier
    root = _root(own)
    differing = _differing(root, own)
    if differing:
        other = replace(own, run=f"{own.run}-{fingerprint.of(differing)[:8]}")
        console.message(f"{root} holds a run over other data or prompts ({', '.join(differing)}): this is {other.run}")
        return _root(other), other
    return root, own


def named(plan: EvaluationPlan, manifest: Manifest, ablate: str) -> Manifest:
    """The manifest under the name of the plan, if it has one.

    Raises:
        WrongUse: it is no name for a folder.
    """
    if plan.name is None:
        return manifest
    try:
        name = paths.safe_name(plan.name, "--name")
    except BadData as error:
        raise WrongUse(str(error)) from None
    return replace(manifest, run=name if ablate == plan.ablate else f"{name}-{ablate}")


def _root(manifest: Manifest) -> Path:
    return paths.inside(paths.runs(), manifest.run)


def _more(plan: EvaluationPlan) -> dict[str, Any]:
    """What tells runs apart and is not in the identity; empty where all of it is as by default."""
    found: dict[str, Any] = {}
    for item in fields(DataOptions):
        value = getattr(plan.data, item.name)
        counts = plan.data.kind == "demo" or item.name not in _DEMO
        if item.name not in _IDENTITY and counts and value != item.default:
            found[item.name] = value
    if plan.samples > 1:
        found["samples"] = plan.samples
    return found


def _has_samples(root: Path) -> bool:
    return (root / SAMPLES).is_dir()


def _differing(root: Path, manifest: Manifest) -> dict[str, Any]:
    """The tasks that a folder holds over other data or prompts, with what they are now; empty for no run, or another.

    A run with another identity is left to the comparison that refuses to resume it.
    """
    file = root / _MANIFEST
    if not file.is_file():
        return {}
    try:
        before = manifests.read(file, verify=False)
    except BadData:
        return {}
    found = {}
    for task in before.tasks.keys() & manifest.tasks.keys():
        try:
            manifests.resumed(replace(before, tasks={task: before.tasks[task]}), manifest)
        except OtherRun:
            found[task] = encode(manifest.tasks[task])
    return dict(sorted(found.items()))
