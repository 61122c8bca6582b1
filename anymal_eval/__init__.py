"""A benchmark harness for any-modality language models, with the AnyMAL network inside.

>>> import anymal_eval
>>> "vqav2" in anymal_eval.list_tasks()
True
"""

import os
import sys


def _leave_working_folder() -> None:
    """Take the working folder from the front of ``sys.path``, where a file such as ``click.py`` would be imported.

    ``python -m`` puts it there, and so does Ray in its workers. It becomes the last entry where this package lies in
    it (a checkout that is not installed), and in Ray's workers. Python processes that libraries start do not get it.
    """
    program = os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else ""
    if program in ("-m", "anymal-eval"):
        os.environ.setdefault("PYTHONSAFEPATH", "1")
    is_main, is_worker = program == "-m" and not sys.flags.safe_path, program == "default_worker.py"
    if not is_main and not is_worker:
        return
    try:
        here = os.getcwd()
    except OSError:  # it was deleted
        return
    found = [entry for entry in (sys.path if is_worker else sys.path[:1]) if entry and os.path.abspath(entry) == here]
    for entry in found:
        sys.path.remove(entry)
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if found and (is_worker or os.path.realpath(here) == os.path.realpath(home)):
        sys.path.append(here)


_leave_working_folder()  # before any other import

from typing import TYPE_CHECKING  # noqa: E402

from anymal_eval.version import __version__  # noqa: E402

if TYPE_CHECKING:
    from anymal_eval.catalog import list_metrics, list_models, list_protocols, list_tasks
    from anymal_eval.evaluation.python_api import Run, RunComparison, compare, evaluate, load_run

__all__ = [
    "Run",
    "RunComparison",
    "__version__",
    "compare",
    "evaluate",
    "list_metrics",
    "list_models",
    "list_protocols",
    "list_tasks",
    "load_run",
]


def __getattr__(name: str) -> object:
    # Loaded when used: importing the package must stay light.
    if name.startswith("list_") and name in __all__:
        from anymal_eval import catalog

        return getattr(catalog, name)
    if name in __all__:
        from anymal_eval.evaluation import python_api

        return getattr(python_api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
