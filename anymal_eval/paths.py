"""Default paths: the built-in tasks, the demo model, the user's cache, the run folder."""

import os
from pathlib import Path

PACKAGE = Path(__file__).parent


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
    """The user's cache folder: ``ANYMAL_EVAL_CACHE``, else ``anymal_eval`` in ``XDG_CACHE_HOME`` or ``~/.cache``."""
    named = os.environ.get("ANYMAL_EVAL_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anymal_eval"


def runs() -> Path:
    """The parent of run folders when no ``--out`` is given."""
    return Path("results") / "runs"
