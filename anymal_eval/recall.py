"""Results that take time, remembered in the user's cache folder, so that the next process does without the work.

A small file each, named by a hash of all that the result depends on; it states the same in words. A file that is
damaged, that is a link, or that belongs to another user counts as none. Deleting the folder costs only time.
"""

import contextlib
import json
import os
import stat
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from anymal_eval import fingerprint, paths
from anymal_eval.checksums import read_checked_json, write_checked_json
from anymal_eval.errors import AnyMALEvalError
from anymal_eval.locks import replace_file

MOST_BYTES = 1 << 16


def recalled(folder: str, facts: Mapping[str, Any]) -> Any:
    """A remembered result; None where there is none.

    Args:
        folder: in the cache folder; one for each kind of result.
        facts: all that the result depends on, as plain data.
    """
    file = _place(folder, facts)
    if file is None:
        return None
    try:
        found = file.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_size > MOST_BYTES:
            return None
        content, matches = read_checked_json(file)
    except (OSError, AnyMALEvalError):
        return None
    is_whole = bool(matches) and isinstance(content, dict) and content.get("facts") == _plain(facts)
    return content.get("found") if is_whole else None


def remember(folder: str, facts: Mapping[str, Any], found: Any) -> None:
    """Remember a result, which is plain data and not None; a cache that cannot be written remembers nothing."""
    file = _place(folder, facts)
    if file is None:
        return
    with contextlib.suppress(OSError, AnyMALEvalError):
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, write_checked_json({"schema": 1, "facts": _plain(facts), "found": found}).encode())


@cache
def code_of(*folders: Path) -> str:
    """A hash of the code in some folders, on which a result depends."""
    files = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    return fingerprint.of([f"{file.name} {fingerprint.sha256(file)}" for file in files])


def _place(folder: str, facts: Mapping[str, Any]) -> Path | None:
    try:
        return paths.cache() / folder / f"{fingerprint.of(facts)}.json"
    except AnyMALEvalError:  # this user has no home folder
        return None


def _plain(facts: object) -> Any:
    """As it is read from a file."""
    return json.loads(json.dumps(facts))
