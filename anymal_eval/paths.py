"""Where things lie: the built-in tasks, the user's cache, the default run folder."""

import os
from pathlib import Path

PACKAGE = Path(__file__).parent


def builtin_tasks() -> Path:
    """The folder of the task files: inside an installed wheel, or beside the checkout's pyproject.toml.

    A folder ``tasks`` beside the package counts only together with our ``pyproject.toml``: in site-packages a
    neighbour of that name may be anybody's.
    """
    shipped = PACKAGE / "_tasks"
    checkout = PACKAGE.parent
    if not shipped.is_dir() and (checkout / "pyproject.toml").is_file():
        return checkout / "tasks"
    return shipped


def demo_model() -> Path:
    """The checkpoint of the demo model, which is shipped with the package; its card lies beside it."""
    return PACKAGE / "demo" / "model" / "checkpoint"


def cache() -> Path:
    """The user's cache folder: ``ANYMAL_EVAL_CACHE``, else ``anymal_eval`` in ``XDG_CACHE_HOME`` or ``~/.cache``."""
    named = os.environ.get("ANYMAL_EVAL_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anymal_eval"


def runs() -> Path:
    """Where a run goes when no ``--out`` is given."""
    return Path("results") / "runs"
