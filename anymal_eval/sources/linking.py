"""Puts files that lie elsewhere into ``DIR/<task>``: as links where the rule of links allows it, else as hard links."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

How = Literal["auto", "symlink", "hardlink", "copy"]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """What was placed: how, and the folder that ``--allow-links`` must name from now on; empty where none must."""

    how: str
    allow: str = ""


def place(source: Path, target: Path, root: Path, how: How = "auto") -> Placed | None:
    """Make ``target`` below ``root`` lead to a file or folder. Nothing that is there is replaced.

    Args:
        source: a file or folder.
        target: below ``root``, ``DIR/<task>``.
        root: the data folder.
        how: ``auto`` takes a symbolic link where every command follows it (inside ``root``, and for folders inside
            ``DIR``), else hard links, else a symbolic link that ``--allow-links`` must name.

    Returns:
        None where the target is there already.

    Raises:
        OSError: the operating system refuses all of them.
    """
    if os.path.lexists(target):
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    real = Path(os.path.realpath(source))
    homes = [Path(os.path.realpath(root))] + ([Path(os.path.realpath(root.parent))] if real.is_dir() else [])
    is_inside = any(real.is_relative_to(home) for home in homes)
    if how == "symlink" or (how == "auto" and is_inside):
        return _symlink(real, target, is_inside)
    if how == "copy":
        _each(real, target, shutil.copyfile)
        return Placed(how="copy")
    try:
        _each(real, target, os.link)
        return Placed(how="hard link")
    except OSError:  # another file system, or one without hard links, or files of another user
        if how == "hardlink":
            raise
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)  # made a moment ago, of hard links alone
        return _symlink(real, target, is_inside)


def _symlink(real: Path, target: Path, is_inside: bool) -> Placed:
    here = Path(os.path.realpath(target.parent))
    target.symlink_to(os.path.relpath(real, here) if is_inside else real)
    allow = "" if is_inside else str(real if real.is_dir() else real.parent)
    return Placed(how="symbolic link", allow=allow)


def _each(source: Path, target: Path, put: Callable[[Path, Path], object]) -> None:
    """Place every regular file of a folder, or the file itself."""
    if not source.is_dir():
        put(source, target)
        return
    for folder, below, names in os.walk(source):
        below.sort()
        made = target / os.path.relpath(folder, source)
        made.mkdir(parents=True, exist_ok=True)
        for name in sorted(names):
            file = Path(os.path.realpath(os.path.join(folder, name)))
            if file.is_file():
                put(file, made / name)
