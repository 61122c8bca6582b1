"""Where SPICE's language models lie: in a folder that the user names, never fetched."""

import os
from pathlib import Path

VARIABLE = "ANYMAL_EVAL_SPICE"
FILES = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
ORIGIN = "SPICE reads {} and {} from http://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip".format(
    *FILES
)


def models_folder() -> Path | None:
    """The folder that ``ANYMAL_EVAL_SPICE`` names, where it is set."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else None


def missing_models() -> str | None:
    """What is missing before SPICE can run, short enough for a table; None when nothing is.

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
