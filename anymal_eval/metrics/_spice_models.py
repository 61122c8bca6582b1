"""SPICE's language models: in a folder that the user names; they are never downloaded."""

import os
from pathlib import Path

VARIABLE = "ANYMAL_EVAL_SPICE"
FILES = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
ORIGIN = "SPICE reads {} and {} from http://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip".format(
    *FILES
)


def models_folder() -> Path | None:
    """The folder that ``ANYMAL_EVAL_SPICE`` names; None where it is not set."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else None


def missing_models() -> str | None:
    """What SPICE lacks to run, short enough for a table; None where nothing is missing.

    >>> import pytest
    >>> with pytest.MonkeyPatch.context() as patch:
    ...     patch.delenv(VARIABLE, raising=False)
    ...     missing_models()
    "SPICE's models are not there: name their folder in ANYMAL_EVAL_SPICE"
    """
    folder = models_folder()
    if folder is None:
        return f"SPICE's models are not there: name their folder in {VARIABLE}"
    absent = [name for name in FILES if not (folder / name).is_file()]
    return f"{folder} ({VARIABLE}) lacks {' and '.join(absent)}" if absent else None
