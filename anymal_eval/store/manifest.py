"""The manifest: everything resolved that could change a number, and the environment of the run."""

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anymal_eval import fingerprint
from anymal_eval.checksums import read_checked_json
from anymal_eval.codec import decode, encode
from anymal_eval.errors import BadData, OtherRun
from anymal_eval.paths import PACKAGE, safe_name
from anymal_eval.store.differences import in_words, model_in_words
from anymal_eval.version import __version__

SCHEMA = 1
PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "datasets",
    "pycocoevalcap",
    "numpy",
    "scipy",
    "statsmodels",
    "pillow",
    "av",
    "soundfile",
    "soxr",
)
# Recorded, but no reason to refuse a resume: it identifies no code that the package version does not identify.
RECORDED_ONLY = frozenset({"git"})
# Of a task's source: where the data lie, and notes on them. The revision and the examples say what they are.
SOURCE_RECORDED_ONLY = frozenset({"id", "notes", "lacking"})
# Another version of this package may resume a run: what changes an example, a prompt, an answer or its reading must
# also change a fingerprint, a task's version or a setting in the manifest, and those are compared.
OWN_VERSION = "anymal_eval"


@dataclass(frozen=True, kw_only=True)
class TaskEntry:
    """One task of a run.

    ``prompts`` and ``examples`` are fingerprints; ``reading`` holds the fields of ``protocols.reading.Reading``,
    ``overrides`` the user's settings of prompts and decoding.
    ``remark`` states what a reader of the number must know about the model, such as that it ran code from the hub.
    ``content`` is a fingerprint of what every copy of the benchmark shares; empty in runs of earlier versions.
    """

    version: int
    split: str
    data: str
    examples: str
    n: int
    n_split: int
    n_expected: int
    labelled: bool
    limit: int | None = None
    subset: str = ""
    protocol: str
    prompts: str
    reading: Mapping[str, Any]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    remark: str = ""
    ablate: str = "none"
    source: Mapping[str, Any] = field(default_factory=dict)
    content: str = ""

    @property
    def data_notes(self) -> tuple[str, ...]:
        """What a reader of the number must know of the data, a sentence each."""
        return tuple(map(str, self.source.get("notes", ())))


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A run. On resume ``identity`` must be the same; ``environment`` may differ only where the user allows it.

    ``model`` records the resolved model: options, revision, processor and weights. Whatever of it changes an answer
    is in the identity's fingerprint.
    """

    schema: int = SCHEMA
    run: str
    identity: Mapping[str, Any]
    environment: Mapping[str, Any]
    model: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, TaskEntry] = field(default_factory=dict)

    @property
    def versions(self) -> list[str]:
        """The versions of anymal_eval that took part, in their order."""
        return str(self.environment.get(OWN_VERSION)).split(", ")


def different_order(prompts: Sequence[str], trained: Sequence[str]) -> str:
    """The remark on prompts whose media are elsewhere than in training."""
    return f"prompts are {' or '.join(prompts)}, those of training {' or '.join(trained)}"


# Earlier versions recorded no order: a run of theirs is the same run without the remark.
_ORDER_REMARK = re.compile(r"(, )?prompts are [a-z -]+, those of training [a-z -]+$")


def new(run_identity: Mapping[str, Any], label: str, environment: Mapping[str, Any]) -> Manifest:
    """A manifest without tasks. Its name follows from the identity, so that the same command finds the run again."""
    name = f"{label}-{fingerprint.of(dict(run_identity))[:8]}"
    return Manifest(run=name, identity=dict(run_identity), environment=dict(environment))


def read(file: Path, *, verify: bool = True) -> Manifest:
    """Read a manifest.

    Args:
        file: the manifest.
        verify: refuse one whose checksum differs; earlier versions wrote none.

    Raises:
        BadData: it is damaged, written by a newer version, or the run, a task or a split has no name for a path.
    """
    data, matches = read_checked_json(file)
    if isinstance(data, dict) and isinstance(data.get("schema"), int) and data["schema"] > SCHEMA:
        raise BadData(
            f"{file}: schema {data['schema']} is newer than this version knows ({SCHEMA}); update anymal_eval"
        )
    manifest = decode(Manifest, data, str(file))
    safe_name(manifest.run, f"{file}: run")
    for task, entry in manifest.tasks.items():
        safe_name(task, f"{file}: tasks")
        safe_name(entry.split, f"{file}: tasks.{task}.split")
    if verify and matches is False:
        raise BadData(
            f"{file}: its checksum differs: it is damaged or was edited; the command of the run, given again, compares "
            "every entry and writes it anew"
        )
    return manifest


def checksum_matches(file: Path) -> bool | None:
    """Whether the checksum of a manifest matches; None where it has none, as those of earlier versions.

    Raises:
        BadData: it is no JSON.
    """
    return read_checked_json(file)[1]


def check_same(file: Path, before: Manifest, now: Manifest, allow_environment: bool) -> None:
    """Refuse to resume another run. Another version of anymal_eval alone does not make it another run.

    Raises:
        OtherRun: a key differs; the message names every such key with both values.
    """
    differing = _differing(before.identity, now.identity)
    if differing:
        words = [in_words(before.identity, now.identity, [key for key in differing if key != "fingerprint"])]
        if "fingerprint" in differing and (before.model or now.model):
            words.append(f"of the model {model_in_words(before.model, now.model)}")
        raise OtherRun(
            f"{file.parent}: the run there differs in {', '.join(differing)}: {', '.join(filter(None, words))}; "
            "choose another --out"
        )
    differing = [key for key in _differing(before.environment, now.environment) if key != OWN_VERSION]
    if differing and not allow_environment:
        raise OtherRun(
            f"{file.parent}: the run there started with another {', '.join(differing)}: "
            f"{in_words(before.environment, now.environment, differing)}; "
            "give --allow-environment-change to resume it anyway"
        )


def resumed(before: Manifest, now: Manifest) -> Manifest:
    """The manifest of a resumed run: ``now`` with the earlier tasks and every version of anymal_eval that took part.

    The versions are one text, in order, such as ``"0.1.0, 0.2.0"``.

    Raises:
        OtherRun: the run holds a task of ``now`` with other data, prompts or reading.
    """
    for name in before.tasks.keys() & now.tasks.keys():
        old, new = (encode(each.tasks[name]) for each in (before, now))
        for entry in (old, new):
            entry["remark"] = _ORDER_REMARK.sub("", entry["remark"])
        same = {key: _compared(old, new, key) for key in old.keys() | new.keys()}
        differing = sorted(key for key, (one, other) in same.items() if one != other)
        if "examples" in differing and "content" in differing:
            differing.remove("content")  # other content makes other examples: one of them says it
        if differing:
            raise OtherRun(
                f"the run folder holds {name} with another {', '.join(differing)}: "
                f"{in_words(old, new, differing)}; choose another --out"
            )
    versions = ", ".join(dict.fromkeys([*before.versions, *now.versions]))
    return replace(now, environment={**now.environment, OWN_VERSION: versions}, tasks={**before.tasks, **now.tasks})


def _compared(old: Mapping[str, Any], new: Mapping[str, Any], key: str) -> tuple[Any, Any]:
    """Two values of a task's entry, without what is recorded alone."""
    one, other = old.get(key), new.get(key)
    if key == "content" and not one:  # an earlier version did not record it
        return other, other
    if key == "source" and isinstance(one, Mapping) and isinstance(other, Mapping):
        only = SOURCE_RECORDED_ONLY if one.get("revision") and one.get("revision") == other.get("revision") else set()
        only = only | {"notes", "lacking", "file"}
        return ({k: v for k, v in each.items() if k not in only} for each in (one, other))  # type: ignore[return-value]
    return one, other


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    keys = (before.keys() | now.keys()) - RECORDED_ONLY
    return sorted(key for key in keys if before.get(key) != now.get(key))


def environment(device: str) -> dict[str, Any]:
    """Package versions, the machine's architecture and the state of the checkout. Imports no package."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        OWN_VERSION: __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": device,
        "git": _git_state(),
        **versions,
    }


def _git_state() -> str:
    if not (PACKAGE.parent / ".git").exists():
        return "no checkout"
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=PACKAGE.parent, env=quiet, capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return "unknown"
    return described.stdout.strip() or "unknown"
