"""What people call the runs of a report: short names that all differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_STEP = re.compile(r"(step|checkpoint)[-_](\d+)")
# The name of a run without one of its own: what it is of, and a fingerprint.
_GIVEN = re.compile(r"(?:demo-)?(.+)-[0-9a-f]{8}")


def run_names(runs: Sequence[Path | str]) -> list[str]:
    """A name for each run: its folder's, ``step 4000`` for a checkpoint; with folders above it where two are equal.

    Args:
        runs: folders; a text is a name already, such as that of an accepted run's model.

    >>> run_names([Path("runs/baseline"), Path("runs/step-4000"), "constant"])
    ['baseline', 'step 4000', 'constant']
    >>> run_names([Path("/a/run"), Path("/b/run"), Path("/b/run")])
    ['a/run', 'b/run', 'b/run (2)']
    >>> run_names([Path("runs/demo-anymal-cf2f636f"), Path("runs/blip2-1a2b3c4d"), Path("runs/blip2-55667788")])
    ['anymal', 'blip2-1a2b3c4d', 'blip2-55667788']
    """
    paths = [run.resolve().parts if isinstance(run, Path) else (run,) for run in runs]
    names = [_plain(parts[-1]) for parts in paths]
    for depth in range(1, max(map(len, paths), default=0) + 1):
        # Equal folders stay equal at any depth: they get a number below.
        meant = {name: {parts for parts, own in zip(paths, names, strict=True) if own == name} for name in names}
        names = [
            "/".join(parts[-depth:]) if len(meant[name]) > 1 else name for parts, name in zip(paths, names, strict=True)
        ]
    found: list[str] = []
    for name in names:
        again = next(number for number in range(1, len(names) + 1) if _numbered(name, number) not in found)
        found.append(_numbered(name, again))
    return found


def _plain(name: str) -> str:
    step, given = _STEP.fullmatch(name), _GIVEN.fullmatch(name)
    if step:
        return f"{step[1]} {int(step[2])}"
    return given[1] if given else name


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name} ({number})"
