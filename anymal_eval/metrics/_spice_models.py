"""Where SPICE's language models lie: in a folder that the user names, never fetched."""

import os
from pathlib import Path

VARIABLE = "ANYMAL_EVAL_SPICE"
FILES = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
ORIGIN = "both are in http://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"


def models_folder() -> Path | None:
    """The folder that ``ANYMAL_EVAL_SPICE`` names, where it is set."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else None


def missing_models() -> str | None:
    """What is missing before SPICE can run, and where it comes from; None when nothing is."""
    folder = models_folder()
    if folder is None:
        return f"SPICE needs {FILES[0]} and {FILES[1]}: name their folder in {VARIABLE} ({ORIGIN})"
    absent = [name for name in FILES if not (folder / name).is_file()]
    if absent:
        return f"{folder} ({VARIABLE}) lacks {' and '.join(absent)}; {ORIGIN}"
    return None
