"""The digests of a saved state, and the state to resume from: the latest one that is whole.

Every state has a ``digests.json`` with the SHA-256 of its other files. States of earlier versions have none: that all
their files are there, and the checksums inside torch's own files, are all that can be verified of them.
"""

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anymal_eval import fingerprint
from anymal_eval.checksums import read_checked_json, write_checked_json
from anymal_eval.errors import BadCheckpoint, BadData, FileUnusable
from anymal_eval.training import states
from anymal_eval.training.state_folders import saved_states

FILE = "digests.json"
# In a position: that this state has digests, so that one without them is not taken for an earlier version's.
MARK = "digests"
NEEDED = (states.TRAINED, "optimizer.pt", "scheduler.pt", "trainer_state.json", states.POSITION.format(0))
RANDOM = "rng_state*.pth"
DAMAGED = "damaged-"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The state to resume from.

    Attributes:
        state: None at the start.
        damaged: later states and what is wrong with each.
        is_verified: whether it has digests.
    """

    state: Path | None = None
    damaged: tuple[tuple[Path, str], ...] = ()
    is_verified: bool = True

    @property
    def record(self) -> list[dict[str, str]]:
        """The damaged states for ``training.json``."""
        resumed = "" if self.state is None else self.state.name
        return [{"state": state.name, "why": why, "resumed_from": resumed} for state, why in self.damaged]

    @property
    def messages(self) -> list[str]:
        """A line where something must be known about the state."""
        if self.state is None:
            return []
        lines = []
        if self.damaged:
            lines.append(f"{_named(self.damaged)}; the training resumes from {self.state.name}, the one before")
        if not self.is_verified:
            lines.append(
                f"{self.state} could not be verified: an earlier version saved it, without digests; the training "
                "resumes from it"
            )
        return lines


def write(state: Path) -> None:
    """Write the digests of all files of a state."""
    found = {file.name: fingerprint.sha256(file) for file in sorted(state.iterdir()) if file.name != FILE}
    states.write(state / FILE, write_checked_json({"schema": 1, "files": found}).encode())


def choose(folder: Path) -> Choice:
    """The latest whole state of a training.

    Args:
        folder: of the states.

    Raises:
        BadCheckpoint: there are states, and none is whole.
    """
    damaged: list[tuple[Path, str]] = []
    for state in reversed(saved_states(folder)):
        why = wrong_with(state)
        if why is None:
            return Choice(state=state, damaged=tuple(damaged), is_verified=(state / FILE).is_file())
        damaged.append((state, why))
    if damaged:
        raise BadCheckpoint(
            f"{_named(damaged)}; no saved state is whole: restore one from a copy, or delete {folder} to start anew"
        )
    return Choice()


def set_aside(choice: Choice) -> None:
    """Rename damaged states, so that they neither count as states nor take the place of one."""
    for state, _ in choice.damaged:
        if not any((state / name).is_file() for name in (*NEEDED, FILE)):
            continue  # none of ours
        target, number = state.with_name(f"{DAMAGED}{state.name}"), 1
        while target.exists():
            number += 1
            target = state.with_name(f"{DAMAGED}{state.name}-{number}")
        state.rename(target)


def wrong_with(state: Path) -> str | None:
    """What is missing or damaged in a state, in a few words; None where nothing is."""
    try:
        return _by_digests(state) if (state / FILE).is_file() else _by_itself(state)
    except FileNotFoundError as error:  # the first process has set it aside meanwhile
        return f"{Path(str(error.filename)).name} is missing"
    except OSError as error:
        return f"{Path(str(error.filename)).name}: {error.strerror}"


def _by_digests(state: Path) -> str | None:
    try:
        data, matches = read_checked_json(state / FILE)
    except BadData:
        return f"{FILE} is damaged"
    except FileUnusable:
        return f"{FILE} cannot be read"
    known = data.get("files") if matches else None
    if not isinstance(known, dict) or not known.keys() >= set(NEEDED):
        return f"{FILE} is damaged"
    for name, digest in known.items():
        file = state / Path(name).name
        if not file.is_file():
            return f"{file.name} is missing"
        if fingerprint.sha256(file) != digest:
            return f"{file.name} has changed since it was saved"
    return None


def _by_itself(state: Path) -> str | None:
    missing = next((name for name in NEEDED if not (state / name).is_file()), None)
    if missing is None and not any(state.glob(RANDOM)):
        missing = RANDOM.replace("*", "")
    if missing is not None:
        return f"{missing} is missing"
    for name in NEEDED:
        if name.endswith(".json"):
            try:
                content = json.loads((state / name).read_bytes())
            except (ValueError, RecursionError):
                return f"{name} is damaged"
            if not isinstance(content, dict):
                return f"{name} is damaged"
            if MARK in content:
                return f"{FILE} is missing"
    return next((f"{file.name} is damaged" for file in _archives(state) if not _is_whole(file)), None)


def _archives(state: Path) -> list[Path]:
    return sorted([*state.glob("*.pt"), *state.glob(RANDOM)])


def _is_whole(archive: Path) -> bool:
    """Whether the checksums of an archive, as torch writes it, match."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, NotImplementedError):
        return False


def _named(damaged: Sequence[tuple[Path, str]]) -> str:
    return "; ".join(f"{state} is damaged: {why}" for state, why in damaged)
