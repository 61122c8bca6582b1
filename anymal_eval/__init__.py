"""A benchmark harness for any-modality language models, with the AnyMAL network inside.

>>> import anymal_eval
>>> "vqav2" in anymal_eval.list_tasks()
True
"""

from typing import TYPE_CHECKING

from anymal_eval.version import __version__

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
