"""Default paths: the built-in tasks, the demo model, the user's cache, the run folder; names from files as paths."""

import os
import re
from pathlib import Path

from anymal_eval.errors import BadData, WrongUse

PACKAGE = Path(__file__).parent
# One path component, as long as file systems allow. A colon and spaces occur in names of models and of tasks.
_NAME = re.compile(r"[A-Za-z0-9_:-]([A-Za-z0-9 ._:-]{0,253}[A-Za-z0-9._:-])?")


def builtin_tasks() -> Path:
    """The folder of the task files: inside an installed wheel, or beside the checkout's pyproject.toml.

    A folder ``tasks`` beside the package counts only together with our ``pyproject.toml``: in site-packages a folder
    of that name may belong to another package.
    """
    shipped = PACKAGE / "_tasks"
    checkout = PACKAGE.parent
    if not shipped.is_dir() and (checkout / "pyproject.toml").is_file():
        return checkout / "tasks"
    return shipped


def demo_model() -> Path:
    """The checkpoint of the demo model, shipped with the package; its model card is in the parent folder."""
    return PACKAGE / "demo" / "model" / "checkpoint"


def cache() -> Path:
    """The user's cache folder: ``ANYMAL_EVAL_CACHE``, else ``anymal_eval`` in ``XDG_CACHE_HOME`` or ``~/.cache``.

    Raises:
        WrongUse: none is named, and this user has no home folder.
    """
    named = os.environ.get("ANYMAL_EVAL_CACHE")
    if named:
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anymal_eval"
    except RuntimeError:
        raise WrongUse("this user has no home folder; name a folder for the cache in ANYMAL_EVAL_CACHE") from None


def runs() -> Path:
    """The parent of run folders when no ``--out`` is given."""
    return Path("results") / "runs"


def accepted() -> Path:
    """The folder of the accepted runs."""
    return Path("results") / "accepted"


def studies() -> Path:
    """The parent of studies when no ``--out`` is given."""
    return Path("results") / "studies"


def expanded(name: str | Path) -> Path:
    """A path that a user typed, with ``~`` and ``~user`` for home folders.

    Raises:
        WrongUse: there is no such user, or no home folder.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise WrongUse(f"{name}: there is no such home folder") from None


def safe_name(name: str, where: str) -> str:
    """Return a name that a file holds, if it can be a path component.

    Args:
        name: such as a task, a split or a run.
        where: the file and the key, for the message.

    Raises:
        BadData: it starts with a dot, is too long, or holds more than letters, digits, spaces and ``. _ : -``.

    >>> safe_name("vqav2", "manifest.json: tasks")
    'vqav2'
    >>> safe_name("../vqav2", "manifest.json: tasks")
    Traceback (most recent call last):
    anymal_eval.errors.BadData: manifest.json: tasks: '../vqav2' is no name of letters, digits, spaces and . _ : -
    """
    if not _NAME.fullmatch(name):
        raise BadData(f"{where}: {name[:80]!r} is no name of letters, digits, spaces and . _ : -")
    return name


def inside(root: Path, *names: str) -> Path:
    """The path of names that a file holds, below a root. Every such name becomes a path here alone.

    Raises:
        BadData: a name is no path component, or a symbolic link leads out of the root.
    """
    path = root.joinpath(*(safe_name(name, str(root)) for name in names))
    # realpath, because Path.resolve raises on a loop of links.
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise BadData(f"{path} is a symbolic link that leads out of {root}")
    return path
