"""A benchmark harness for any-modality language models, with the AnyMAL network inside."""

from typing import TYPE_CHECKING

from anymal_eval.version import __version__ as __version__

if TYPE_CHECKING:
    from anymal_eval.report.dataframes import load_run as load_run


def __getattr__(name: str) -> object:
    # Loaded when asked for: importing the package must stay light.
    if name == "load_run":
        from anymal_eval.report.dataframes import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
